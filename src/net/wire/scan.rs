//! Bytes of HTTP/1 heads by class: where a token, a target or a value ends.

/// `at` is within the bytes: a length that was found in them.
pub(super) fn split_at(bytes: &[u8], at: usize) -> (&[u8], &[u8]) {
    bytes.split_at_checked(at).unwrap_or((bytes, &[]))
}

/// Where the first control stands (RFC 9110 §5.5: tabs are none). Eight bytes at a time.
pub(super) fn control(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    let is_control = |byte: u8| (byte < 0x20 && byte != b'\t') || byte == 0x7f;
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let value = u64::from_le_bytes(*word);
        let delete = value ^ (ONES * 0x7f);
        let below_blank = value.wrapping_sub(ONES * 0x20) & !value;
        let is_delete = delete.wrapping_sub(ONES) & !delete;
        // A borrow may mark a byte too many, but never one too few: so each is looked at.
        let mut marks = (below_blank | is_delete) & HIGH;
        while marks != 0 {
            let place = marks.trailing_zeros() as usize / 8;
            if word.get(place).copied().is_some_and(is_control) {
                return Some(index * 8 + place);
            }
            marks &= marks - 1;
        }
    }
    rest.iter().position(|byte| is_control(*byte)).map(|place| words.len() * 8 + place)
}

/// Length of the token at the front (RFC 9110 §5.6.2).
pub(super) fn token_length(bytes: &[u8]) -> usize {
    let (fours, _) = bytes.as_chunks::<4>();
    let whole = |four: &&[u8; 4]| {
        let [a, b, c, d] = **four;
        class(a) & class(b) & class(c) & class(d) & TOKEN != 0
    };
    let sure = 4 * fours.iter().take_while(whole).count();
    let rest = bytes.get(sure..).unwrap_or_default();
    sure + rest.iter().position(|byte| class(*byte) & TOKEN == 0).unwrap_or(rest.len())
}

/// Length of what the `http` crate takes for path and query, so that no head passes here which
/// hyper then refuses by itself, without a line in the log: visible ASCII but for `#`, `<` and
/// `>`, and in a path the backtick and the question mark, in a query the quotation mark.
pub(super) fn target_length(bytes: &[u8]) -> usize {
    let of = |bytes: &[u8], wanted: u8| {
        bytes.iter().position(|byte| class(*byte) & wanted == 0).unwrap_or(bytes.len())
    };
    let path = of(bytes, PATH);
    match bytes.get(path..) {
        Some([b'?', query @ ..]) => path + 1 + of(query, QUERY),
        _ => path,
    }
}

/// Whether what [`target_length`] found is a target in a form that hyper can read, which answers
/// others by itself.
pub(super) fn is_target(target: &[u8]) -> bool {
    target.first() == Some(&b'/') || http::Uri::try_from(target).is_ok()
}

const TOKEN: u8 = 1;
const PATH: u8 = 2;
const QUERY: u8 = 4;

fn class(byte: u8) -> u8 {
    const CLASSES: [u8; 256] = {
        let mut table = [0; 256];
        let mut number = 0x21;
        while number < 0x7f {
            #[expect(clippy::cast_possible_truncation, reason = "below 128")]
            let byte = number as u8;
            let token = byte.is_ascii_alphanumeric()
                || matches!(
                    byte,
                    b'!' | b'#'
                        | b'$'
                        | b'%'
                        | b'&'
                        | b'\''
                        | b'*'
                        | b'+'
                        | b'-'
                        | b'.'
                        | b'^'
                        | b'_'
                        | b'`'
                        | b'|'
                        | b'~'
                );
            let target = !matches!(byte, b'#' | b'<' | b'>');
            let path = target && !matches!(byte, b'`' | b'?');
            let query = target && byte != b'"';
            #[expect(clippy::indexing_slicing, reason = "below 128")]
            {
                table[number] = (if token { TOKEN } else { 0 })
                    | (if path { PATH } else { 0 })
                    | (if query { QUERY } else { 0 });
            }
            number += 1;
        }
        table
    };
    #[expect(clippy::indexing_slicing, reason = "a byte is below 256")]
    CLASSES[usize::from(byte)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_byte_has_its_classes() {
        for byte in 0..=u8::MAX {
            let separator = b"\"(),/:;<=>?@[\\]{}".contains(&byte);
            assert_eq!(token_length(&[byte]) == 1, byte.is_ascii_graphic() && !separator, "{byte}");
            let visible = byte.is_ascii_graphic() && !b"#<>".contains(&byte);
            assert_eq!(target_length(&[byte]) == 1, visible && byte != b'`', "{byte}");
            let in_query = visible && byte != b'"';
            assert_eq!(target_length(&[b'?', byte]) == 2, in_query, "{byte}");
        }
    }

    /// `net::sys` makes values of bytes without a control, and does not ask again.
    #[test]
    fn what_has_no_control_is_a_value() {
        for byte in 0..=u8::MAX {
            let value = http::HeaderValue::from_bytes(&[byte]);
            assert_eq!(control(&[byte]).is_none(), value.is_ok(), "{byte}");
        }
    }

    proptest! {
        #[test]
        fn a_control_is_found_wherever_it_stands(
            bytes in proptest::collection::vec(
                prop_oneof![8 => 0x20..=0xff_u8, 1 => any::<u8>()], 0..40,
            ),
        ) {
            let plain = bytes.iter().position(|byte| byte.is_ascii_control() && *byte != b'\t');
            prop_assert_eq!(control(&bytes), plain);
        }
    }
}
