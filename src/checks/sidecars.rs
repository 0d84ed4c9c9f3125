//! PRX: images, health and settings of running proxies.

use crate::engine::Check;

/// Checks of this area.
pub static CHECKS: &[&Check] = &[];
