//! Where one message ends and the next head begins, in the bytes that a peer sends (pure).

use super::chunk;
use super::head::{Framing, Head, HeadLimits, Refusal, check, end_of_head};

/// Follows what a client sends.
#[derive(Debug)]
pub(super) struct Tracker {
    limits: HeadLimits,
    state: State,
    /// Bytes at the front that are known to hold no end of a head or line.
    searched: usize,
    /// Bytes of empty lines since the last message.
    empty: usize,
    extensions: usize,
    trailers: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A head is expected; empty lines may come before a request.
    Head,
    /// So many bytes of a body, or of a chunk with its line end, are left.
    Body {
        left: u64,
        chunked: bool,
    },
    ChunkLine,
    Trailers,
    /// A protocol change was asked for: nothing is read until it is decided.
    Held,
    /// Everything goes through: a tunnel.
    Open,
    /// Nothing goes through any more.
    Refused,
}

/// What may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Step {
    /// So many bytes from the front.
    pub(super) cleared: usize,
    /// Heads among them.
    pub(super) heads: u64,
    /// What comes after them is refused.
    pub(super) refused: Option<Refusal>,
    /// Whether the refusal is of a body that has begun, not of a head.
    pub(super) in_body: bool,
}

impl Tracker {
    pub(super) fn new(limits: HeadLimits) -> Self {
        let (searched, empty, extensions, trailers) = (0, 0, 0, 0);
        Self { limits, state: State::Head, searched, empty, extensions, trailers }
    }

    pub(super) fn limits(&self) -> &HeadLimits {
        &self.limits
    }

    /// A change of protocol was decided.
    pub(super) fn release(&mut self, tunnel: bool) {
        if self.state == State::Held {
            self.state = if tunnel { State::Open } else { State::Head };
            self.searched = 0;
        }
    }

    pub(super) fn held(&self) -> bool {
        self.state == State::Held
    }

    pub(super) fn open(&self) -> bool {
        self.state == State::Open
    }

    pub(super) fn refused(&self) -> bool {
        self.state == State::Refused
    }

    pub(super) fn at_head(&self) -> bool {
        self.state == State::Head
    }

    /// Whether nothing of the next head has come, no empty line either.
    pub(super) fn is_between_heads(&self) -> bool {
        self.state == State::Head && self.searched == 0 && self.empty == 0
    }

    /// Ends everything, as after a head that came too late.
    pub(super) fn refuse(&mut self) {
        self.state = State::Refused;
    }

    /// `bytes`: all that was not cleared so far, in one piece.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Step {
        let mut step = Step::default();
        loop {
            let rest = bytes.get(step.cleared..).unwrap_or_default();
            if rest.is_empty() {
                return step;
            }
            let outcome = match self.state {
                State::Open => Ok(Some(rest.len())),
                State::Held | State::Refused => Ok(None),
                State::Body { left, chunked } => Ok(Some(self.body(rest.len(), left, chunked))),
                State::Head => self.head(rest, &mut step.heads),
                State::ChunkLine => self.chunk_line(rest),
                State::Trailers => self.trailer(rest),
            };
            match outcome {
                Ok(Some(taken)) => {
                    step.cleared += taken;
                    self.searched = 0;
                }
                Ok(None) => return step,
                Err(refusal) => {
                    step.in_body = self.state != State::Head;
                    step.refused = Some(refusal);
                    self.state = State::Refused;
                    return step;
                }
            }
        }
    }

    fn head(&mut self, rest: &[u8], heads: &mut u64) -> Result<Option<usize>, Refusal> {
        // RFC 9112 §2.2: at least one empty line before a request line is ignored. hyper keeps them
        // until the head is whole, so they count as a part of it.
        match rest {
            [b'\r', b'\n', ..] if self.room() <= 2 => return Err(Refusal::HeadTooLarge),
            [b'\r', b'\n', ..] => {
                self.empty += 2;
                return Ok(Some(2));
            }
            [b'\r'] => return Ok(None),
            _ => {}
        }
        // What came in pieces is not parsed again with each of them.
        let complete = self.searched == 0 || end_of_head(rest, self.searched).is_some();
        let checked = if complete { check(rest, &self.limits)? } else { None };
        let Some((head, length)) = checked else {
            self.searched = rest.len();
            return self.unfinished(rest);
        };
        if length > self.room() {
            return Err(self.too_large(rest));
        }
        self.empty = 0;
        self.state = self.after(&head);
        *heads += 1;
        Ok(Some(length))
    }

    fn unfinished(&self, rest: &[u8]) -> Result<Option<usize>, Refusal> {
        if rest.len() >= self.room() {
            return Err(self.too_large(rest));
        }
        // What can be no HTTP/1 at all need not be awaited: TLS on a plain port, say.
        let line = rest.get(..rest.len().min(16)).unwrap_or_default();
        if line.iter().any(|byte| *byte < b'\t' || *byte > b'~') {
            return Err(Refusal::RequestLine);
        }
        Ok(None)
    }

    /// Bytes that the head may have.
    fn room(&self) -> usize {
        self.limits.size.saturating_sub(self.empty)
    }

    /// Whether it is the target that makes a head too large.
    fn too_large(&self, rest: &[u8]) -> Refusal {
        let first_line = rest.get(..self.limits.size.min(rest.len())).unwrap_or_default();
        if memchr::memchr(b'\n', first_line).is_none() {
            Refusal::UriTooLong
        } else {
            Refusal::HeadTooLarge
        }
    }

    fn after(&mut self, head: &Head) -> State {
        match head.framing {
            _ if head.websocket => State::Held,
            Framing::None => State::Head,
            Framing::Length(left) => State::Body { left, chunked: false },
            Framing::Chunked => {
                self.extensions = 0;
                self.trailers = 0;
                State::ChunkLine
            }
        }
    }

    fn body(&mut self, available: usize, left: u64, chunked: bool) -> usize {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(available);
        let left = left.saturating_sub(u64::try_from(taken).unwrap_or(u64::MAX));
        self.state = match (left, chunked) {
            (0, true) => State::ChunkLine,
            (0, false) => State::Head,
            _ => State::Body { left, chunked },
        };
        taken
    }

    /// RFC 9112 §7.1: size in hex, extensions, CR LF.
    fn chunk_line(&mut self, rest: &[u8]) -> Result<Option<usize>, Refusal> {
        let Some(end) = self.line_end(rest, chunk::LINE, Refusal::ChunkSize)? else {
            return Ok(None);
        };
        let line = rest.get(..=end).unwrap_or_default();
        self.state = match chunk::size(line, &mut self.extensions)? {
            0 => State::Trailers,
            // The chunk's own line end counts with it; hyper checks that it is one.
            size => State::Body { left: size + 2, chunked: true },
        };
        Ok(Some(end + 1))
    }

    fn trailer(&mut self, rest: &[u8]) -> Result<Option<usize>, Refusal> {
        let room = chunk::TRAILERS.saturating_sub(self.trailers);
        let Some(end) = self.line_end(rest, room, Refusal::Trailers)? else { return Ok(None) };
        let line = rest.get(..=end).unwrap_or_default();
        self.trailers += end + 1;
        if line == b"\r\n" {
            self.state = State::Head;
        } else {
            chunk::trailer(line)?;
        }
        Ok(Some(end + 1))
    }

    fn line_end(
        &mut self,
        rest: &[u8],
        limit: usize,
        refusal: Refusal,
    ) -> Result<Option<usize>, Refusal> {
        let unsearched = rest.get(self.searched..).unwrap_or_default();
        match memchr::memchr(b'\n', unsearched) {
            Some(offset) if self.searched + offset < limit => Ok(Some(self.searched + offset)),
            None if rest.len() < limit => {
                self.searched = rest.len();
                Ok(None)
            }
            _ => Err(refusal),
        }
    }
}

#[cfg(test)]
mod tests;
