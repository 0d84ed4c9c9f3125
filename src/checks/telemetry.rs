//! TEL: metrics, traces and access logs.

use crate::engine::Check;

/// Checks of this area.
pub static CHECKS: &[&Check] = &[];
