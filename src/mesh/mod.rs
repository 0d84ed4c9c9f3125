//! The domain: pure functions over a snapshot. Commands and checks share them, so a table and a finding cannot disagree.

pub mod azure;
pub mod control_plane;
pub mod denial;
pub mod injection;
pub mod istiod;
pub mod proxy;
pub mod release;
pub mod revision;
pub mod scaling;
pub mod webhook;
pub mod workload;
