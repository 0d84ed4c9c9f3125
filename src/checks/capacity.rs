//! CAP: room for istiod and for sidecars.

use crate::engine::Check;

/// Checks of this area.
pub static CHECKS: &[&Check] = &[];
