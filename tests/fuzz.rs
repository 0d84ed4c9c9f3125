//! Every decoder of foreign bytes against damaged input: none may panic, hang, or break what its target promises.
//!
//! A mutation fuzzer on stable Rust: seeds are mutated by a deterministic generator, and inputs with a new outcome become
//! seeds themselves. `cargo test --test fuzz` does a fixed small number of rounds; for a long run
//!
//! ```text
//! FUZZ_SECONDS=600 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true \
//!   cargo test --release --test fuzz -- --nocapture --test-threads 2 [TARGET]
//! ```
//!
//! gives every target so many seconds, and `FUZZ_SEED` another start. An input that breaks its target is written to
//! `target/tmp`; together with the repair it goes into `tests/fuzz/corpus/TARGET/`, all files of which are played first.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // reason: tests fail loudly

#[path = "fuzz/engine.rs"]
mod engine;
#[path = "fuzz/mutate.rs"]
mod mutate;
mod support;
#[path = "fuzz/targets.rs"]
mod targets;

macro_rules! targets {
    ($($name:ident: $rounds:literal,)*) => {
        $(#[test]
        fn $name() {
            engine::fuzz(stringify!($name), $rounds, targets::$name());
        })*
    };
}

targets! {
    list: 6000,
    object: 400,
    redaction: 150,
    world: 20,
    archive: 200,
    kubeconfig: 500,
    credential: 4000,
    status: 6000,
    manifest: 1500,
    facts: 400,
    injector: 300,
    image: 8000,
    words: 1500,
    no_proxy: 2000,
    xds: 300,
    envoy: 400,
}
