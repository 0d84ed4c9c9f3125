//! CA: the mesh's certificate authority.

use crate::engine::Check;

/// Checks of this area.
pub static CHECKS: &[&Check] = &[];
