//! ING: ingress gateways.

use crate::engine::Check;

/// Checks of this area.
pub static CHECKS: &[&Check] = &[];
