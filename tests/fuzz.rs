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

#[path = "fuzz/azure.rs"]
mod azure;
#[path = "fuzz/engine.rs"]
mod engine;
#[path = "fuzz/logs.rs"]
mod logs;
#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "fuzz/proxies.rs"]
mod proxies;
mod support;
#[path = "fuzz/targets.rs"]
mod targets;

macro_rules! targets {
    ($($place:ident::$name:ident: $rounds:literal,)*) => {
        $(#[test]
        fn $name() {
            engine::fuzz(stringify!($name), $rounds, $place::$name());
        })*
    };
}

targets! {
    targets::list: 6000,
    targets::object: 400,
    targets::redaction: 150,
    targets::world: 20,
    targets::archive: 200,
    targets::kubeconfig: 500,
    targets::credential: 4000,
    targets::status: 6000,
    targets::manifest: 1500,
    targets::facts: 400,
    targets::injector: 300,
    targets::image: 8000,
    targets::words: 1500,
    targets::no_proxy: 2000,
    proxies::xds: 300,
    proxies::envoy: 400,
    logs::log: 1500,
    azure::azure: 1500,
    azure::az_log: 600,
    azure::metrics: 400,
}
