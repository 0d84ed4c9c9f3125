//! WHK: certificates of webhooks, and webhooks of others.

use crate::engine::Check;

/// Checks of this area.
pub static CHECKS: &[&Check] = &[];
