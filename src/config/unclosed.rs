//! Brackets that are opened and not closed, found where the parser only finds what follows from it.

use std::ops::Range;

/// A bracket that nobody closes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unclosed {
    /// The bracket.
    pub(super) place: Range<usize>,
    /// What it opens: `array` or `table`.
    pub(super) what: &'static str,
    /// What is missing.
    pub(super) missing: char,
    /// Before what it is missing: a byte of the text, or its end.
    pub(super) before: usize,
}

/// The first bracket of a value that is still open where only another key or table can begin, where
/// another kind of bracket is closed, or at the end of the text.
pub(super) fn find(text: &str) -> Option<Unclosed> {
    let mut open: Vec<(usize, u8)> = Vec::new();
    let mut scan = Scan { bytes: text.as_bytes(), at: 0 };
    let mut in_value = false;
    let mut new_line = true;
    while let Some(byte) = scan.peek() {
        if new_line {
            new_line = false;
            in_value &= !open.is_empty();
            let array = open.last().is_some_and(|(_, bracket)| *bracket == b'[');
            let line = scan.line();
            if !open.is_empty() && (is_header(line) || (array && is_key(line))) {
                return unclosed(&open, scan.at);
            }
        }
        match byte {
            b'\n' => new_line = true,
            b'#' => {
                scan.comment();
                continue;
            }
            b'"' | b'\'' => {
                scan.string(byte);
                continue;
            }
            b'=' => in_value = true,
            b'[' | b'{' if in_value => open.push((scan.at, byte)),
            b']' | b'}' if in_value => match open.last() {
                Some((_, bracket)) if closes(*bracket) == byte => drop(open.pop()),
                Some(_) => return unclosed(&open, scan.at),
                // Closed without having been opened: the parser says so.
                None => return None,
            },
            _ => {}
        }
        scan.at += 1;
    }
    unclosed(&open, text.len())
}

fn closes(bracket: u8) -> u8 {
    if bracket == b'[' { b']' } else { b'}' }
}

fn unclosed(open: &[(usize, u8)], before: usize) -> Option<Unclosed> {
    let (at, bracket) = *open.last()?;
    let what = if bracket == b'[' { "array" } else { "table" };
    Some(Unclosed { place: at..at + 1, what, missing: char::from(closes(bracket)), before })
}

/// `[pools.shop]`, `[[routes]]`: no value of an array looks like that.
fn is_header(line: &[u8]) -> bool {
    let line = line.split(|byte| *byte == b'#').next().unwrap_or_default().trim_ascii();
    let name = line.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
    let Some(name) = name else { return false };
    let inner = name.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
    let name = inner.unwrap_or(name);
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.\"\'".contains(byte);
    let value = [&b"true"[..], b"false", b"inf", b"nan"].contains(&name);
    name.first().is_some_and(u8::is_ascii_alphabetic) && name.iter().all(word) && !value
}

/// `health.http = …`: no value of an array begins like that.
fn is_key(line: &[u8]) -> bool {
    let mut halves = line.splitn(2, |byte| *byte == b'=');
    let (key, rest) = (halves.next().unwrap_or_default().trim_ascii(), halves.next());
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
    rest.is_some() && !key.is_empty() && key.iter().all(word)
}

/// Where the scan is.
struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// From here to the end of the line.
    fn line(&self) -> &'a [u8] {
        self.rest().split(|byte| *byte == b'\n').next().unwrap_or_default()
    }

    fn comment(&mut self) {
        self.at += self.line().len();
    }

    /// Passes a string. One that is not closed ends with its line.
    fn string(&mut self, quote: u8) {
        let many = self.rest().starts_with(&[quote; 3]);
        self.at += if many { 3 } else { 1 };
        while let Some(byte) = self.peek() {
            match byte {
                b'\\' if quote == b'"' => self.at += 1,
                b'\n' if !many => return,
                _ if byte == quote && !many => {
                    self.at += 1;
                    return;
                }
                _ if many && self.rest().starts_with(&[quote; 3]) => {
                    self.at += 3;
                    return;
                }
                _ => {}
            }
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line of the bracket and that before which it is missing, counted from one.
    fn lines(text: &str) -> Option<(usize, usize)> {
        let line = |at: usize| text[..at].matches('\n').count() + 1;
        find(text).map(|found| (line(found.place.start), line(found.before)))
    }

    #[test]
    fn an_array_is_open_until_a_key_a_table_or_the_end() {
        assert_eq!(lines("a = [1,\n2\nb.c = 3\nd = [4]\n"), Some((1, 3)));
        assert_eq!(lines("x = 1\na = [\n  { b = 1 },\n[pools.shop] # more\n"), Some((2, 4)));
        assert_eq!(lines("a = [\n[[routes]]\nb = 1\n"), Some((1, 2)));
        assert_eq!(lines("a = [1,\n\n"), Some((1, 3)));
    }

    #[test]
    fn a_table_in_an_array_is_told_by_itself() {
        let found = find("a = [{ b = 1, c = 2 ]\n").unwrap();
        assert_eq!(
            (found.place, found.what, found.missing, found.before),
            (5..6, "table", '}', 20)
        );
        // Keys may stand on lines of their own in a table, and in no array.
        assert_eq!(lines("a = {\n b = 1,\n c = 2\n}\n"), None);
        assert_eq!(lines("a = [{ b = 1,\n{ b = 2 }]\n[x]\n"), Some((1, 2)));
    }

    #[test]
    fn what_is_closed_is_not_told() {
        for text in [
            "[a]\nb = [\n  [\"x\", \"y\"],\n  [true],\n  [1],\n]\n[[c]]\nd = 1\n",
            "a = \"[\" # [\nb = \'[\'\nc = \"\\\"[\"\n",
            "a = \"\"\"\n[b]\n[ = \"\"\"\nc = \'\'\'\n[ \\\'\'\'\n",
            "[a.\"b.c\"]\n\"503\" = \"x\"\n",
            "server { listen [::]:80; }\n",
            "a = \"unclosed [\nb = 1\n",
        ] {
            assert_eq!(lines(text), None, "{text}");
        }
    }
}
