//! The report: versioned data, the only thing that renderers see, and one renderer per file.

pub mod azure;
pub mod conflicts;
pub mod document;
mod inventory;
pub mod logs;
pub mod logs_view;
pub mod metrics;
mod precheck;
pub mod precheck_view;
mod probe;
pub mod probe_view;
pub mod proxy_config;
pub mod proxy_config_view;
pub mod proxy_diff;
pub mod proxy_diff_view;
pub mod proxy_status;
#[cfg(test)]
mod proxy_status_tests;
pub mod proxy_status_view;
pub mod schema;
pub mod short;
pub mod style;
pub mod table;
#[cfg(test)]
mod tests;
pub mod text;
pub mod view;
pub mod yaml;

pub use document::{ErrorDocument, Format, Gap, OutcomeRecord, OutcomeStatus, Report, ScopeRecord, Summary};
pub use style::Style;
pub use view::View;

/// Renders a report.
#[must_use]
pub fn render(report: &Report, format: Format, style: Style) -> String {
    match format {
        Format::Text => text::render(report, style, false),
        Format::Wide => text::render(report, style, true),
        // What scripts cut columns from stays free of anything else.
        Format::Short => match &report.view {
            View::ProxyConfig(view) => proxy_config::render(view, style, false),
            View::AzureLog(view) => azure::short_log(view),
            _ => short::render(report),
        },
        Format::Json => yaml::escaped(&serde_json::to_string_pretty(report).unwrap_or_default()) + "\n",
        Format::Yaml => yaml::emit(&serde_json::to_value(report).unwrap_or_default()),
    }
}
