//! What is fuzzed, and what must hold whatever the input.

use std::io::Write;

use jiff::Timestamp;
use kubectl_asm::bundle;
use kubectl_asm::bundle::redact::redact;
use kubectl_asm::cluster::split::Splitter;
use kubectl_asm::facts::Facts;
use kubectl_asm::fuzzing;
use kubectl_asm::mesh::revision::{AsmRevision, IstioVersion, compare};
use kubectl_asm::mesh::{draft, trial};
use kubectl_asm::model::config_map::InjectorConfig;
use kubectl_asm::model::quoted::printable;
use kubectl_asm::model::{ConfigMap, LabelSelector, Pod};
use kubectl_asm::report::{self, Format, Report, Style};
use kubectl_asm::snapshot::{Snapshot, SourceId, StateKind};
use kubectl_asm::sources::collect::End;
use kubectl_asm::sources::{SOURCES, Source};
use serde_json::Value;

use crate::engine::{Target, outcome};
use crate::mutate::Random;
use crate::support;

pub(super) fn target(seeds: Vec<Vec<u8>>, run: impl Fn(&[u8]) -> u64 + 'static) -> Target {
    Target { seeds, run: Box::new(run) }
}

fn lossy(input: &[u8]) -> String {
    String::from_utf8_lossy(input).into_owned()
}

/// Objects of the fixtures, every kind a few times.
fn objects() -> Vec<Value> {
    let mut seen: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    let all = support::fixtures().into_iter().flat_map(|fixture| fixture.objects);
    all.filter(|object| {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        // Whole dumps of proxies; the target `envoy` is for them.
        if kind == "ProxyAnswers" {
            return false;
        }
        let times = seen.entry(kind).or_default();
        *times += 1;
        *times % 9 == 1
    })
    .take(120)
    .collect()
}

fn bytes_of(objects: Vec<Value>) -> Vec<Vec<u8>> {
    objects.into_iter().map(|object| object.to_string().into_bytes()).collect()
}

fn end() -> End {
    End { kind: StateKind::Collected, faults: Vec::new(), undecodable: Vec::new(), fallback: None }
}

/// Any chunks give the same items and the same end; and what serde_json takes for a list is taken apart alike.
pub fn list() -> Target {
    let split = |input: &[u8], chunks: &mut dyn FnMut(usize) -> usize| {
        let mut splitter = Splitter::new();
        let mut items: Vec<Vec<u8>> = Vec::new();
        let mut rest = input;
        while !rest.is_empty() {
            let (chunk, more) = rest.split_at(chunks(rest.len()).clamp(1, rest.len()));
            if let Err(error) = splitter.push(chunk, |item| items.push(item.to_vec())) {
                return (items, Err(error));
            }
            rest = more;
        }
        (items, splitter.finish())
    };
    target(Vec::new(), move |input| {
        let whole = split(input, &mut |length| length);
        let mut random = Random(input.len() as u64);
        let cut = split(input, &mut |length| if random.chance(3) { length } else { random.below(9) });
        assert_eq!(whole, cut, "chunks change the result");
        let plain = input.windows(7).filter(|window| window == b"\"items\"").count() == 1 && !input.contains(&b'\\');
        if plain && let Ok(Value::Object(map)) = serde_json::from_slice::<Value>(input) {
            match map.get("items") {
                Some(Value::Array(items)) => {
                    assert!(whole.1.is_ok(), "a list is refused: {:?}", whole.1);
                    let ours: Vec<Value> = whole.0.iter().map(|item| serde_json::from_slice(item).unwrap()).collect();
                    assert_eq!(&ours, items);
                }
                Some(Value::Null) => assert!(whole.1.is_ok() && whole.0.is_empty()),
                Some(_) => assert!(whole.1.is_err(), "no list is taken for one"),
                None => {}
            }
        }
        outcome((whole.0.len().min(5), whole.1))
    })
}

fn collect(source: &Source, input: &[u8], snapshot: &mut Snapshot) -> (usize, usize) {
    let mut collector = (source.collector)();
    collector.item(input);
    let decoded = collector.len();
    collector.finish(snapshot, end());
    (decoded, (source.state)(snapshot).undecodable.len())
}

/// Every source's decoder either takes an object or says that it could not, and names it printably.
pub fn object() -> Target {
    target(bytes_of(objects()), |input| {
        let mut snapshot = Snapshot::default();
        let mut signature = Vec::new();
        for source in SOURCES {
            let (decoded, undecodable) = collect(source, input, &mut snapshot);
            assert_eq!(decoded + undecodable, 1, "{}", source.id.name());
            for object in (source.state)(&snapshot).undecodable {
                assert_eq!(printable(&object.object), object.object);
                assert_eq!(printable(&object.message), object.message);
                signature.push(object.message.clone());
            }
        }
        for trial in snapshot.trials.items().unwrap_or_default() {
            let _ = (trial::fate(trial), trial::added(trial), trial.life.as_ref().map(trial::standing));
        }
        if let Ok(value) = serde_json::from_slice::<Value>(input) {
            let pod = draft::next_pod(&value);
            signature.extend(pod.map(|pod| draft::without_sidecar(&pod)["kind"].to_string()));
        }
        outcome(signature)
    })
}

/// What is decoded after redaction is what would have been decoded before, and redacting again changes nothing.
pub fn redaction() -> Target {
    target(bytes_of(objects()), |input| {
        let Ok(original) = serde_json::from_slice::<Value>(input) else { return 0 };
        if lists_for_objects(&original) {
            return 0;
        }
        // Other containers' variables go although the decoder would take some of them; no verdict reads those.
        let mut wanted = original.clone();
        forget_variables(&mut wanted);
        let wanted = wanted.to_string();
        let mut signature = Vec::new();
        for source in SOURCES {
            let mut redacted = original.clone();
            redact(source.id, &mut redacted);
            let of_config = source.resource == "configmaps" && source.id != SourceId::ComponentConfigMaps;
            let mut again = redacted.clone();
            redact(source.id, &mut again);
            // A template's hash is hashed again; everything else stays.
            assert!(
                of_config || !belongs(&original, source) || redacted == again,
                "{}: redacting twice",
                source.id.name()
            );
            let (mut before, mut after) = (Snapshot::default(), Snapshot::default());
            let (taken, _) = collect(source, wanted.as_bytes(), &mut before);
            let (kept, _) = collect(source, redacted.to_string().as_bytes(), &mut after);
            signature.push((taken, kept));
            if taken == 0 {
                continue;
            }
            assert_eq!(kept, 1, "{}: decodes before, not after: {redacted}", source.id.name());
            if of_config {
                same_config_map(&original, &redacted);
                continue;
            }
            // Texts of mesh and proxy configuration lose the owner's values; that is tested beside their redaction.
            let text = original.to_string();
            // A source may keep what it does not know of its own kind as it is, which redaction knows better than that.
            let own = belongs(&original, source) && source.id != SourceId::SecretProviderClasses;
            if own
                && !text.contains("/subscriptions/")
                && !text.contains("proxy.istio.io/")
                && !text.contains("PROXY_CONFIG")
                && !too_deep(&original, 0)
            {
                assert_eq!(format!("{after:?}"), format!("{before:?}"), "{}", source.id.name());
            }
        }
        outcome(signature)
    })
}

fn forget_variables(value: &mut Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(forget_variables),
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                if let ("containers" | "initContainers", Value::Array(list)) = (key.as_str(), &mut *value) {
                    let others = list.iter_mut().filter(|c| c["name"] != "istio-proxy" && c["name"] != "discovery");
                    for container in others.filter_map(Value::as_object_mut) {
                        if let Some(Value::Array(variables)) = container.get_mut("env") {
                            variables.iter_mut().filter_map(Value::as_object_mut).for_each(|v| drop(v.remove("value")));
                        }
                    }
                }
                forget_variables(value);
            }
        }
        _ => {}
    }
}

/// A list where an object should stand is decoded as one whose fields come in order, which nobody sends; redaction drops it.
fn lists_for_objects(value: &Value) -> bool {
    const OBJECTS: [&str; 11] = [
        "metadata",
        "spec",
        "status",
        "template",
        "state",
        "jobTemplate",
        "waiting",
        "running",
        "nodeInfo",
        "csi",
        "volumeAttributes",
    ];
    match value {
        Value::Array(list) => list.iter().any(|value| value.is_array() || lists_for_objects(value)),
        Value::Object(map) => map
            .iter()
            .any(|(key, value)| value.is_array() && OBJECTS.contains(&key.as_str()) || lists_for_objects(value)),
        _ => false,
    }
}

/// Deeper than redaction follows.
fn too_deep(value: &Value, depth: usize) -> bool {
    depth > 30
        || match value {
            Value::Array(list) => list.iter().any(|value| too_deep(value, depth + 1)),
            Value::Object(map) => map.values().any(|value| too_deep(value, depth + 1)),
            _ => false,
        }
}

fn same_config_map(original: &Value, redacted: &Value) {
    let is_config_map = original.get("kind").is_none_or(|kind| kind == "ConfigMap");
    let name = original.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    if !is_config_map || !name.starts_with("istio") {
        return;
    }
    let read = |value: &Value| {
        let map: ConfigMap = serde_json::from_value(value.clone()).unwrap();
        (map.data.keys().map(str::to_owned).collect::<Vec<_>>(), format!("{:?}", InjectorConfig::parse(&map)))
    };
    assert_eq!(read(redacted), read(original));
}

pub(super) fn is_odd(c: char) -> bool {
    c.is_control() && c != '\n'
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Renders in every format; nothing that a terminal obeys comes out, and the data is the same in JSON and YAML.
fn render(report: &Report) {
    let style = Style { color: false, unicode: true, width: None };
    let text = |format| {
        let text = report::render(report, format, style);
        assert!(!text.chars().any(is_odd), "{format:?} prints what a terminal obeys: {text:?}");
        text
    };
    for format in [Format::Text, Format::Wide, Format::Short] {
        text(format);
    }
    let narrow = report::render(report, Format::Text, Style { width: Some(20), ..style });
    assert!(!narrow.chars().any(is_odd));
    let json: Value = serde_json::from_str(&text(Format::Json)).unwrap();
    assert_eq!(json, serde_json::to_value(report).unwrap());
    let yaml = text(Format::Yaml);
    if yaml.len() < 20_000 {
        assert_eq!(serde_yaml::from_str::<Value>(&yaml).unwrap(), json);
    }
}

/// Whole clusters with damaged objects: every check ends without breaking, and every format can be printed.
///
/// An input is a list of objects.
pub fn world() -> Target {
    let seeds = support::fixtures()
        .into_iter()
        .step_by(4)
        .map(|fixture| Value::Array(fixture.objects).to_string().into_bytes())
        .collect();
    let facts = Facts::built_in().unwrap();
    target(seeds, move |input| {
        let Ok(Value::Array(objects)) = serde_json::from_slice::<Value>(input) else { return 0 };
        let mut snapshot = Snapshot::default();
        for source in SOURCES {
            let mut collector = (source.collector)();
            if source.id == SourceId::Version {
                collector.item(br#"{"gitVersion":"v1.34.1"}"#);
            }
            // Whatever it is, it might be sent for any kind; sources take a little more than their own.
            for object in objects.iter().filter(|object| belongs(object, source)) {
                collector.item(object.to_string().as_bytes());
            }
            collector.finish(&mut snapshot, end());
        }
        let now: Timestamp = "2026-08-15T10:00:00Z".parse().unwrap();
        let report = fuzzing::report(&snapshot, &facts, now);
        assert_eq!(report.summary.checks.errored, 0, "{:?}", report.outcomes);
        render(&report);
        outcome(report.outcomes.iter().map(|outcome| (&outcome.code, outcome.status)).collect::<Vec<_>>())
    })
}

fn belongs(object: &Value, source: &Source) -> bool {
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default().to_lowercase();
    if source.is_by_command() {
        return kind == source.id.name().to_lowercase();
    }
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
    let resource = source.resource.split('.').next().unwrap_or_default();
    let of_system = source.id.name().starts_with("system");
    !kind.is_empty()
        && resource.starts_with(kind.trim_end_matches('y'))
        && (!of_system || namespace == "aks-istio-system")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A tar archive of these files.
fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append_data(&mut header, name, *content).unwrap();
    }
    tar.into_inner().unwrap()
}

const NAMESPACES: &[u8] = b"{\"metadata\":{\"name\":\"shop\"}}\n";
const PODS: &[u8] = b"{\"metadata\":{\"name\":\"a\"}}\n{\"metadata\":{\"name\":\"b\"}}\n";

/// Bundles. An input is the compressed bytes, or an archive that is still to be compressed, or a manifest, or the objects
/// of a source, whichever it looks like: a damaged archive hides what damage to its content would do.
pub fn archive() -> Target {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle.tar.gz");
    let manifest = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/corpus/archive/manifest")).unwrap();
    let files = |manifest: &[u8], pods: &[u8]| {
        packed(&[("manifest.json", manifest), ("sources/namespaces.jsonl", NAMESPACES), ("sources/pods.jsonl", pods)])
    };
    let plain = files(&manifest, PODS);
    let seeds = vec![gzip(&plain), plain, PODS.to_vec()];
    target(seeds, move |input| {
        let _ = &dir;
        let bytes = match input {
            [0x1f, 0x8b, ..] => input.to_vec(),
            [b'{', b'"', b'm', ..] => gzip(&files(&manifest, input)),
            [b'{', ..] => gzip(&files(input, PODS)),
            _ => gzip(input),
        };
        std::fs::write(&path, bytes).unwrap();
        match bundle::read_path(&path) {
            Ok(snapshot) => {
                let facts = Facts::built_in().unwrap();
                let now = snapshot.origin.captured_at.unwrap_or(Timestamp::UNIX_EPOCH);
                let report = fuzzing::report(&snapshot, &facts, now);
                assert_eq!(report.summary.checks.errored, 0, "{:?}", report.outcomes);
                render(&report);
                outcome(SOURCES.iter().map(|source| (source.state)(&snapshot).kind).collect::<Vec<_>>())
            }
            Err(error) => {
                let document = error.document();
                assert!(!document.hints.is_empty());
                assert!(!document.message.chars().any(is_odd), "{document:?}");
                outcome(document.message)
            }
        }
    })
}

/// No message has anything that a terminal obeys, nor repeats what may be a secret: names are said, and damage can make a
/// name of anything, but an input that was not understood is never quoted.
fn fault_is_clean(fault: &kubectl_asm::snapshot::Fault, names: bool) {
    for text in fault.hints.iter().chain([&fault.message]) {
        assert!(!text.chars().any(is_odd) && !text.contains('\n'), "{fault:?}");
        assert!(names || !text.contains("s3cret"), "{fault:?}");
        assert!(text.chars().count() < 2000, "{fault:?}");
    }
}

pub fn kubeconfig() -> Target {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config");
    target(Vec::new(), move |input| {
        let _ = &dir;
        std::fs::write(&path, input).unwrap();
        match fuzzing::kubeconfig(&path) {
            Ok(()) => 1,
            Err(fault) => {
                fault_is_clean(&fault, !fault.message.contains("is not valid"));
                outcome(fault.message)
            }
        }
    })
}

pub fn credential() -> Target {
    target(Vec::new(), |input| match fuzzing::credential(input) {
        Ok(()) => 1,
        Err(fault) => {
            fault_is_clean(&fault, false);
            outcome(fault.message)
        }
    })
}

pub fn status() -> Target {
    target(Vec::new(), |input| {
        let codes = [400, 401, 403, 404, 407, 409, 410, 422, 429, 500, 503, 504, 302, 999];
        let code = codes[input.len() % codes.len()];
        let fault = fuzzing::status(code, input);
        fault_is_clean(&fault, fault.message.contains(": "));
        outcome((fault.kind, fault.message))
    })
}

pub fn manifest() -> Target {
    target(bytes_of(objects().into_iter().take(30).collect()), |input| outcome(fuzzing::manifest(&lossy(input))))
}

pub fn facts() -> Target {
    let days: [Timestamp; 3] =
        ["2026-08-15T10:00:00Z", "-009999-01-02T02:00:00Z", "9999-12-30T21:00:00Z"].map(|text| text.parse().unwrap());
    target(Vec::new(), move |input| {
        let facts = Facts::with_overlay(&lossy(input), "overlay");
        if let Ok(facts) = &facts {
            for now in days {
                for revision in facts.revisions.keys() {
                    let _ = (facts.support(revision, now), facts.is_newer_than_table(revision));
                }
                let _ = facts.is_stale(now);
            }
        }
        outcome(facts.map(|_| ()))
    })
}

/// The injector's configuration and the mesh configuration as ConfigMaps have them.
pub fn injector() -> Target {
    target(Vec::new(), |input| {
        let text = lossy(input);
        let map = |data: Value| serde_json::json!({"kind": "ConfigMap", "metadata": {"name": "istio-x"}, "data": data});
        let parse = |value: &Value| InjectorConfig::parse(&serde_json::from_value(value.clone()).unwrap());
        let mut results = Vec::new();
        for data in [
            serde_json::json!({"config": text, "values": "{}"}),
            serde_json::json!({"config": "policy: enabled", "values": text}),
            serde_json::json!({"mesh": text, "meshNetworks": text, "root-cert.pem": text, "x": text}),
        ] {
            let original = map(data);
            let mut redacted = original.clone();
            redact(SourceId::SystemConfigMaps, &mut redacted);
            assert_eq!(format!("{:?}", parse(&redacted)), format!("{:?}", parse(&original)));
            let mut again = redacted.clone();
            redact(SourceId::SystemConfigMaps, &mut again);
            assert_eq!(format!("{:?}", parse(&again)), format!("{:?}", parse(&original)));
            results.push(parse(&original).map(|config| config.policy));
        }
        outcome(results)
    })
}

pub fn image() -> Target {
    target(Vec::new(), |input| {
        let text = lossy(input);
        let version = IstioVersion::of_image(&text).or_else(|| IstioVersion::parse(&text));
        if let Some(version) = &version {
            // What is printed is a version again, of the same numbers.
            let again = IstioVersion::parse(&version.to_string()).unwrap();
            assert_eq!((again.major, again.minor, again.patch), (version.major, version.minor, version.patch));
        }
        let revision = AsmRevision::parse(&text);
        assert_eq!(compare(&text, &text), std::cmp::Ordering::Equal);
        assert_eq!(compare(&text, "asm-1-30"), compare("asm-1-30", &text).reverse());
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"annotations": {"sidecar.istio.io/status": text, "inject.istio.io/templates": text}},
            "spec": {"containers": [{"name": "istio-proxy", "image": text, "env": [{"name": "PROXY_CONFIG", "value": text}, {"name": "CA_ADDR", "value": text}]}]}}))
        .unwrap();
        let proxy = kubectl_asm::mesh::proxy::of_pod(&pod);
        outcome((version.is_some(), revision.is_some(), proxy.map(|proxy| (proxy.kind, proxy.revision.is_some()))))
    })
}

/// Selectors, workloads and times as people type them, and selectors as objects have them.
pub fn words() -> Target {
    target(Vec::new(), |input| {
        let text = lossy(input);
        let selector = serde_json::from_slice::<LabelSelector>(input).ok();
        let labels = [("app".to_owned(), "web".to_owned()), (text.clone(), text.clone())].into();
        let matched = selector.map(|selector| (selector.is_empty(), selector.matches(&labels)));
        assert!(!printable(&text).chars().any(is_odd));
        outcome((fuzzing::words(&text).map(|result| result.is_ok()), matched))
    })
}

pub fn no_proxy() -> Target {
    target(Vec::new(), |input| {
        let text = lossy(input);
        let (list, host) = text.split_once('\n').unwrap_or((&text, "a.example.com"));
        let bypassed = fuzzing::bypasses(list, host);
        assert!(fuzzing::bypasses(&format!("{list},*"), host), "an asterisk takes everything out");
        assert!(!bypassed || !list.trim().is_empty());
        outcome(bypassed)
    })
}
