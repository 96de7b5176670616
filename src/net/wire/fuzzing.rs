//! The gate of HTTP/1 and the frames of HTTP/2 as the fuzz targets see them, who build with
//! `--cfg fuzzing`.

use crate::net::fields::Fields;

use super::frames;
use super::tracker::Tracker;
use super::{HeadLimits, Refusal};

/// What may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Step {
    /// So many bytes from the front.
    pub cleared: usize,
    /// Heads among them.
    pub heads: u64,
    /// What comes after them is refused.
    pub refused: Option<Refusal>,
}

/// Follows the bytes of one direction of a connection.
#[derive(Debug)]
pub struct Gate(Tracker);

impl Gate {
    /// Of a client's.
    pub fn of_requests(limits: HeadLimits) -> Self {
        Self(Tracker::new(limits))
    }

    /// `bytes`: all that was not cleared so far, in one piece.
    pub fn advance(&mut self, bytes: &[u8]) -> Step {
        let step = self.0.advance(bytes);
        Step { cleared: step.cleared, heads: step.heads, refused: step.refused }
    }

    /// Whether a change of protocol is to be decided.
    pub fn held(&self) -> bool {
        self.0.held()
    }

    /// It was decided.
    pub fn release(&mut self, tunnel: bool) {
        self.0.release(tunnel);
    }

    /// Whether everything goes through.
    pub fn open(&self) -> bool {
        self.0.open()
    }
}

/// Length of the head at the front, where it is read in one pass: one that nothing belongs to, and
/// nothing is odd about.
pub fn read_at_once(bytes: &[u8], limits: &HeadLimits) -> Option<usize> {
    let bytes = bytes::Bytes::copy_from_slice(bytes);
    let (_, length) = super::request::read_request(&bytes, limits, &mut Fields::new())?;
    (length <= limits.size).then_some(length)
}

/// Where an HTTP/2 client stands in its frames.
#[derive(Debug, Default)]
pub struct Frames(frames::Frames);

impl Frames {
    /// More bytes of the client.
    pub fn advance(&mut self, bytes: &[u8]) {
        self.0.advance(bytes);
    }

    /// The number of what has begun and is not whole.
    pub fn unfinished(&self) -> Option<u64> {
        self.0.unfinished()
    }

    /// Whole header blocks that open a stream.
    pub fn heads(&self) -> u64 {
        self.0.heads.whole()
    }
}
