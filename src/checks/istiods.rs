//! CP: the pods, events and releases of istiod.

use crate::engine::Check;

/// Checks of this area.
pub static CHECKS: &[&Check] = &[];
