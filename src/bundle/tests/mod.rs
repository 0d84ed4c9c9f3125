#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod hostile;
pub mod world;

use std::io::Read;

use super::read::{LIMITS, read_archive};
use super::*;
use crate::snapshot::{OriginKind, Snapshot, SourceId, StateKind};
use crate::sources::SOURCES;
use world::SECRET;

/// A bundle of the small world.
pub fn bundle() -> Vec<u8> {
    let (snapshot, recorder) = world::gather(|_| Vec::new());
    let mut out = Vec::new();
    write(&mut out, &snapshot, recorder).unwrap();
    out
}

/// Reads bytes as a bundle.
pub fn read(bytes: &[u8]) -> Result<Snapshot, BundleError> {
    read_archive(bytes, OriginKind::Bundle, LIMITS)
}

/// Every file of an archive.
pub fn files(bytes: &[u8]) -> Vec<(String, String)> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes));
    let entries = archive.entries().unwrap();
    entries
        .map(|entry| {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            let name = entry.path().unwrap().display().to_string();
            entry.read_to_string(&mut text).unwrap();
            (name, text)
        })
        .collect()
}

/// Everything in a snapshot that reports are made of. Variables of foreign containers decode live, but nothing reads
/// them; they are left out on both sides.
fn content(snapshot: &Snapshot) -> String {
    let mut copy = snapshot.clone();
    copy.origin.kind = OriginKind::Live;
    // Values of tags and credentials of scrape jobs are taken out on purpose.
    if let crate::snapshot::Section::Collected(telemetries) = &mut copy.telemetries {
        telemetries.items.iter_mut().for_each(|telemetry| telemetry.spec = serde_json::Value::Null);
    }
    if let crate::snapshot::Section::Collected(maps) = &mut copy.metrics_config_maps {
        maps.items.iter_mut().for_each(|map| map.data.clear());
    }
    let is_istio = |name: &str| matches!(name, "discovery" | "istio-proxy");
    let strip = |containers: &mut Vec<crate::model::Container>| {
        for container in containers {
            container.env.kept.retain(|_| is_istio(&container.name));
            for var in &mut container.env.kept {
                if var.name == "PROXY_CONFIG" {
                    let config: serde_json::Value = serde_json::from_str(&var.value).unwrap();
                    var.value = config["discoveryAddress"].to_string();
                }
            }
        }
    };
    for section in [&mut copy.pods, &mut copy.system_pods, &mut copy.istiods] {
        if let crate::snapshot::Section::Collected(pods) = section {
            for pod in &mut pods.items {
                strip(&mut pod.spec.containers);
                strip(&mut pod.spec.init_containers);
                pod.metadata.annotations.remove("proxy.istio.io/config");
                pod.metadata.annotations.remove("proxy.istio.io/overrides");
            }
        }
    }
    for section in
        [&mut copy.deployments, &mut copy.cron_jobs, &mut copy.system_deployments, &mut copy.gateway_deployments]
    {
        if let crate::snapshot::Section::Collected(controllers) = section {
            for controller in &mut controllers.items {
                strip(&mut controller.template.spec.containers);
                strip(&mut controller.template.spec.init_containers);
            }
        }
    }
    // ConfigMaps are compared by what is parsed out of them.
    let mut injectors = Vec::new();
    if let crate::snapshot::Section::Collected(maps) = &mut copy.system_config_maps {
        for map in &mut maps.items {
            injectors.push(format!("{:?}", crate::model::config_map::InjectorConfig::parse(map)));
            map.data.values_mut().for_each(String::clear);
        }
    }
    format!("{copy:#?}{injectors:?}")
}

#[test]
fn what_is_read_equals_what_was_gathered() {
    let (live, recorder) = world::gather(|_| Vec::new());
    let mut out = Vec::new();
    write(&mut out, &live, recorder).unwrap();
    let read = read(&out).unwrap();
    assert_eq!(read.origin.kind, OriginKind::Bundle);
    assert_eq!(content(&live), content(&read));
}

#[test]
fn an_undecodable_object_is_named_once_and_not_written() {
    let more = |id| match id {
        SourceId::Pods => vec![
            br#"{"metadata":{"name":"odd","namespace":"shop"},"spec":{"containers":"s3cr3t"}}"#.to_vec(),
            b"s3cr3t not json".to_vec(),
        ],
        _ => Vec::new(),
    };
    let (live, recorder) = world::gather(more);
    let mut out = Vec::new();
    write(&mut out, &live, recorder).unwrap();
    assert_eq!(live.pods.state().undecodable.len(), 2);
    assert_eq!(content(&live), content(&read(&out).unwrap()));
    assert!(files(&out).iter().all(|(_, text)| !text.contains(SECRET)));
}

#[test]
fn no_secret_is_in_any_file() {
    for (name, text) in files(&bundle()) {
        assert!(!text.contains(SECRET) && !text.contains("czNjcjN0"), "{name}: {text}");
    }
}

#[test]
fn files_are_plain_and_the_manifest_is_first() {
    let bytes = bundle();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
    for entry in archive.entries().unwrap() {
        let header = entry.unwrap().header().clone();
        assert_eq!(header.mode().unwrap(), 0o644);
        assert_eq!(header.mtime().unwrap(), 1_786_788_000);
    }
    let files = files(&bytes);
    assert_eq!(files[0].0, "manifest.json");
    let manifest: serde_json::Value = serde_json::from_str(&files[0].1).unwrap();
    assert_eq!(manifest["format"], 1);
    assert_eq!(manifest["sections"]["pods"]["items"], 4);
    assert_eq!(manifest["sections"]["jobs"]["state"], "failed");
    assert_eq!(manifest["sections"]["operatorCrd"]["state"], "notServed");
    let (_, pods) = files.iter().find(|(name, _)| name == "sources/pods.jsonl").unwrap();
    let first: serde_json::Value = serde_json::from_str(pods.lines().next().unwrap()).unwrap();
    assert_eq!((&first["kind"], &first["apiVersion"]), (&"Pod".into(), &"v1".into()));
    assert!(!files.iter().any(|(name, _)| name.contains("jobs.jsonl")), "a failed source has no file");
    assert_eq!(bundle(), bytes, "the same world gives the same bytes");
}

#[test]
fn a_directory_reads_like_the_archive() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = bundle();
    for (name, text) in files(&bytes) {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    std::fs::write(directory.path().join("notes.txt"), "mine").unwrap();
    let file = directory.path().join("bundle.tar.gz");
    std::fs::write(&file, &bytes).unwrap();
    let from_directory = read_path(directory.path()).unwrap();
    assert_eq!(content(&from_directory), content(&read_path(&file).unwrap()));
}

#[test]
fn a_list_that_begins_anew_is_recorded_once() {
    let pod = |n: usize| {
        let name = format!("p-{n:05}");
        serde_json::to_vec(
            &serde_json::json!({"metadata": {"name": name, "namespace": "a", "uid": format!("{n:0600}")}}),
        )
        .unwrap()
    };
    // Marks before, at, inside and after compressed blocks.
    for (first, mark_at) in [(0, 0), (3, 2), (1000, 0), (1000, 1), (1000, 400), (1000, 999), (1000, 1000)] {
        let mut recorder = Recorder::new();
        let mut part = recorder.source(SourceId::Pods);
        let mut mark = part.mark();
        for n in 0..first {
            if n == mark_at {
                mark = part.mark();
            }
            part.item(&pod(n));
        }
        if mark_at == first {
            mark = part.mark();
        }
        part.rewind(mark);
        for n in mark_at..first + 700 {
            part.item(&pod(n));
        }
        recorder.keep(SourceId::Pods, part);
        let mut collector = (crate::sources::source(SourceId::Pods).unwrap().collector)();
        (0..first + 700).for_each(|n| collector.item(&pod(n)));
        let mut live = Snapshot::default();
        collector.finish(
            &mut live,
            crate::sources::collect::End {
                kind: StateKind::Collected,
                faults: vec![],
                undecodable: vec![],
                fallback: None,
            },
        );
        let mut out = Vec::new();
        write(&mut out, &live, recorder).unwrap();
        let (_, lines) = files(&out).into_iter().find(|(name, _)| name == "sources/pods.jsonl").unwrap();
        let names: Vec<_> = lines
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["metadata"]["name"].to_string())
            .collect();
        assert_eq!(names, (0..first + 700).map(|n| format!("\"p-{n:05}\"")).collect::<Vec<_>>(), "{first} {mark_at}");
    }
}

#[test]
fn an_object_that_does_not_fit_into_a_line_is_owned_up_to() {
    let deep = format!("{{\"metadata\":{{\"name\":\"deep\"}},\"x\":{}{}}}", "[".repeat(200), "]".repeat(200));
    let (live, recorder) =
        world::gather(|id| if id == SourceId::Namespaces { vec![deep.clone().into_bytes()] } else { Vec::new() });
    assert_eq!(live.namespaces.items().unwrap().len(), 6);
    let mut out = Vec::new();
    write(&mut out, &live, recorder).unwrap();
    let read = read(&out).unwrap();
    assert_eq!(read.namespaces.items().unwrap().len(), 5);
    assert_eq!(read.namespaces.state().faults[0].message, "1 object of namespaces could not be written to the bundle");
}

#[test]
fn the_demo_reads_and_holds_no_secret() {
    let demo = read_demo().unwrap();
    assert_eq!(demo.origin.kind, OriginKind::Demo);
    assert!(demo.pods.items().is_some_and(|pods| !pods.is_empty()));
    assert!(files(read::DEMO).iter().all(|(_, text)| !text.contains(SECRET)));
    assert!(read::DEMO.len() < 150_000);
}

#[test]
fn every_source_name_is_a_plain_file_name() {
    for source in SOURCES {
        assert!(source.id.name().bytes().all(|byte| byte.is_ascii_alphabetic()), "{:?}", source.id);
    }
}
