//! Tables as kubectl prints them: upper-case headers, three spaces between columns, no borders.

use super::style::Style;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Lays out rows under headers. On a terminal the last column is cut at its edge, the others never: a name that is cut
/// cannot be pasted. Into a pipe nothing is cut.
#[must_use]
pub fn table(headers: &[&str], rows: &[Vec<String>], style: Style) -> String {
    let mut widths: Vec<usize> = headers.iter().map(|header| header.width()).collect();
    for row in rows {
        for (column, cell) in row.iter().enumerate().take(widths.len()) {
            widths[column] = widths[column].max(cell.width());
        }
    }
    let before: usize = widths.iter().take(widths.len().saturating_sub(1)).map(|width| width + 3).sum();
    let room = style.width.map(|width| width.saturating_sub(before).max(style.ellipsis().width()));
    let header: Vec<String> = headers.iter().map(|header| (*header).to_owned()).collect();
    let mut out = String::new();
    for row in std::iter::once(&header).chain(rows) {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            if column + 1 < row.len() {
                line.push_str(cell);
                line.push_str(&" ".repeat(widths[column] - cell.width() + 3));
            } else {
                line.push_str(&cut(cell, room, style));
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn cut(cell: &str, room: Option<usize>, style: Style) -> std::borrow::Cow<'_, str> {
    let Some(room) = room.filter(|room| cell.width() > *room) else { return cell.into() };
    let mut used = style.ellipsis().width();
    let kept: String = cell
        .chars()
        .take_while(|c| {
            used += c.width().unwrap_or_default();
            used <= room
        })
        .collect();
    format!("{}{}", kept.trim_end(), style.ellipsis()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADERS: [&str; 3] = ["WORKLOAD", "PODS", "WHY"];

    fn rows(reason: &str) -> Vec<Vec<String>> {
        vec![vec!["deploy/web".to_owned(), "3/3".to_owned(), reason.to_owned()]]
    }

    fn terminal(width: usize, unicode: bool) -> Style {
        Style { color: false, unicode, width: Some(width) }
    }

    #[test]
    fn columns_line_up_and_only_a_terminal_cuts() {
        assert_eq!(
            table(&HEADERS, &rows("a long reason"), Style::default()),
            "WORKLOAD     PODS   WHY\ndeploy/web   3/3    a long reason\n"
        );
        let row = |text: String| text.lines().nth(1).map(str::to_owned).unwrap_or_default();
        assert_eq!(row(table(&HEADERS, &rows("a long reason"), terminal(26, true))), "deploy/web   3/3    a lon…");
        assert_eq!(row(table(&HEADERS, &rows("a long reason"), terminal(26, false))), "deploy/web   3/3    a lon~");
        assert_eq!(row(table(&HEADERS, &rows("日本語の理由"), terminal(27, true))), "deploy/web   3/3    日本語…");
    }

    #[test]
    fn names_are_never_cut() {
        let text = table(&HEADERS, &rows("a long reason"), terminal(10, true));
        assert_eq!(text.lines().nth(1), Some("deploy/web   3/3    …"));
    }
}
