//! Columns of text, as wide as their content and no wider than the terminal.

use super::say::plain;

/// Between two columns.
const GAP: usize = 2;

/// A narrower column says nothing.
const COLUMN_MIN: usize = 4;

/// Lines of equal columns, the first of them the head. `width` is the terminal's, in characters; the widest
/// columns are cut until all fit.
pub(super) fn table(rows: &[Vec<String>], width: Option<usize>) -> Vec<String> {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| plain(cell)).collect())
        .collect();
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut widths: Vec<usize> = (0..count)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    if let Some(width) = width {
        while widths.iter().sum::<usize>() + GAP * count.saturating_sub(1) > width {
            match widths.iter_mut().max() {
                Some(widest) if *widest > COLUMN_MIN => *widest -= 1,
                _ => break,
            }
        }
    }
    rows.iter().map(|row| line(row, &widths)).collect()
}

fn line(row: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width) in row.iter().zip(widths) {
        let length = cell.chars().count();
        match length > *width {
            true => {
                line.extend(cell.chars().take(width.saturating_sub(1)));
                line.push('…');
            }
            false => line += cell,
        }
        line += &" ".repeat(width.saturating_sub(length) + GAP);
    }
    line.truncate(line.trim_end().len());
    line
}

/// The width of the terminal that stdout is; `None` where it is none.
pub(super) fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_col > 0).then_some(size.ws_col.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fit_the_terminal() {
        let rows: Vec<Vec<String>> = [
            ["NAME", "WHAT"],
            ["a", "something that is long"],
            ["bb\u{1b}", ""],
        ]
        .map(|row| row.map(str::to_owned).to_vec())
        .to_vec();
        assert_eq!(
            table(&rows, None),
            ["NAME  WHAT", "a     something that is long", "bb\u{fffd}"]
        );
        for width in [16, 20, 26] {
            let lines = table(&rows, Some(width));
            assert!(
                lines.iter().all(|it| it.chars().count() <= width),
                "{lines:?}"
            );
            assert!(lines[1].ends_with('…'), "{lines:?}");
        }
        assert_eq!(table(&rows, Some(3))[1], "a     som…");
    }
}
