//! Bundles that somebody else made.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::super::read::{LIMITS, Limits, read_archive};
use super::*;

/// An archive of given entries: name, type, content. The header is made by hand, as an attacker would.
fn archive(entries: &[(&str, u8, &[u8])]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    for (name, kind, content) in entries {
        gzip.write_all(&header(name, *kind, content.len() as u64)).unwrap();
        gzip.write_all(content).unwrap();
        gzip.write_all(&vec![0; (512 - content.len() % 512) % 512]).unwrap();
    }
    gzip.write_all(&[0; 1024]).unwrap();
    gzip.finish().unwrap()
}

fn header(name: &str, kind: u8, size: u64) -> [u8; 512] {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    *header.as_bytes()
}

const MINIMAL: &[u8] = br#"{"format":1,"sections":{"namespaces":{"state":"collected","items":2}}}"#;

fn error(bytes: &[u8]) -> String {
    let error = read(bytes).unwrap_err();
    let document = error.document();
    assert_eq!(document.kind, "bundle");
    assert!(!document.hints.is_empty());
    document.message
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for (name, kind, expected) in [
        ("../../etc/passwd", b'0', "entry \"../../etc/passwd\" is outside the bundle"),
        ("/etc/passwd", b'0', "entry \"/etc/passwd\" is an absolute path"),
        ("sources/pods.jsonl", b'2', "entry \"sources/pods.jsonl\" is a link"),
        ("sources/pods.jsonl", b'1', "entry \"sources/pods.jsonl\" is a link"),
        ("sources/pods.jsonl", b'3', "entry \"sources/pods.jsonl\" is not a regular file"),
        ("sources/pods.jsonl", b'S', "entry \"sources/pods.jsonl\" is not a regular file"),
        ("a\\b", b'0', "entry \"a\\b\" is not a plain file name"),
        ("x\x1b[31m/../y", b'0', "entry \"x[31m/../y\" is outside the bundle"),
        ("././@LongLink", b'L', "entry \"././@LongLink\" is not a regular file"),
        ("../", b'5', "entry \"../\" is outside the bundle"),
    ] {
        let message = error(&archive(&[("manifest.json", b'0', MINIMAL), (name, kind, b"")]));
        assert_eq!(message, format!("the bundle is refused: {expected}"));
    }
}

#[test]
fn an_entry_that_is_there_twice_is_refused() {
    let twice = archive(&[("manifest.json", b'0', MINIMAL), ("./manifest.json", b'0', MINIMAL)]);
    assert_eq!(error(&twice), "the bundle is refused: entry \"./manifest.json\" is there twice");
}

#[test]
fn a_repacked_bundle_reads_whatever_the_order_and_the_extras() {
    let repacked = archive(&[
        ("./", b'5', b""),
        ("./sources/", b'5', b""),
        ("PaxHeaders/x", b'x', b"30 mtime=1\n"),
        ("./sources/namespaces.jsonl", b'0', b"{\"metadata\":{\"name\":\"b\"}}\n\n{\"metadata\":{\"name\":\"a\"}}"),
        ("./sources/somethingNewer.jsonl", b'0', b"{}\n"),
        ("./README", b'0', b"hello"),
        ("./manifest.json", b'0', MINIMAL),
    ]);
    let snapshot = read(&repacked).unwrap();
    let names: Vec<_> = snapshot.namespaces.items().unwrap().iter().map(|n| n.metadata.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(snapshot.namespaces.state().is_complete());
    assert_eq!(snapshot.pods.state().kind, StateKind::NotRequested);
}

#[test]
fn fewer_lines_than_promised_are_a_gap_and_a_missing_file_a_failure() {
    let one = read(&archive(&[("manifest.json", b'0', MINIMAL), ("sources/namespaces.jsonl", b'0', b"{}\n")])).unwrap();
    assert_eq!(one.namespaces.state().kind, StateKind::Collected);
    assert_eq!(one.namespaces.state().faults[0].message, "the bundle holds 1 of 2 objects of sources/namespaces.jsonl");
    let none = read(&archive(&[("manifest.json", b'0', MINIMAL)])).unwrap();
    assert_eq!(none.namespaces.state().kind, StateKind::Failed);
    assert_eq!(none.namespaces.state().faults[0].kind, crate::snapshot::FaultKind::Truncated);
}

#[test]
fn every_cut_is_noticed() {
    let whole = bundle();
    for cut in (1..whole.len()).step_by(97).chain(whole.len() - 9..whole.len()) {
        let message = error(&whole[..cut]);
        assert_eq!(message, "the bundle is truncated: the archive ends too early", "cut at {cut} of {}", whole.len());
    }
}

#[test]
fn every_flipped_byte_is_noticed_or_harmless() {
    let whole = bundle();
    for at in (10..whole.len()).step_by(61) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        // The checksum at the end of the gzip stream covers every byte.
        assert!(read(&bytes).is_err(), "flip at {at}");
    }
}

#[test]
fn an_archive_cut_before_it_was_compressed_is_noticed() {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&header("sources/namespaces.jsonl", b'0', 1 << 40)).unwrap();
    gzip.write_all(b"{}\n").unwrap();
    assert_eq!(error(&gzip.finish().unwrap()), "the bundle is truncated: the archive ends too early");
}

#[test]
fn what_is_not_a_bundle_is_said_so() {
    assert_eq!(error(b""), "this is not a bundle: it is empty");
    assert_eq!(error(b"hello"), "this is not a bundle: it is not a gzip file");
    assert_eq!(error(&archive(&[])), "this is not a bundle: it has no manifest.json");
    assert_eq!(error(&archive(&[("manifest.json", b'0', b"[")])), "this is not a bundle: manifest.json is not JSON");
    assert_eq!(
        error(&archive(&[("manifest.json", b'0', b"{}")])),
        "this is not a bundle: manifest.json names no format"
    );
    let missing = read_path(std::path::Path::new("/nonexistent/x.tar.gz")).unwrap_err();
    assert_eq!(missing.to_string(), "cannot open /nonexistent/x.tar.gz: it does not exist");
    let directory = tempfile::tempdir().unwrap();
    let empty = read_path(directory.path()).unwrap_err();
    assert_eq!(empty.to_string(), "this is not a bundle: it has no manifest.json");
}

#[test]
fn a_newer_format_names_what_reads_it() {
    let newer = archive(&[("manifest.json", b'0', br#"{"format":2,"tool":{"version":"0.9.0"},"sections":[]}"#)]);
    assert_eq!(error(&newer), "the bundle has format 2, this kubectl-asm reads formats up to 1");
    let hints = read(&newer).unwrap_err().document().hints;
    assert_eq!(hints, ["use kubectl-asm 0.9.0 or newer, which wrote this bundle"]);
}

#[test]
fn unknown_words_in_the_manifest_cost_one_section_at_most() {
    let manifest = br#"{"format":1,"new":1,"sections":{"futureThing":{"state":"collected","items":9},
        "namespaces":{"state":"pondering"},
        "jobs":{"state":"failed","faults":[{"kind":"meteor","message":"boom\u001b[2J"}]}}}"#;
    let snapshot = read(&archive(&[("manifest.json", b'0', manifest)])).unwrap();
    assert_eq!(snapshot.namespaces.state().kind, StateKind::Failed);
    assert_eq!(snapshot.jobs.state().faults[0].message, "boom[2J");
}

#[test]
fn bombs_end_at_the_caps() {
    let zeros = vec![0; 4 << 20];
    let small = Limits { total: 1 << 20, line: 1 << 16, entries: 5, lines: 100, line_weight: 5000, ..LIMITS };
    let read = |bytes: &[u8]| read_archive(bytes, OriginKind::Bundle, small).unwrap_err().to_string();
    let unknown = archive(&[("manifest.json", b'0', MINIMAL), ("x", b'0', &zeros)]);
    assert_eq!(read(&unknown), "the bundle is too large: it unpacks to more than 1 MiB");
    let line = archive(&[("sources/pods.jsonl", b'0', &vec![b' '; 1 << 17])]);
    assert_eq!(read(&line), "the bundle is too large: a line of sources/pods.jsonl is longer than 65536 bytes");
    let lines = archive(&[("sources/pods.jsonl", b'0', &b"{}\n".repeat(101))]);
    assert_eq!(read(&lines), "the bundle is too large: sources/pods.jsonl has more objects than any cluster");
    let wide = format!("{{\"spec\":{{\"containers\":[{}{{}}]}}}}", "{},".repeat(60));
    let wide = archive(&[("sources/pods.jsonl", b'0', wide.as_bytes())]);
    assert_eq!(read(&wide), "the bundle is too large: sources/pods.jsonl has more objects than any cluster");
    let names: Vec<String> = (0..6).map(|n| format!("f{n}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), b'0', &b""[..])).collect();
    assert_eq!(read(&archive(&many)), "the bundle is too large: it has more than 5 entries");
    let manifest = Limits { manifest: 10, ..LIMITS };
    let error = read_archive(archive(&[("manifest.json", b'0', MINIMAL)]).as_slice(), OriginKind::Bundle, manifest);
    assert_eq!(error.unwrap_err().to_string(), "the bundle is too large: manifest.json is larger than 10 bytes");
}

#[test]
fn data_after_the_end_is_refused() {
    let mut bytes = archive(&[("manifest.json", b'0', MINIMAL)]);
    let mut more = GzEncoder::new(Vec::new(), Compression::fast());
    more.write_all(&vec![0; 2 << 20]).unwrap();
    bytes.extend(more.finish().unwrap());
    assert_eq!(error(&bytes), "the bundle is damaged: data follows the end of the archive");
}

#[cfg(unix)]
#[test]
fn a_directory_with_links_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/etc/hostname", directory.path().join("manifest.json")).unwrap();
    let error = read_path(directory.path()).unwrap_err();
    assert_eq!(error.to_string(), "the bundle is refused: entry \"manifest.json\" is a link");
}
