//! Heads of HTTP/2 for which no exchange begins (pure): `h2` refuses them by itself, and tells
//! nobody.
// What it was given shows which they are: when it waits for more, each head that was whole has
// either begun an exchange or been refused.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use super::Handle;

/// A head of more bytes than this is worth asking after: at worst each of them is a field.
const LARGE: u64 = 1024;
/// So much of such heads `h2` is given before it is asked what became of them (bytes).
const MOUTHFUL: u64 = 32 * 1024;
/// What is let pass where a client may not have heard yet of our limit of streams, or that its
/// connection is to end (bytes): 128 heads of 4 KiB.
const UNAWARE: u64 = 512 * 1024;

/// Follows the header blocks of a client, and what has become of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Heads {
    /// The highest stream so far.
    stream: u32,
    /// Of the present block: whether it opens a stream, and its bytes so far.
    opens: bool,
    block: u64,
    /// Heads that were whole, and those that were in vain.
    whole: u64,
    vain: u64,
    /// Of those that were whole since that was settled: bytes of all, of the largest, and of those
    /// that are large.
    bytes: u64,
    largest: u64,
    large: u64,
    /// What was let pass.
    passed: u64,
}

impl Heads {
    /// A block begins with so many bytes. Whether it opens a stream.
    pub(super) fn begin(&mut self, stream: [u8; 4], bytes: usize) -> bool {
        // RFC 9113 §4.1: the first bit means nothing. §5.1.1: new ones have higher numbers.
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        self.opens = stream > self.stream;
        self.stream = self.stream.max(stream);
        self.block = 0;
        self.more(bytes);
        self.opens
    }

    /// It goes on with so many.
    pub(super) fn more(&mut self, bytes: usize) {
        self.block = self.block.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// It is whole. Its bytes, where it is none that opens a stream: trailers, if it is in order.
    pub(super) fn end(&mut self) -> Option<u64> {
        if !std::mem::take(&mut self.opens) {
            return Some(self.block);
        }
        self.whole += 1;
        self.bytes = self.bytes.saturating_add(self.block);
        self.largest = self.largest.max(self.block);
        if self.block > LARGE {
            self.large = self.large.saturating_add(self.block);
        }
        None
    }

    /// Heads that were whole, for who is fuzzed with them.
    #[cfg(fuzzing)]
    pub(super) fn whole(&self) -> u64 {
        self.whole
    }

    /// Whether it is time to ask what has become of them.
    pub(super) fn is_mouthful(&self) -> bool {
        self.large >= MOUTHFUL
    }

    /// `h2` has looked at every whole head, and so many exchanges have begun in all. Returns how
    /// many heads were in vain since the last time, and what they had at most (bytes).
    pub(super) fn settle(&mut self, begun: u64, unaware: bool) -> (u64, u64) {
        let vain = self.whole.saturating_sub(begun).saturating_sub(self.vain);
        let mut bytes = self.bytes.min(self.largest.saturating_mul(vain));
        self.vain += vain;
        (self.bytes, self.largest, self.large) = (0, 0, 0);
        if unaware {
            let pass = bytes.min(UNAWARE.saturating_sub(self.passed));
            self.passed += pass;
            bytes -= pass;
        }
        (vain, bytes)
    }
}

const NOTHING: u8 = 0;
const AWARE: u8 = 1;
const PERHAPS_NOT: u8 = 2;

/// Whether `h2` has digested what it was given. All on one thread; atomics because futures are
/// `Send`.
#[derive(Debug, Default)]
pub(super) struct Digestion {
    said: AtomicU8,
    /// It is given nothing until that is said.
    awaited: AtomicBool,
}

impl Digestion {
    pub(super) fn wait(&self) {
        self.awaited.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_awaited(&self) -> bool {
        self.awaited.load(Ordering::Relaxed)
    }

    /// If it has: whether the client may be unaware of why heads are refused.
    pub(super) fn take(&self) -> Option<bool> {
        let said = self.said.load(Ordering::Relaxed);
        if said == NOTHING {
            return None;
        }
        self.said.store(NOTHING, Ordering::Relaxed);
        Some(said == PERHAPS_NOT)
    }

    fn say(&self, unaware: bool) -> bool {
        self.said.store(if unaware { PERHAPS_NOT } else { AWARE }, Ordering::Relaxed);
        let awaited = self.is_awaited();
        if awaited {
            self.awaited.store(false, Ordering::Relaxed);
        }
        awaited
    }
}

impl Handle {
    /// `h2` waits for more, and has handed on all that came of what it had: every head that begins
    /// no exchange was refused by it. `unaware`: honest heads may be among them, for too many
    /// streams are open or the connection is to end. Whether it is to be polled again.
    pub fn digested(&self, unaware: bool) -> bool {
        // Who cannot write may not have looked at all that it has read.
        !self.is_blocked() && self.turns().digestion.say(unaware)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// So many heads of so many bytes, each on a stream of its own.
    fn ask(heads: &mut Heads, count: u32, bytes: usize) {
        for _ in 0..count {
            let stream = heads.stream + if heads.stream == 0 { 1 } else { 2 };
            assert!(heads.begin(stream.to_be_bytes(), bytes));
            assert_eq!(heads.end(), None);
        }
    }

    #[test]
    fn a_head_that_begins_an_exchange_is_not_in_vain_whenever_that_is_seen() {
        let mut heads = Heads::default();
        ask(&mut heads, 3, 12_000);
        assert_eq!(heads.settle(3, false), (0, 0));
        ask(&mut heads, 2, 12_000);
        assert_eq!(heads.settle(4, false), (1, 12_000));
        assert_eq!(heads.settle(4, false), (0, 0), "it is told once");
        ask(&mut heads, 1, 100);
        assert_eq!(heads.settle(5, false), (0, 0), "the one before stays in vain");
    }

    #[test]
    fn of_some_that_were_refused_the_largest_are_supposed() {
        let mut heads = Heads::default();
        ask(&mut heads, 10, 100);
        ask(&mut heads, 1, 5000);
        assert_eq!(heads.settle(9, false), (2, 6000));
    }

    #[test]
    fn a_second_block_of_a_stream_is_no_head() {
        let mut heads = Heads::default();
        ask(&mut heads, 2, 10);
        assert!(!heads.begin([0, 0, 0, 1], 20));
        heads.more(5);
        assert_eq!(heads.end(), Some(25));
        assert!(!heads.begin([0x80, 0, 0, 3], 0), "the first bit of a stream means nothing");
        assert_eq!(heads.end(), Some(0));
        ask(&mut heads, 1, 10);
        heads.more(30);
        assert_eq!(heads.end(), Some(40), "what goes on behind its end is no other head");
        assert_eq!(heads.settle(3, false), (0, 0));
    }

    #[test]
    fn large_heads_are_asked_after_and_small_ones_are_not() {
        let mut heads = Heads::default();
        ask(&mut heads, 1000, 1000);
        assert!(!heads.is_mouthful());
        ask(&mut heads, 8, 4096);
        assert!(heads.is_mouthful());
        heads.settle(1008, false);
        assert!(!heads.is_mouthful());
    }

    #[test]
    fn who_may_not_have_heard_of_a_limit_is_let_pass_and_not_for_ever() {
        let mut heads = Heads::default();
        ask(&mut heads, 128, 4096);
        assert_eq!(heads.settle(0, true), (128, 0));
        ask(&mut heads, 1, 4096);
        assert_eq!(heads.settle(0, true), (1, 4096));
    }

    #[test]
    fn it_is_asked_once_and_not_while_the_client_takes_nothing() {
        let handle = Handle::default();
        let digestion = &handle.turns().digestion;
        assert_eq!(digestion.take(), None);
        assert!(!handle.digested(false), "nobody waits for that");
        assert_eq!((digestion.take(), digestion.take()), (Some(false), None));
        digestion.wait();
        handle.set_blocked(1);
        assert!(!handle.digested(true) && digestion.is_awaited());
        handle.set_unblocked();
        assert!(handle.digested(true) && !digestion.is_awaited());
        assert_eq!(digestion.take(), Some(true));
    }

    proptest! {
        /// However they come and whenever it is settled: what was in vain is told, once.
        #[test]
        fn all_that_was_in_vain_is_told_once(
            pieces in proptest::collection::vec((0..20_u32, 0..20_u64, 0..20_000_usize), 0..40),
        ) {
            let (mut heads, mut begun, mut told, mut of_all) = (Heads::default(), 0, 0, 0);
            for (count, accepted, bytes) in pieces {
                ask(&mut heads, count, bytes);
                begun += accepted.min(count.into());
                let (vain, charged) = heads.settle(begun, false);
                told += vain;
                of_all += u64::from(count);
                prop_assert_eq!(told, of_all - begun);
                prop_assert_eq!(charged, vain * u64::try_from(bytes).unwrap());
            }
        }
    }
}
