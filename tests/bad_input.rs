//! Bad input at the level of the binary: a server, a kubeconfig, a proxy or a bundle that is broken, hostile or from
//! tomorrow. Every run ends with the promised exit code, in time, without a panic, with one error that says what to do or
//! with a gap in the report, and with everything that could be learnt all the same.
//!
//! A small scripted API server with a healthy cluster stands on loopback; nothing else is reached.
#![cfg(unix)]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // reason: tests fail loudly

#[path = "bad_input/api.rs"]
mod api;
#[path = "bad_input/azure.rs"]
mod azure;
#[path = "bad_input/bundles.rs"]
mod bundles;
mod cluster_support;
#[path = "bad_input/kubeconfigs.rs"]
mod kubeconfigs;
#[path = "bad_input/logs.rs"]
mod logs;
#[path = "bad_input/metrics.rs"]
mod metrics;
#[path = "bad_input/network.rs"]
mod network;
#[path = "bad_input/objects.rs"]
mod objects;
#[path = "bad_input/precheck.rs"]
mod precheck;
#[path = "bad_input/probe.rs"]
mod probe;
#[path = "bad_input/program.rs"]
mod program;
#[path = "bad_input/proxies.rs"]
mod proxies;
#[path = "bad_input/rights.rs"]
mod rights;
mod support;
#[path = "bad_input/tls.rs"]
mod tls;
