//! The report: versioned data, the only thing that renderers see, and one renderer per file.

pub mod document;
pub mod view;

pub use document::{ErrorDocument, Format, Gap, OutcomeRecord, OutcomeStatus, Report, ScopeRecord, Summary};
pub use view::View;
