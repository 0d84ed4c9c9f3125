//! CFG: the managed and the shared mesh configuration.

use crate::engine::Check;

/// Checks of this area.
pub static CHECKS: &[&Check] = &[];
