//! POL: what the add-on allows in Istio's custom resources.

use crate::engine::Check;

/// Checks of this area.
pub static CHECKS: &[&Check] = &[];
