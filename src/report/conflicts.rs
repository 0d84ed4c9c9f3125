//! `conflicts`: what is beside the add-on, and what a purge would delete; the data and its text.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::style::{Style, wrap};
use super::text::{SHOWN, plural, push_step};
use crate::engine::{Impact, Step};
use crate::model::quoted::printable;

/// `conflicts`: what else does the add-on's work here, what `istioctl uninstall --purge` would delete, and what to do
/// instead.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConflictsView {
    /// Installed revisions of the add-on; none when they could not be read.
    pub revisions: Option<Vec<String>>,
    /// What is beside the add-on.
    pub rivals: Vec<RivalView>,
    /// Whether everything was read by which a rival is known; otherwise there may be more.
    pub rivals_complete: bool,
    /// What `istioctl uninstall --purge` would delete.
    pub purge: PurgeView,
    /// What to do in its place, in order; empty where there is nothing to clean up.
    pub instead: Vec<StageView>,
}

/// Something beside the add-on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RivalView {
    /// `selfManagedIstio`, `openServiceMesh`, `appRouting` or `appNetwork`.
    pub kind: String,
    /// Namespace of its control plane.
    pub namespace: String,
    /// Who installed it; none where its objects do not tell.
    pub owner: Option<String>,
    /// Whether its control plane is there; otherwise it is left over.
    pub alive: bool,
    /// Its parts, `kind/name`.
    pub parts: Vec<String>,
    /// Whose pods have its proxy now; none when workloads could not be read.
    pub now: Option<Impact>,
    /// Whose next pods get its proxy.
    pub next_restart: Option<Impact>,
    /// Whose next pods are refused on its account.
    pub refused: Option<Impact>,
    /// Codes of findings about it.
    pub codes: Vec<String>,
}

/// What a purge would delete.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PurgeView {
    /// How many objects.
    pub objects: usize,
    /// How many of them are the add-on's, or definitions that it shares.
    pub of_add_on: usize,
    /// How many resources would go with their definitions.
    pub resources: usize,
    /// Whether every kind could be read; otherwise it would delete more.
    pub complete: bool,
    /// Sources that could not be read, or only in part.
    pub unread: Vec<String>,
    /// Objects by kind, in the order in which the purge looks for them.
    pub kinds: Vec<PurgeKind>,
    /// Resources by their definition.
    pub lost: Vec<LostView>,
}

/// Objects of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PurgeKind {
    /// Kind.
    pub kind: String,
    /// Plural resource, with its group.
    pub resource: String,
    /// By namespace and name.
    pub objects: Vec<PurgeObject>,
}

/// One object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PurgeObject {
    /// Namespace, for namespaced kinds.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// `addOn`, `shared` for a definition that the add-on uses too, or `other`.
    pub belongs: String,
}

/// Resources that go with their definition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LostView {
    /// Name of the definition.
    pub definition: String,
    /// The resources; none where they were not read.
    pub resources: Option<Vec<ObjectName>>,
}

/// An object's name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ObjectName {
    /// Namespace, for namespaced kinds.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

/// One stage of the way out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StageView {
    /// `backUp`, `cleanUp`, `cleanUpRoles`, `disable`, `enable`, `restore` or `recreatePods`.
    pub stage: String,
    /// What it is for.
    pub summary: String,
    /// Codes of the findings whose commands these are.
    pub codes: Vec<String>,
    /// Its steps, in order.
    pub steps: Vec<Step>,
}

/// What is beside the add-on, before the findings.
pub(super) fn head(view: &ConflictsView, style: Style, wide: bool) -> String {
    if view.rivals.is_empty() {
        let found = if view.rivals_complete { "nothing" } else { "nothing found, but not everything could be read" };
        return format!("Beside the add-on   {found}\n");
    }
    let mut headers = vec!["BESIDE THE ADD-ON", "NAMESPACE", "INSTALLED BY"];
    if wide {
        headers.extend(["CODES", "PARTS"]);
    }
    headers.extend(["PODS NOW", "NEXT RESTART"]);
    let dash = |text: String| if text.is_empty() { "-".to_owned() } else { printable(&text) };
    let rows: Vec<Vec<String>> = view
        .rivals
        .iter()
        .map(|rival| {
            let name = name(&rival.kind);
            let name = if rival.alive { name.to_owned() } else { format!("{name}, left over") };
            let owner = rival.owner.as_deref().map_or_else(|| "not told".to_owned(), printable);
            let mut cells = vec![name, printable(&rival.namespace), owner];
            if wide {
                cells.extend([dash(rival.codes.join(",")), dash(rival.parts.join(","))]);
            }
            cells.extend([now(rival), next(rival)]);
            cells
        })
        .collect();
    super::table::table(&headers, &rows, style)
}

fn name(kind: &str) -> &str {
    match kind {
        "selfManagedIstio" => "self-managed Istio",
        "openServiceMesh" => "Open Service Mesh",
        "appRouting" => "App Routing's Istio",
        "appNetwork" => "Application Network",
        other => other,
    }
}

fn now(rival: &RivalView) -> String {
    match rival.now {
        None => "unknown".to_owned(),
        Some(now) if now.pods == 0 => "none".to_owned(),
        Some(now) => format!("{} in {}", plural(now.pods, "pod"), plural(now.namespaces, "namespace")),
    }
}

fn next(rival: &RivalView) -> String {
    let (Some(next), Some(refused)) = (rival.next_restart, rival.refused) else { return "unknown".to_owned() };
    let mut parts = Vec::new();
    if refused.workloads > 0 {
        parts.push(format!("{} refused", plural(refused.workloads, "workload")));
    }
    if next.workloads > 0 {
        let noun = plural(next.workloads, "workload");
        parts.push(format!("{noun} {} its sidecar", if next.workloads == 1 { "gets" } else { "get" }));
    }
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}

/// What a purge would delete, and what to do instead, after the findings.
pub(super) fn tail(view: &ConflictsView, style: Style, wide: bool) -> String {
    let mut out = purge(&view.purge, style);
    if view.instead.is_empty() {
        return out;
    }
    out.push_str("\nInstead of a purge, in this order:\n");
    for (index, stage) in view.instead.iter().enumerate() {
        out.push_str(&wrap(&format!("{}. {}", index + 1, printable(&stage.summary)), 2, style.width));
        if !stage.codes.is_empty() && !wide {
            let codes = format!("# the commands of {}, above", stage.codes.join(", "));
            out.push_str(&style.dim(&format!("    {codes}\n")));
            continue;
        }
        let shown = if wide { stage.steps.len() } else { SHOWN };
        for step in stage.steps.iter().take(shown) {
            push_step(step, style, &mut out);
        }
        let more = stage.steps.len().saturating_sub(shown);
        if more > 0 {
            out.push_str(&style.dim(&format!("    # and {more} more: -o json lists them\n")));
        }
    }
    out
}

fn purge(purge: &PurgeView, style: Style) -> String {
    let mut text = match purge.objects {
        0 => "istioctl uninstall --purge would delete nothing that could be read here.".to_owned(),
        objects => format!(
            "istioctl uninstall --purge would delete {} here, {} of the add-on{}.",
            plural(objects, "object"),
            purge.of_add_on,
            match purge.resources {
                0 => String::new(),
                1 => ", and 1 resource with its definition".to_owned(),
                number => format!(", and {number} resources with their definitions"),
            }
        ),
    };
    if !purge.complete {
        text.push_str(" There may be more: not everything could be read.");
    }
    let mut out = wrap(&text, 0, style.width);
    if purge.kinds.is_empty() {
        return out;
    }
    let mut rows: Vec<Vec<String>> = purge
        .kinds
        .iter()
        .map(|group| {
            let own = group.objects.iter().filter(|object| object.belongs != "other").count();
            let names = group.objects.iter().map(|object| path(object.namespace.as_deref(), &object.name));
            vec![printable(&group.kind), group.objects.len().to_string(), own.to_string(), join(names)]
        })
        .collect();
    for lost in &purge.lost {
        let (number, names) = match &lost.resources {
            Some(resources) if resources.is_empty() => continue,
            Some(resources) => (
                resources.len().to_string(),
                join(resources.iter().map(|object| path(object.namespace.as_deref(), &object.name))),
            ),
            None => ("?".to_owned(), "all there are".to_owned()),
        };
        rows.push(vec![printable(&lost.definition), number, "-".to_owned(), names]);
    }
    out.push('\n');
    out.push_str(&super::table::table(&["WOULD BE DELETED", "OBJECTS", "ADD-ON'S", "NAMES"], &rows, style));
    out
}

fn path(namespace: Option<&str>, name: &str) -> String {
    namespace.map_or_else(|| printable(name), |namespace| format!("{}/{}", printable(namespace), printable(name)))
}

fn join(names: impl Iterator<Item = String>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Risk;

    fn rival() -> RivalView {
        RivalView {
            kind: "selfManagedIstio".to_owned(),
            namespace: "istio-system".to_owned(),
            owner: Some("Helm release istiod in istio-system".to_owned()),
            alive: true,
            parts: vec!["pod/istiod-1".to_owned()],
            now: Some(Impact { namespaces: 1, workloads: 2, pods: 7 }),
            next_restart: Some(Impact { namespaces: 1, workloads: 1, pods: 4 }),
            refused: Some(Impact { namespaces: 1, workloads: 1, pods: 3 }),
            codes: vec!["CON01".to_owned()],
        }
    }

    fn object(namespace: Option<&str>, name: &str, belongs: &str) -> PurgeObject {
        PurgeObject { namespace: namespace.map(str::to_owned), name: name.to_owned(), belongs: belongs.to_owned() }
    }

    fn view() -> ConflictsView {
        let step = |text: &str, word: &str| Step::command(Risk::Change, text, ["kubectl", word]);
        let stage = |stage: &str, summary: &str, codes: &[&str], steps: Vec<Step>| StageView {
            stage: stage.to_owned(),
            summary: summary.to_owned(),
            codes: codes.iter().map(|code| (*code).to_owned()).collect(),
            steps,
        };
        ConflictsView {
            revisions: Some(vec!["asm-1-30".to_owned()]),
            rivals: vec![rival()],
            rivals_complete: true,
            purge: PurgeView {
                objects: 3,
                of_add_on: 2,
                resources: 1,
                complete: false,
                unread: vec!["componentSecrets".to_owned()],
                kinds: vec![
                    PurgeKind {
                        kind: "Deployment".to_owned(),
                        resource: "deployments.apps".to_owned(),
                        objects: vec![
                            object(Some("aks-istio-system"), "istiod-asm-1-30", "addOn"),
                            object(Some("istio-system"), "istiod", "other"),
                        ],
                    },
                    PurgeKind {
                        kind: "CustomResourceDefinition".to_owned(),
                        resource: "customresourcedefinitions.apiextensions.k8s.io".to_owned(),
                        objects: vec![object(None, "virtualservices.networking.istio.io", "shared")],
                    },
                ],
                lost: vec![LostView {
                    definition: "virtualservices.networking.istio.io".to_owned(),
                    resources: Some(vec![ObjectName { namespace: Some("shop".to_owned()), name: "web".to_owned() }]),
                }],
            },
            instead: vec![
                stage("backUp", "keep it", &[], vec![step("writes a file", "get")]),
                stage("cleanUp", "remove the other", &["CON01"], vec![step("deletes it", "delete")]),
            ],
        }
    }

    #[test]
    fn who_is_beside_the_add_on_stands_in_a_table() {
        assert_eq!(
            head(&view(), Style::default(), false),
            "BESIDE THE ADD-ON    NAMESPACE      INSTALLED BY                          PODS NOW                NEXT RESTART\n\
             self-managed Istio   istio-system   Helm release istiod in istio-system   7 pods in 1 namespace   1 workload refused, 1 workload gets its sidecar\n"
        );
        let nothing = ConflictsView { rivals_complete: true, ..ConflictsView::default() };
        assert_eq!(head(&nothing, Style::default(), false), "Beside the add-on   nothing\n");
        let unread = head(&ConflictsView::default(), Style::default(), false);
        assert!(unread.contains("not everything could be read"), "{unread}");
    }

    #[test]
    fn the_purge_is_told_object_by_object_and_the_way_out_in_order() {
        assert_eq!(
            tail(&view(), Style::default(), false),
            "istioctl uninstall --purge would delete 3 objects here, 2 of the add-on, and 1 resource with its definition. \
             There may be more: not everything could be read.\n\
             \n\
             WOULD BE DELETED                      OBJECTS   ADD-ON'S   NAMES\n\
             Deployment                            2         1          aks-istio-system/istiod-asm-1-30, istio-system/istiod\n\
             CustomResourceDefinition              1         1          virtualservices.networking.istio.io\n\
             virtualservices.networking.istio.io   1         -          shop/web\n\
             \n\
             Instead of a purge, in this order:\n  \
               1. keep it\n    \
                 # writes a file\n    \
                 $ kubectl get\n  \
               2. remove the other\n    \
                 # the commands of CON01, above\n"
        );
        let wide = tail(&view(), Style::default(), true);
        assert!(wide.contains("$ kubectl delete"), "wide has every command: {wide}");
    }
}
