//! What the API server made of pods, as the report shows it.

use crate::mesh::denial::Denial;
use crate::mesh::injection::Verdict;
use crate::mesh::trial::{self, AddedContainer, Fate, Standing};
use crate::model::Trial;
use crate::report::probe_view::{AddedContainerView, AddedView, CreatedView, ProbeView, RefusalView};
use crate::report::view::NextView;

/// The view of one trial.
pub fn view(trial: &Trial, verdict: &Verdict, computed: NextView) -> ProbeView {
    let fate = trial::fate(trial);
    let (answer, revision, sidecar) = match &fate {
        Fate::Injected { revision, kind } => ("injected", revision.clone(), kind.word()),
        Fate::Plain => ("plain", None, "none"),
        Fate::Refused(_) => ("refused", None, "none"),
    };
    let added = trial::added(trial);
    ProbeView {
        kind: trial.stands_for.as_str().to_owned(),
        namespace: trial.metadata.namespace.clone(),
        name: trial.metadata.name.clone(),
        computed,
        answer: answer.to_owned(),
        revision,
        sidecar: sidecar.to_owned(),
        agreement: trial::compare(verdict, &fate).word().to_owned(),
        added: AddedView {
            init_containers: added.init_containers.iter().map(container).collect(),
            containers: added.containers.iter().map(container).collect(),
            volumes: added.volumes.into_iter().map(str::to_owned).collect(),
        },
        refusal: match fate {
            Fate::Refused(denial) => Some(refusal(trial, denial)),
            _ => None,
        },
        created: trial.life.as_ref().map(|life| {
            let (state, detail) = match trial::standing(life) {
                Standing::Ready => ("ready", None),
                Standing::Unschedulable(message) => ("unschedulable", Some(message.to_owned())),
                Standing::Stuck(container, reason, _) => ("stuck", Some(format!("{container}: {reason}"))),
                Standing::Ended(reason) => ("ended", Some(reason.to_owned())),
                Standing::Waiting => ("waiting", None),
            };
            let (pod, state) = (life.name.clone(), state.to_owned());
            CreatedView { pod, state, detail, seconds: life.seconds, deleted: life.deleted }
        }),
    }
}

fn container(added: &AddedContainer<'_>) -> AddedContainerView {
    AddedContainerView { name: added.name.to_owned(), image: added.image.to_owned(), native: added.is_native }
}

fn refusal(trial: &Trial, denial: Denial<'_>) -> RefusalView {
    let (by, name) = match denial {
        Denial::Unreachable(entry) => ("webhookUnreachable", Some(entry)),
        Denial::Webhook(entry) if entry.ends_with("gatekeeper.sh") => ("policyEngine", Some(entry)),
        Denial::Webhook(entry) => ("webhookDenied", Some(entry)),
        Denial::NoDryRun(entry) => ("noDryRun", Some(entry)),
        Denial::Policy(name) => ("admissionPolicy", Some(name)),
        Denial::PodSecurity => ("podSecurity", None),
        Denial::Quota(name) => ("quota", Some(name)),
        Denial::Limits => ("limitRange", None),
        Denial::ServiceAccount(name) => ("serviceAccount", Some(name)),
        Denial::Namespace => ("namespace", None),
        Denial::Other => ("other", None),
    };
    RefusalView {
        by: by.to_owned(),
        name: name.map(str::to_owned),
        message: trial.refused.as_ref().map(|refusal| refusal.message.clone()).unwrap_or_default(),
        only_with_sidecar: trial.without_sidecar.as_ref().map(|other| other.refused.is_none()),
    }
}
