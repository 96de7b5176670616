//! JSON values appended to bytes, without a serializer and without allocation.

use std::time::Duration;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Whether a byte cannot stand in a line as it is. Everything beyond printable ASCII is escaped:
/// a log that is read on a terminal must not steer it.
const fn special(byte: u8) -> bool {
    byte < 0x20 || byte >= 0x7f || byte == b'"' || byte == b'\\'
}

/// The inside of a JSON string. Text that is UTF-8 reads back as it was; a byte that belongs to
/// no character becomes the character of its number (U+0080 to U+00FF).
pub(super) fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    if needs_escape(bytes) {
        escaped(out, bytes);
    } else {
        out.extend_from_slice(bytes);
    }
}

/// Whether any of it cannot stand in a line as it is.
pub(super) fn needs_escape(bytes: &[u8]) -> bool {
    // Without an early exit, so that the compiler makes it wide.
    bytes.iter().fold(false, |any, byte| any | special(*byte))
}

#[cold]
fn escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                ' '..='~' => out.extend(u8::try_from(character)),
                _ => character.encode_utf16(&mut [0; 2]).iter().for_each(|unit| code(out, *unit)),
            }
        }
        chunk.invalid().iter().for_each(|byte| code(out, u16::from(*byte)));
    }
}

fn code(out: &mut Vec<u8>, unit: u16) {
    out.extend_from_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        out.push(hex(usize::from(unit >> shift & 0xf)));
    }
}

fn hex(digit: usize) -> u8 {
    HEX.get(digit).copied().unwrap_or(b'0')
}

/// A string, or `null`.
pub(super) fn optional(out: &mut Vec<u8>, value: Option<&str>) {
    match value {
        Some(value) => {
            out.push(b'"');
            text(out, value.as_bytes());
            out.push(b'"');
        }
        None => out.extend_from_slice(b"null"),
    }
}

/// A string that has nothing to escape, as configured names have not; or `null`.
pub(super) fn name(out: &mut Vec<u8>, value: Option<&str>) {
    match value {
        Some(value) => {
            debug_assert!(!needs_escape(value.as_bytes()), "{value:?} is no name");
            out.push(b'"');
            out.extend_from_slice(value.as_bytes());
            out.push(b'"');
        }
        None => out.extend_from_slice(b"null"),
    }
}

/// A whole number.
#[inline(never)] // shorter than all its copies
pub(super) fn number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Milliseconds with three decimals, or `null`.
pub(super) fn millis(out: &mut Vec<u8>, value: Option<Duration>) {
    let Some(value) = value else { return out.extend_from_slice(b"null") };
    let micros = value.subsec_micros();
    // In 64 bits: half a billion years of milliseconds, and no division of 128.
    number(out, value.as_secs().saturating_mul(1000).saturating_add(u64::from(micros / 1000)));
    out.push(b'.');
    decimals(out, u64::from(micros % 1000));
}

/// Exactly three digits.
pub(super) fn decimals(out: &mut Vec<u8>, thousandths: u64) {
    let digits = [thousandths / 100, thousandths / 10 % 10, thousandths % 10];
    out.extend_from_slice(&digits.map(|digit| b'0' + u8::try_from(digit).unwrap_or(0)));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_never_steers_a_terminal() {
        let text = written(|out| text(out, "\x1b[2J\u{9b}2J\u{202e}\x7f".as_bytes()));
        assert_eq!(text, r"\u001b[2J\u009b2J\u202e\u007f");
    }

    #[test]
    fn a_byte_that_is_no_text_is_the_character_of_its_number() {
        assert_eq!(written(|out| text(out, b"caf\xe9")), r"caf\u00e9");
        assert_eq!(written(|out| text(out, "𝄞".as_bytes())), r"\ud834\udd1e");
    }

    #[test]
    fn durations_are_milliseconds_with_three_decimals() {
        let millis = |micros| written(|out| millis(out, Some(Duration::from_micros(micros))));
        assert_eq!(millis(0), "0.000");
        assert_eq!(millis(1_005), "1.005");
        assert_eq!(millis(12_345_678), "12345.678");
        assert_eq!(written(|out| super::millis(out, None)), "null");
    }

    proptest! {
        #[test]
        fn text_reads_back_as_it_was(value in any::<String>()) {
            let line = written(|out| optional(out, Some(&value)));
            prop_assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            prop_assert_eq!(serde_json::from_str::<String>(&line).unwrap(), value);
        }

        #[test]
        fn any_bytes_give_a_json_string(value in any::<Vec<u8>>()) {
            let line = format!("\"{}\"", written(|out| text(out, &value)));
            serde_json::from_str::<String>(&line).unwrap();
        }
    }
}
