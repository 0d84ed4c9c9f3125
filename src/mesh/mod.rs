//! The domain: pure functions over a snapshot. Commands and checks share them, so a table and a finding cannot disagree.

pub mod authority;
pub mod azure;
pub mod certificate;
pub mod control_plane;
pub mod denial;
pub mod injection;
pub mod istiod;
pub mod mesh_config;
pub mod mtls;
pub mod native;
pub mod network;
pub mod proxy;
pub mod proxy_state;
pub mod proxy_version;
pub mod purge;
pub mod redirection;
pub mod release;
pub mod revision;
pub mod rival;
pub mod scaling;
pub mod scraping;
pub mod upgrade;
pub mod webhook;
pub mod workload;
