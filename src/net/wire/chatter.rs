//! How much an HTTP/2 client says beside its requests (pure): frames that carry nothing of them are
//! free to send, and each costs us something.

/// What one such frame counts: more than the bytes of a DATA frame with one byte, which a window
/// that grows by a byte brings.
const FRAME: u64 = 12;
/// Bytes of the answers to PING and SETTINGS: they earn nothing.
const PONG: u64 = 17;
const SETTINGS_ACK: u64 = 9;
/// A request goes with a few of them: priorities, windows, its cancellation.
const REQUEST: u64 = 4 * FRAME;
/// So many may come at once: 10,000.
const MOST: u64 = 10_000 * FRAME;
/// Bytes of trailers that go with their request.
const TRAILERS: u64 = 128;
/// What a head counts that was refused for its size or the number of its fields: to unpack it costs
/// as much as many requests. Eight of them may come at once.
const LARGE_HEAD: u64 = MOST / 8;
/// Forgotten in a millisecond: 1,000 frames in a second, which cost less than ten requests.
const FORGOTTEN: u64 = FRAME;

const DATA: u8 = 0x0;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const ACK: u8 = 0x1;

/// A bucket that frames fill, and that time, requests and answers empty: whoever reads an answer
/// may tell its windows for every 12 bytes of it.
#[derive(Debug, Default)]
pub(super) struct Chatter {
    level: u64,
    /// When it was last emptied by time (ms).
    at: u64,
}

impl Chatter {
    pub(super) fn new(now: u64) -> Self {
        Self { level: 0, at: now }
    }

    /// The head of a frame has come that is none of a header block.
    pub(super) fn heard(&mut self, kind: u8, flags: u8) {
        let answer = match kind {
            // `h2` has limits of its own for these.
            DATA => return,
            PING if flags & ACK == 0 => PONG,
            SETTINGS if flags & ACK == 0 => SETTINGS_ACK,
            _ => 0,
        };
        self.level = self.level.saturating_add(FRAME + answer);
    }

    /// A head has begun that opens a stream.
    pub(super) fn asked(&mut self) {
        self.earned(REQUEST);
    }

    /// It began no exchange, nor did so many others, which had so many bytes in all. A byte of a
    /// head costs what a byte of a frame here does: to unpack 4,000 fields out of 12 KB takes as
    /// long as a thousand frames.
    pub(super) fn asked_in_vain(&mut self, heads: u64, bytes: u64) {
        let cost = heads.saturating_mul(REQUEST).saturating_add(bytes);
        self.level = self.level.saturating_add(cost);
    }

    /// A whole header block of so many bytes has come on a stream that had one before.
    pub(super) fn trailers(&mut self, bytes: u64) {
        self.asked_in_vain(1, bytes.saturating_sub(TRAILERS));
    }

    /// So many bytes were taken by the client.
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.earned(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// So many heads were refused because they are too large.
    pub(super) fn refused_heads(&mut self, heads: u64) {
        self.level = self.level.saturating_add(heads.saturating_mul(LARGE_HEAD));
    }

    fn earned(&mut self, much: u64) {
        self.level = self.level.saturating_sub(much);
    }

    /// Whether it is more than anybody needs. `now`: milliseconds of a clock that never goes back,
    /// which is nearly never asked.
    pub(super) fn is_flood(&mut self, now: impl FnOnce() -> u64) -> bool {
        if self.level <= MOST {
            return false;
        }
        let now = now();
        let forgotten = now.saturating_sub(self.at).saturating_mul(FORGOTTEN);
        self.at = now;
        self.earned(forgotten);
        self.level > MOST
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// So many frames of a kind, each followed by what we write for it.
    fn after(frames: u32, kind: u8, written: usize) -> Chatter {
        let mut chatter = Chatter::default();
        for _ in 0..frames {
            chatter.heard(kind, 0);
            chatter.wrote(written);
        }
        chatter
    }

    #[test]
    fn a_flood_is_one_whether_it_is_answered_or_not() {
        for (kind, answer) in [(PING, 17), (SETTINGS, 9), (8, 0), (2, 0), (3, 0), (0x77, 0)] {
            assert!(!after(10_000, kind, answer).is_flood(|| 0), "{kind}");
            assert!(after(10_001, kind, answer).is_flood(|| 0), "{kind}");
        }
    }

    #[test]
    fn who_asks_and_reads_may_say_how_it_goes() {
        assert!(!after(1_000_000, 8, 12).is_flood(|| 0), "a window for every small message");
        let mut chatter = Chatter::default();
        for _ in 0..1_000_000 {
            chatter.asked();
            (0..4).for_each(|_| chatter.heard(0x10, 0));
        }
        assert!(!chatter.is_flood(|| 0), "four priorities for every request");
        assert!(!after(1_000_000, DATA, 0).is_flood(|| 0));
    }

    #[test]
    fn heads_that_are_too_large_are_few() {
        let mut chatter = Chatter::default();
        chatter.refused_heads(8);
        assert!(!chatter.is_flood(|| 0));
        chatter.refused_heads(1);
        assert!(chatter.is_flood(|| 1000), "one is forgotten in a second and a quarter");
        assert!(!chatter.is_flood(|| 1250));
    }

    #[test]
    fn heads_in_vain_count_by_their_bytes() {
        let mut chatter = Chatter::default();
        (0..1_000_000).for_each(|_| {
            chatter.asked();
            chatter.trailers(TRAILERS);
        });
        assert!(!chatter.is_flood(|| 0), "trailers of every request");
        chatter.asked_in_vain(9, 9 * 12_000);
        assert!(!chatter.is_flood(|| 0));
        chatter.asked_in_vain(1, 12_000);
        assert!(chatter.is_flood(|| 0));
        let mut chatter = Chatter::default();
        (0..2500).for_each(|_| chatter.trailers(0));
        assert!(!chatter.is_flood(|| 0));
        chatter.trailers(0);
        assert!(chatter.is_flood(|| 0), "trailers without requests");
    }

    #[test]
    fn what_was_said_is_forgotten_in_time() {
        let mut chatter = after(10_500, 8, 0);
        assert!(!chatter.is_flood(|| 500), "500 in half a second");
        (0..10).for_each(|_| chatter.heard(8, 0));
        assert!(!chatter.is_flood(|| 510));
        chatter.heard(8, 0);
        assert!(chatter.is_flood(|| 510));
    }

    #[test]
    fn a_window_that_opens_by_the_byte_is_a_flood_in_the_end() {
        assert!(after(100_000, 8, 10).is_flood(|| 0));
    }

    proptest! {
        /// However the frames come: never more than the burst, and what time lets through.
        #[test]
        fn no_more_get_through_than_the_rate_says(
            pieces in proptest::collection::vec((1..3_000_u32, 0..2_000_u64), 1..60),
        ) {
            let (mut chatter, mut now, mut through) = (Chatter::default(), 0, 0_u64);
            for (frames, pause) in pieces {
                now += pause;
                (0..frames).for_each(|_| chatter.heard(8, 0));
                if chatter.is_flood(|| now) {
                    break;
                }
                through += u64::from(frames);
                prop_assert!(through <= 10_000 + now);
            }
        }
    }
}
