//! `traceparent` and request ids: taken over, made, written without allocation.

/// Length of a `traceparent` of version 00.
pub const TRACEPARENT_LEN: usize = 55;

/// Length of the request ids we make.
pub const REQUEST_ID_LEN: usize = 32;

/// The longest request id that is taken over.
const REQUEST_ID_MAX: usize = 128;

/// The one flag that Trace Context level 1 defines; others are reserved and not passed on.
const SAMPLED: u8 = 0x01;

/// Where an exchange stands in a distributed trace (W3C Trace Context, level 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// Never 0.
    trace: u128,
    /// Never 0.
    span: u64,
    flags: u8,
}

impl TraceContext {
    /// Reads the value of a `traceparent` field. `None` means that a new trace begins: anything
    /// but lower-case hexadecimal digits of the right length, an id of zeroes, version ff. What a
    /// later version adds behind is left out, as §3.2.4 of the specification asks.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (known, later) = value.split_at_checked(TRACEPARENT_LEN)?;
        let mut parts = known.split(|byte| *byte == b'-');
        let version = hex(parts.next()?, 2)?;
        let trace = hex(parts.next()?, 32)?;
        let span = u64::try_from(hex(parts.next()?, 16)?).ok()?;
        let flags = u8::try_from(hex(parts.next()?, 2)?).ok()?;
        let ends_well = match version {
            0 => later.is_empty(),
            0xff => false,
            _ => later.first().is_none_or(|byte| *byte == b'-'),
        };
        let whole = ends_well && trace != 0 && span != 0;
        whole.then_some(Self { trace, span, flags: flags & SAMPLED })
    }

    /// Begins a trace from random bits. `sampled` asks those behind us to record it.
    pub fn new(trace: u128, span: u64, sampled: bool) -> Self {
        let flags = if sampled { SAMPLED } else { 0 };
        Self { trace: trace.max(1), span: span.max(1), flags }
    }

    /// The same trace with a span of our own, from random bits: what goes to the backend.
    #[must_use]
    pub fn child(self, span: u64) -> Self {
        Self { span: span.max(1), ..self }
    }

    /// Whether those before us record this trace.
    pub fn sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The value of a `traceparent` field, ASCII.
    pub fn write(self) -> [u8; TRACEPARENT_LEN] {
        let mut value = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let [_, _, _, rest @ ..] = &mut value;
        let (trace, rest) = rest.split_at_mut(32);
        let (_, rest) = rest.split_at_mut(1);
        let (span, rest) = rest.split_at_mut(16);
        let (_, flags) = rest.split_at_mut(1);
        write_hex(trace, self.trace);
        write_hex(span, self.span.into());
        write_hex(flags, self.flags.into());
        value
    }

    /// The trace id as it stands in the access log: 32 lower-case hexadecimal digits.
    pub fn trace_id(self) -> [u8; 32] {
        let mut id = [b'0'; 32];
        write_hex(&mut id, self.trace);
        id
    }
}

/// A new request id from random bits: 32 lower-case hexadecimal digits.
pub fn request_id(random: u128) -> [u8; REQUEST_ID_LEN] {
    let mut id = [b'0'; REQUEST_ID_LEN];
    write_hex(&mut id, random);
    id
}

/// Whether a request id from outside may be taken over: 1 to 128 letters, digits and `._-:+/=`,
/// which need no quoting in any log.
pub fn valid_request_id(id: &[u8]) -> bool {
    (1..=REQUEST_ID_MAX).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-:+/=".contains(byte))
}

fn hex(digits: &[u8], length: usize) -> Option<u128> {
    if digits.len() != length {
        return None;
    }
    digits.iter().try_fold(0_u128, |value, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

/// Fills `digits` from its end.
fn write_hex(digits: &mut [u8], mut value: u128) {
    for piece in digits.rchunks_mut(8) {
        let [a, b, c, d, ..] = value.to_le_bytes();
        let text = hex8(u32::from_le_bytes([a, b, c, d]));
        if let Some(text) = text.get(text.len() - piece.len()..) {
            piece.copy_from_slice(text);
        }
        value >>= 32;
    }
}

/// Eight digits at once: each half byte is spread to a byte of its own, and then moved to where its
/// digit stands in ASCII.
#[inline(never)] // shorter than the way to find all its copies in memory
fn hex8(value: u32) -> [u8; 8] {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let mut spread = u64::from(value);
    spread = (spread << 16 | spread) & 0x0000_ffff_0000_ffff;
    spread = (spread << 8 | spread) & 0x00ff_00ff_00ff_00ff;
    spread = (spread << 4 | spread) & (ONES * 0x0f);
    let letters = (spread + ONES * 6) >> 4 & ONES;
    (spread + ONES * u64::from(b'0') + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXAMPLE: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn the_specifications_example_goes_through() {
        let context = TraceContext::parse(EXAMPLE).unwrap();
        assert!(context.sampled());
        assert_eq!(&context.trace_id(), b"0af7651916cd43dd8448eb211c80319c");
        assert_eq!(context.write(), EXAMPLE);
        let child = context.child(0x1234).write();
        assert_eq!(&child, b"00-0af7651916cd43dd8448eb211c80319c-0000000000001234-01");
    }

    #[test]
    fn what_is_not_quite_a_traceparent_begins_a_new_trace() {
        let refused: [&[u8]; 10] = [
            b"",
            b"00",
            b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-011",
            b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            b"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            b"00-00000000000000000000000000000000-b7ad6b7169203331-01",
            b"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            b"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            b"00-0af7651916cd43dd8448eb211c80319cb-7ad6b7169203331-01",
        ];
        for value in refused {
            assert_eq!(TraceContext::parse(value), None, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = b"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff-more";
        assert_eq!(TraceContext::parse(later).unwrap().write(), EXAMPLE);
        let no_dash = b"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more";
        assert_eq!(TraceContext::parse(no_dash), None);
    }

    #[test]
    fn request_ids_from_outside_are_plain_and_short() {
        assert!(valid_request_id(b"Root=1-67891233-abcdef012345678912345678"));
        assert!(valid_request_id(&request_id(7)));
        assert!(valid_request_id(&[b'a'; 128]));
        for id in [&b""[..], &[b'a'; 129], b"a b", b"a\"b", b"a\nb", b"\xff"] {
            assert!(!valid_request_id(id));
        }
    }

    proptest! {
        #[test]
        fn digits_are_what_the_library_writes(value in any::<u32>()) {
            prop_assert_eq!(hex8(value).to_vec(), format!("{value:08x}").into_bytes());
        }

        #[test]
        fn what_is_written_reads_back(
            trace in any::<u128>(), span in any::<u64>(), sampled in any::<bool>(),
        ) {
            let context = TraceContext::new(trace, span, sampled);
            prop_assert_eq!(TraceContext::parse(&context.write()), Some(context));
        }

        #[test]
        fn any_bytes_are_read_or_refused(value in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = TraceContext::parse(&value);
        }
    }
}
