//! Bundles from elsewhere, codes that nobody knows, and times that make no sense.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::api::{healthy, serve};
use crate::program::Place;

fn demo() -> Vec<u8> {
    std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/src/bundle/demo.tar.gz")).unwrap()
}

fn archive(entries: &[(&str, u8, u64, &[u8])]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    for (name, kind, size, content) in entries {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(tar::EntryType::new(*kind));
        header.set_size(*size);
        header.set_mode(0o644);
        header.set_cksum();
        gzip.write_all(header.as_bytes()).unwrap();
        gzip.write_all(content).unwrap();
        gzip.write_all(&vec![0; (512 - content.len() % 512) % 512]).unwrap();
    }
    gzip.write_all(&[0; 1024]).unwrap();
    gzip.finish().unwrap()
}

#[tokio::test]
async fn hostile_bundles_are_refused_and_leave_nothing_behind() {
    let good = br#"{"format":1,"sections":{}}"#;
    let size = good.len() as u64;
    let place = Place::of("");
    let whole = demo();
    let mut random = vec![0_u8; 65_536];
    let mut state = 1_u32;
    for byte in &mut random {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24) as u8;
    }
    let mut gzipped_noise = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    gzipped_noise.extend(&random);
    // Gigabytes of nothing in a few kilobytes: gzip members one after the other unpack to more than the cap.
    let mut member = GzEncoder::new(Vec::new(), Compression::best());
    let block = vec![0_u8; 1 << 20];
    for _ in 0..64 {
        member.write_all(&block).unwrap();
    }
    let member = member.finish().unwrap();
    let mut bomb = archive(&[("sources/pods.jsonl", b'0', 1 << 36, b"")]);
    for _ in 0..34 {
        bomb.extend(&member);
    }
    for (name, bytes, says) in [
        ("empty", Vec::new(), "it is empty"),
        ("text", b"hello".to_vec(), "not a gzip file"),
        ("random", random.clone(), "not a gzip file"),
        ("noise", gzipped_noise, "damaged"),
        ("cut", whole[..whole.len() / 2].to_vec(), "truncated"),
        ("tail", whole[..whole.len() - 1].to_vec(), "truncated"),
        ("version", archive(&[("manifest.json", b'0', 12, br#"{"format":9}"#)]), "the bundle has format 9"),
        ("no-version", archive(&[("manifest.json", b'0', 2, b"{}")]), "names no format"),
        (
            "traversal",
            archive(&[("manifest.json", b'0', size, good), ("../../evil", b'0', 1, b"x")]),
            "outside the bundle",
        ),
        ("absolute", archive(&[("manifest.json", b'0', size, good), ("/tmp/evil", b'0', 1, b"x")]), "an absolute path"),
        ("symlink", archive(&[("manifest.json", b'0', size, good), ("sources/pods.jsonl", b'2', 0, b"")]), "a link"),
        ("hardlink", archive(&[("manifest.json", b'1', 0, b"")]), "a link"),
        ("device", archive(&[("manifest.json", b'3', 0, b"")]), "not a regular file"),
        ("promise", archive(&[("manifest.json", b'0', 1 << 40, b"{}")]), ""),
        ("twice", archive(&[("manifest.json", b'0', size, good), ("manifest.json", b'0', size, good)]), "there twice"),
        ("bomb", bomb, ""),
    ] {
        let file = place.file(name, &bytes).display().to_string();
        let refusal = place.refused(&["status", "--from", &file]).await;
        assert_eq!(refusal.kind, "bundle", "{name}: {refusal:?}");
        assert!(refusal.message.contains(says), "{name}: {refusal:?}");
        std::fs::remove_file(&file).unwrap();
    }
    let left: Vec<_> = std::fs::read_dir(place.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["config"], "nothing was unpacked");
    let missing = place.refused(&["inject-check", "--from", "none.tar.gz"]).await;
    assert_eq!(missing.message, "cannot open none.tar.gz: it does not exist");
}

#[tokio::test]
async fn a_bundle_says_what_the_cluster_said_and_a_folder_of_links_is_refused() {
    let server = serve(healthy()).await;
    let place = Place::at(&server);
    let captured = place.plain(&["capture", "b.tar.gz"]).await;
    assert_eq!(captured.code, 0, "{captured:?}");
    let ran = place.run(&["status", "--from", "b.tar.gz", "-o", "json"]).await;
    assert_eq!((ran.code, ran.codes()), (0, vec![]), "{ran:?}");
    let folder = place.dir.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", folder.join("manifest.json")).unwrap();
    let refusal = place.refused(&["status", "--from", "folder"]).await;
    assert!(refusal.message.ends_with("is a link"), "{refusal:?}");
}

#[tokio::test]
async fn codes_that_nobody_knows_are_an_error_of_usage() {
    let place = Place::of("");
    for flag in ["--only", "--skip"] {
        for code in ["NOPE99", "INJ", "INJ03,WHAT1", "", " ", "inj03 "] {
            let ran = place.run(&["status", "--from", "demo", flag, code]).await;
            if code == "INJ" {
                assert!(ran.code < 2, "{ran:?}");
                continue;
            }
            let refusal = place.refused(&["status", "--from", "demo", flag, code]).await;
            assert_eq!(refusal.kind, "usage", "{flag} {code:?}: {refusal:?}");
            assert!(refusal.hints("kubectl asm explain"), "{refusal:?}");
        }
    }
}

#[tokio::test]
async fn numbers_beyond_all_bounds_are_refused_or_work() {
    let place = Place::of("");
    for time in [
        "18446744073709551615s1s",
        "18446744073709551615h",
        "18446744073709551615",
        "99999999999999999999s",
        "1e9s",
        "-1s",
        "s",
        "",
    ] {
        for flag in ["--timeout", "--request-timeout"] {
            let argument = format!("{flag}={time}");
            let ran = place.plain(&["status", "--server", "http://127.0.0.1:1", &argument]).await;
            assert_eq!(ran.code, 2, "{argument}: {ran:?}");
            assert!(!ran.stderr.is_empty(), "{argument}");
        }
    }
    for now in ["-009999-01-02T01:59:59Z", "9999-12-30T22:00:00Z"] {
        let now = format!("--now={now}");
        let ran = place.plain(&["status", "--from", "demo", &now, "-o", "json"]).await;
        assert_eq!(ran.json()["summary"]["checks"]["errored"], 0, "{ran:?}");
        place.plain(&["status", "--from", "demo", &now]).await;
    }
}

#[tokio::test]
async fn manifests_and_tables_that_make_no_sense_are_named() {
    let place = Place::of("");
    let bomb = "a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c]\ne: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d]\nf: &f [*e, *e, *e, *e, *e, *e, *e, *e, *e]\ng: [*f, *f, *f, *f, *f, *f, *f, *f, *f]\n";
    let deep = "[".repeat(100_000);
    for text in [
        "",
        "kind: Pod\n  bad: [",
        "kind: Service\n",
        "\u{0}",
        "kind: Deployment\nspec: 7\n",
        bomb,
        &deep,
        "kind: List\nitems: 3\n",
    ] {
        let file = place.file("m.yaml", text.as_bytes()).display().to_string();
        let refusal = place.refused(&["inject-check", "--from", "demo", "-f", &file]).await;
        assert!(refusal.message.len() < 1000, "{refusal:?}");
        let refusal = place.refused(&["status", "--from", "demo", "--facts", &file]).await;
        assert_eq!(refusal.kind, "facts", "{refusal:?}");
    }
    place.file("m.yaml", b"\xff\xfe");
    place.refused(&["inject-check", "--from", "demo", "-f", "m.yaml"]).await;
    place.refused(&["inject-check", "--from", "demo", "-f", "none.yaml"]).await;
    // Longer than what is read at all: part of it would be judged, and the rest not.
    place.file(
        "long.yaml",
        format!("kind: Pod\nmetadata: {{name: a}}\n---\n{}", "# filled\n".repeat(8 << 20)).as_bytes(),
    );
    let refusal = place.refused(&["inject-check", "--from", "demo", "-f", "long.yaml"]).await;
    assert!(refusal.message.contains("larger than 64 MiB"), "{refusal:?}");
}
