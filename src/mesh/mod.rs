//! The domain: pure functions over a snapshot. Commands and checks share them, so a table and a finding cannot disagree.

pub mod control_plane;
pub mod injection;
pub mod mesh_config;
pub mod mtls;
pub mod proxy;
pub mod proxy_version;
pub mod revision;
pub mod scraping;
pub mod webhook;
pub mod workload;
