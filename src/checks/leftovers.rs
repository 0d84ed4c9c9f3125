//! UPG: what a finished upgrade leaves behind.

use crate::engine::Check;

/// Checks of this area.
pub static CHECKS: &[&Check] = &[];
