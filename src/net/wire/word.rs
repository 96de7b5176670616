//! Words that stand in heads in any case, compared eight bytes at a time.
// A comparison by bytes, which the compiler unrolls, is a hundred instructions that are carried out
// once: what a request waits for is not their number but the memory they are in.

/// A word of letters and hyphens, of 4 to 16 bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word {
    length: usize,
    first: Half,
    last: Half,
}

/// Up to eight bytes, and which of their bits decide: that of the case of a letter does not.
#[derive(Debug, Clone, Copy)]
struct Half {
    bits: u64,
    decide: u64,
}

impl Word {
    /// `lower`: as it is in lower case.
    pub(super) const fn new(lower: &[u8]) -> Self {
        let length = lower.len();
        assert!(length >= 4 && length <= 16, "halves overlap, and miss nothing");
        let half = if length < 8 { 4 } else { 8 };
        Self {
            length,
            first: Half::new(lower, 0, half),
            last: Half::new(lower, length - half, half),
        }
    }

    /// Whether it is this word.
    #[inline]
    pub(super) fn is(&self, bytes: &[u8]) -> bool {
        if bytes.len() != self.length {
            return false;
        }
        let halves = if self.length < 8 {
            let four = |bytes: &[u8; 4]| u64::from(u32::from_le_bytes(*bytes));
            bytes.first_chunk().map(four).zip(bytes.last_chunk().map(four))
        } else {
            let eight = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
            bytes.first_chunk().map(eight).zip(bytes.last_chunk().map(eight))
        };
        halves.is_some_and(|(first, last)| self.first.is(first) && self.last.is(last))
    }
}

impl Half {
    const fn new(lower: &[u8], from: usize, length: usize) -> Self {
        let (mut bits, mut decide, mut at) = (0, 0, 0);
        while at < length {
            #[expect(clippy::indexing_slicing, reason = "when the program is compiled")]
            let byte = lower[from + at];
            assert!(
                byte == b'-' || byte.is_ascii_lowercase(),
                "a letter in lower case, or a hyphen"
            );
            let decides = if byte == b'-' { 0xff } else { !0x20 };
            bits |= ((byte & decides) as u64) << (8 * at);
            decide |= (decides as u64) << (8 * at);
            at += 1;
        }
        Self { bits, decide }
    }

    fn is(self, bits: u64) -> bool {
        bits & self.decide == self.bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_itself_in_any_case_and_nothing_else() {
        let words: [&[u8]; 6] =
            [b"host", b"close", b"referer", b"keep-alive", b"user-agent", b"accept-encoding-"];
        for lower in words {
            let word = Word::new(lower);
            let upper = lower.to_ascii_uppercase();
            assert!(word.is(lower) && word.is(&upper));
            assert!(!word.is(&lower[1..]) && !word.is(&[lower, b"x"].concat()));
            for text in [lower, &upper] {
                for at in 0..text.len() {
                    for byte in 0..=u8::MAX {
                        let mut text = text.to_vec();
                        text[at] = byte;
                        assert_eq!(word.is(&text), text.eq_ignore_ascii_case(lower), "{text:?}");
                    }
                }
            }
        }
    }
}
