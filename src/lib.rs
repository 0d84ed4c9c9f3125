//! `kubectl asm`: what is wrong with the Istio add-on of an AKS cluster, why, and what to type.
//!
//! Gather, freeze, check, render: see `docs/design.md`.

pub mod az;
pub mod bundle;
pub mod checks;
pub mod cli;
pub mod cluster;
pub mod engine;
pub mod facts;
#[doc(hidden)]
pub mod fuzzing;
pub mod gather;
pub mod mesh;
pub mod model;
pub mod process;
pub mod report;
pub mod snapshot;
pub mod sources;
