//! Standard output and tables, with errors that are handled.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use jiff::Timestamp;

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

/// Whether a text can be the name of a pool or the id of a backend.
pub(super) fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !text.is_empty() && text != "." && text != ".." && text.bytes().all(fits)
}

/// Pool and id of a backend that was written as `POOL/BACKEND`.
///
/// # Errors
/// Where it was not.
pub(super) fn backend(text: &str) -> Result<(&str, &str), Fail> {
    match text.split_once('/') {
        Some((pool, backend)) if is_name(pool) && is_name(backend) => Ok((pool, backend)),
        _ => Err(Fail::Usage(format!("`{text}` is no backend: write POOL/BACKEND"))),
    }
}

/// Control characters shown as what they are: a reason or a backend's words move no cursor.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// The time between, as [`span`].
pub(super) fn ago(then: Timestamp, now: Timestamp) -> String {
    span(u64::try_from(now.as_second().saturating_sub(then.as_second())).unwrap_or(0))
}

/// The two largest units of a time in seconds.
pub(super) fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// The largest fitting unit of a time in seconds.
pub(super) fn rough(seconds: u64) -> String {
    match seconds {
        0..90 => format!("{seconds}s"),
        90..5_400 => format!("{}m", seconds.div_ceil(60)),
        5_400..129_600 => format!("{}h", seconds.div_ceil(3_600)),
        _ => format!("{}d", seconds.div_ceil(86_400)),
    }
}

/// A count with its thousands apart.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of these.
pub(super) fn counted(number: u64, word: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {word}{plural}", grouped(number))
}

/// Names as a sentence lists them.
pub(super) fn listed(names: &[&str]) -> String {
    match names {
        [] => "nobody".to_owned(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_written_for_people() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0, 89, 90, 5_399, 5_400, 200_000].map(rough),
            ["0s", "89s", "2m", "90m", "2h", "3d"]
        );
        assert_eq!((counted(1, "tunnel"), counted(2_000, "tunnel")).1, "2,000 tunnels");
        assert_eq!(listed(&["lb1", "lb2", "lb3"]), "lb1, lb2 and lb3");
    }

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
