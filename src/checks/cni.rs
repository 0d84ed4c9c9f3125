//! CNI: how traffic gets into the proxies.

use crate::engine::Check;

/// Checks of this area.
pub static CHECKS: &[&Check] = &[];
