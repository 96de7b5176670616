//! Where an HTTP/2 client stands in its frames (pure), and how long it may be in the middle of one.

use std::io;
use std::task::Context;

use tokio::io::{AsyncRead, AsyncWrite};

use super::super::clock::now;
use super::Wire;
use super::chatter::Chatter;
use super::heads::Heads;

/// RFC 9113 §3.4.
const PREFACE: usize = 24;
/// RFC 9113 §4.1: length, type, flags and stream of every frame.
const HEAD: usize = 9;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const END_HEADERS: u8 = 0x4;

/// Follows the frames of a client by their heads alone: whether they are right is for `h2` to say.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// Bytes of the preface so far.
    preface: usize,
    head: [u8; HEAD],
    have: usize,
    /// Bytes of the present frame's payload that are still to come.
    left: usize,
    /// They are of a body, which has waits of its own.
    body: bool,
    /// Between the first frame of a header block and its last.
    block: bool,
    whole: u64,
    pub(super) heads: Heads,
    pub(super) chatter: Chatter,
}

impl Frames {
    /// Of a connection that begins now (ms).
    pub(super) fn new(now: u64) -> Self {
        Self { chatter: Chatter::new(now), ..Self::default() }
    }

    pub(super) fn advance(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let missing = if self.preface < PREFACE {
                PREFACE - self.preface
            } else if self.left > 0 {
                self.left
            } else {
                HEAD - self.have
            };
            let (piece, rest) = bytes.split_at(missing.min(bytes.len()));
            bytes = rest;
            if self.preface < PREFACE {
                self.preface += piece.len();
                self.ended(self.preface == PREFACE);
            } else if self.left > 0 {
                self.left -= piece.len();
                self.ended(self.left == 0 && !self.body);
            } else {
                self.collect(piece);
            }
        }
    }

    fn collect(&mut self, piece: &[u8]) {
        let end = self.have + piece.len();
        if let Some(place) = self.head.get_mut(self.have..end) {
            place.copy_from_slice(piece);
        }
        self.have = end;
        if self.have < HEAD {
            return;
        }
        self.have = 0;
        let [long, middle, short, kind, flags, stream @ ..] = self.head;
        self.left = usize::from(long) << 16 | usize::from(middle) << 8 | usize::from(short);
        self.body = kind == DATA;
        match kind {
            HEADERS if self.heads.begin(stream, self.left) => self.chatter.asked(),
            HEADERS => {}
            CONTINUATION => self.heads.more(self.left),
            _ => self.chatter.heard(kind, flags),
        }
        if kind == HEADERS || kind == CONTINUATION {
            self.block = flags & END_HEADERS == 0;
        }
        self.ended(self.body || self.left == 0);
    }

    fn ended(&mut self, ended: bool) {
        if !ended || self.block {
            return;
        }
        self.whole += 1;
        let [_, _, _, kind, ..] = self.head;
        if (kind == HEADERS || kind == CONTINUATION)
            && let Some(bytes) = self.heads.end()
        {
            self.chatter.trailers(bytes);
        }
    }

    /// The number of what has begun and is not whole: the preface, a frame that is not of a body,
    /// or a header block. The preface is awaited from the start.
    pub(super) fn unfinished(&self) -> Option<u64> {
        let within =
            self.preface < PREFACE || self.have > 0 || self.block || (self.left > 0 && !self.body);
        within.then_some(self.whole)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Ends an HTTP/2 connection whose client says far more than its requests need.
    pub(super) fn unless_flooded(&mut self) -> io::Result<()> {
        let Some(frames) = &mut self.frames else { return Ok(()) };
        frames.chatter.refused_heads(self.handle.turns().take_large_heads());
        if frames.chatter.is_flood(now) {
            self.handle.frames_were_flood();
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a flood of frames"));
        }
        if frames.heads.is_mouthful() {
            self.handle.turns().digestion.wait();
        }
        Ok(())
    }

    /// Holds those heads against an HTTP/2 client for which no exchange has begun. True: nothing
    /// is to be read until that is known of what was read.
    pub(super) fn digests(&mut self) -> io::Result<bool> {
        let Some(frames) = &mut self.frames else { return Ok(false) };
        let digestion = &self.handle.turns().digestion;
        if let Some(unaware) = digestion.take() {
            let (heads, bytes) = frames.heads.settle(self.handle.heads(), unaware);
            if heads > 0 {
                frames.chatter.asked_in_vain(heads, bytes);
                self.unless_flooded()?;
            }
        }
        Ok(self.handle.turns().digestion.is_awaited())
    }

    /// Whether something that an HTTP/2 client has begun is not whole in time. Asked when nothing
    /// more has come.
    pub(super) fn frame_is_late(&mut self, cx: &Context<'_>) -> bool {
        let Some(frames) = &self.frames else { return false };
        let unfinished = frames.unfinished();
        if unfinished != self.late {
            self.late = unfinished;
            self.reading.arm(unfinished.and(self.waits.header));
        }
        if unfinished.is_none() || self.reading.poll(cx).is_pending() {
            return false;
        }
        self.handle.frame_was_late();
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let [.., high, middle, low] = length.to_be_bytes();
        let mut bytes = vec![high, middle, low, kind, flags, 0, 0, 0, 1];
        bytes.resize(HEAD + length, b'x');
        bytes
    }

    fn begun() -> Frames {
        let mut frames = Frames::default();
        frames.advance(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        frames
    }

    #[test]
    fn a_preface_is_awaited_and_then_nothing() {
        let mut frames = Frames::default();
        assert_eq!(frames.unfinished(), Some(0));
        frames.advance(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r");
        assert_eq!(frames.unfinished(), Some(0));
        frames.advance(b"\n");
        assert_eq!(frames.unfinished(), None);
    }

    #[test]
    fn a_header_block_is_one_thing_over_all_its_frames() {
        let mut frames = begun();
        frames.advance(&frame(HEADERS, 0, 20));
        let block = frames.unfinished();
        assert!(block.is_some());
        for _ in 0..3 {
            frames.advance(&frame(CONTINUATION, 0, 0));
            assert_eq!(frames.unfinished(), block, "another frame is no new beginning");
        }
        frames.advance(&frame(CONTINUATION, END_HEADERS, 5));
        assert_eq!(frames.unfinished(), None);
    }

    #[test]
    fn a_body_has_its_own_time_but_for_the_head_of_its_frame() {
        let mut frames = begun();
        let data = frame(DATA, 0, 100);
        frames.advance(&data[..8]);
        assert!(frames.unfinished().is_some());
        frames.advance(&data[8..50]);
        assert_eq!(frames.unfinished(), None);
        frames.advance(&data[50..]);
        frames.advance(&frame(6, 0, 8)[..12]);
        assert!(frames.unfinished().is_some(), "half a PING");
    }

    #[test]
    fn a_head_counts_when_its_last_byte_has_come() {
        let mut frames = begun();
        frames.advance(&frame(HEADERS, 0, 20));
        let last = frame(CONTINUATION, END_HEADERS, 5);
        frames.advance(&last[..HEAD + 4]);
        assert_eq!(frames.heads.settle(0, false), (0, 0));
        frames.advance(&last[HEAD + 4..]);
        assert_eq!(frames.heads.settle(0, false), (1, 25));
        frames.advance(&frame(HEADERS, END_HEADERS, 0));
        assert_eq!(frames.heads.settle(0, false), (0, 0), "trailers");
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            kinds in proptest::collection::vec((0..10_u8, any::<u8>(), 0..300_usize), 0..20),
            cut in 0..4000_usize,
            step in 1..64_usize,
        ) {
            let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
            for (kind, flags, length) in kinds {
                bytes.extend(frame(kind, flags, length));
            }
            bytes.truncate(bytes.len().saturating_sub(cut));
            let mut at_once = Frames::default();
            at_once.advance(&bytes);
            let mut in_pieces = Frames::default();
            bytes.chunks(step).for_each(|piece| in_pieces.advance(piece));
            prop_assert_eq!(at_once.unfinished(), in_pieces.unfinished());
            prop_assert_eq!(at_once.whole, in_pieces.whole);
            prop_assert_eq!(at_once.heads, in_pieces.heads);
        }
    }
}
