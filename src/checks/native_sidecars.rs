//! NSC: sidecars as init containers.

use crate::engine::Check;

/// Checks of this area.
pub static CHECKS: &[&Check] = &[];
