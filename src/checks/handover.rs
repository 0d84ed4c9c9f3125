//! UPG: what an open upgrade has to carry over.

use crate::engine::Check;

/// Checks of this area.
pub static CHECKS: &[&Check] = &[];
