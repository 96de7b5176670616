//! Standard output and tables, with errors that are handled.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use super::fail::Fail;

/// Writes text to standard output.
///
/// # Errors
/// Where it cannot be written; a reader that went away is no mistake of anybody.
pub(super) fn print(text: &str) -> Result<(), Fail> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Writes JSON to standard output, for people to read too.
///
/// # Errors
/// As [`print`].
pub(super) fn json(value: &impl serde::Serialize) -> Result<(), Fail> {
    let text = serde_json::to_string_pretty(value).map_err(anyhow::Error::from)?;
    print(&format!("{text}\n"))
}

/// Says something beside the output, on standard error.
pub(super) fn note(text: &str) {
    // Where standard error is gone there is nobody to tell.
    let _ = writeln!(io::stderr(), "{}", text.trim_end());
}

/// Rows under a header, each column as wide as it must be.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    right: &'static [usize],
}

impl Table {
    /// A table with this header, whose columns of these numbers stand to the right.
    pub(super) fn new(header: &[&str], right: &'static [usize]) -> Self {
        Self { rows: vec![header.iter().map(|cell| (*cell).to_owned()).collect()], right }
    }

    /// Adds a row.
    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// Whether there is nothing under the header.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }

    /// As text, each line indented by two.
    pub(super) fn text(&self) -> String {
        let mut widths: Vec<usize> = Vec::new();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let (width, cell) = (*width, plain(cell));
                if self.right.contains(&column) {
                    let _ = write!(line, "  {cell:>width$}");
                } else {
                    let _ = write!(line, "  {cell:<width$}");
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Control characters shown as what they are: a reason or a backend's words move no cursor.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["BACKEND", "REQUESTS"], &[1]);
        assert!(table.is_empty());
        table.row(["a".to_owned(), "12".to_owned()]);
        table.row(["longer-name".to_owned(), "\u{1b}[2J".to_owned()]);
        let text = table.text();
        assert_eq!(
            text,
            "  BACKEND      REQUESTS\n  a                  12\n  longer-name      \u{fffd}[2J\n"
        );
    }
}
