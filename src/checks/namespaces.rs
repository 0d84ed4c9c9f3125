//! INJ: namespaces and Jobs that injection does not suit.

use crate::engine::Check;

/// Checks of this area.
pub static CHECKS: &[&Check] = &[];
