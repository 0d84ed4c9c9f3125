//! REV: how long a revision lives, and which Kubernetes it fits.

use crate::engine::Check;

/// Checks of this area.
pub static CHECKS: &[&Check] = &[];
