//! Tables as kubectl prints them: upper-case headers, three spaces between columns, no borders.

use super::style::Style;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Lays out rows under headers. On a terminal the last column is cut at its edge; into a pipe nothing is cut.
#[must_use]
pub fn table(headers: &[&str], rows: &[Vec<String>], style: Style) -> String {
    let mut widths: Vec<usize> = headers.iter().map(|header| header.width()).collect();
    for row in rows {
        for (column, cell) in row.iter().enumerate().take(widths.len()) {
            widths[column] = widths[column].max(cell.width());
        }
    }
    let header: Vec<String> = headers.iter().map(|header| (*header).to_owned()).collect();
    let mut out = String::new();
    for row in std::iter::once(&header).chain(rows) {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            line.push_str(cell);
            if column + 1 < row.len() {
                line.push_str(&" ".repeat(widths[column] - cell.width() + 3));
            }
        }
        out.push_str(cut(line.trim_end(), style).as_ref());
        out.push('\n');
    }
    out
}

fn cut(line: &str, style: Style) -> std::borrow::Cow<'_, str> {
    let mark = if style.unicode { "…" } else { "~" };
    let Some(width) = style.width.filter(|width| line.width() > *width && *width > 1) else { return line.into() };
    let mut used = 0;
    let kept: String = line
        .chars()
        .take_while(|c| {
            used += c.width().unwrap_or_default();
            used < width
        })
        .collect();
    format!("{kept}{mark}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_only_a_terminal_cuts() {
        let rows = vec![vec!["deploy/web".to_owned(), "3/3".to_owned(), "a long reason".to_owned()]];
        assert_eq!(
            table(&["WORKLOAD", "PODS", "WHY"], &rows, Style::default()),
            "WORKLOAD     PODS   WHY\ndeploy/web   3/3    a long reason\n"
        );
        let narrow = table(&["WORKLOAD", "PODS", "WHY"], &rows, Style { color: false, unicode: true, width: Some(26) });
        assert_eq!(narrow.lines().nth(1), Some("deploy/web   3/3    a lon…"));
    }
}
