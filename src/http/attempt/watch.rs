//! The wait for an answer, and what ends it before there is one.

use std::task::{Context, Poll};
use std::time::Duration;

use super::super::times::Times;
use super::super::upload::Progress;
use super::Waits;
use crate::backend::Verdict;
use crate::net::clock::{self, Deadline};
use crate::net::message::Response;
use crate::net::pressure;
use crate::snapshot::Member;
use crate::upstream::{Answered, Unanswered};

/// A waiting exchange looks this often whether its backend has gone down, or its time is over.
const LOOK: Duration = Duration::from_millis(500);

/// What came of the wait for an answer.
pub(super) enum Outcome {
    Answer(Response<Answered>),
    Error(Unanswered),
    /// `response_header` is over.
    Late,
    /// The backend gives the request's body no room.
    Deaf,
    /// The same, and memory is short.
    Pressed,
    /// `request` is over.
    Over,
    /// The checks have given the backend up.
    Down,
    /// The deadline of its drain cuts what is left.
    Cut,
}

/// Waits for an answer, looking up now and then.
pub(super) struct Watch<'a> {
    member: &'a Member,
    upload: Option<&'a Progress>,
    waits: Waits,
    deadline: Deadline,
    look: Duration,
    /// Since when everything has been said and the answer is awaited.
    silent_since: Option<u64>,
    /// How long the backend may leave the request's body where it is. HTTP/1.1 sees to it itself.
    deaf: Option<Duration>,
    /// Bytes of the body that it has taken, and since when it is no more.
    taken: (u64, u64),
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        member: &'a Member,
        upload: Option<&'a Progress>,
        waits: Waits,
        http2: bool,
    ) -> Self {
        let limits = [waits.response_header, waits.total].into_iter().flatten();
        let look = limits.fold(LOOK, Duration::min);
        let deaf = if http2 { waits.write } else { None };
        let (deadline, taken) = (Deadline::new(), (0, clock::now()));
        Self { member, upload, waits, deadline, look, silent_since: None, deaf, taken }
    }

    /// Whether there is something for the backend that it has not taken for too long, or for longer
    /// than there is memory for.
    fn is_deaf(&mut self) -> Option<Outcome> {
        let (upload, pressed) = (self.upload?, pressure::level().patience());
        if self.deaf.is_none() && pressed.is_none() {
            return None;
        }
        let now = clock::now();
        if upload.ended() || upload.awaits_client() || upload.bytes() != self.taken.0 {
            self.taken = (upload.bytes(), now);
        }
        let waited = Duration::from_millis(now.saturating_sub(self.taken.1));
        let over = |limit: Option<Duration>| limit.is_some_and(|limit| waited >= limit);
        if over(pressed) {
            return Some(Outcome::Pressed);
        }
        over(self.deaf).then_some(Outcome::Deaf)
    }

    /// Ready when there is nothing to wait for any more.
    pub(super) fn poll(&mut self, cx: &Context<'_>, times: &Times) -> Poll<Outcome> {
        if self.silent_since.is_none() && self.upload.is_none_or(Progress::ended) {
            self.silent_since = Some(clock::now());
        }
        if !self.deadline.armed() {
            self.deadline.arm_stirred(Some(self.look));
        }
        while self.deadline.poll(cx).is_ready() {
            let silent = self.silent_since.map(|since| clock::now().saturating_sub(since));
            let silent = silent.map(Duration::from_millis);
            let limit = self.waits.response_header;
            if silent.zip(limit).is_some_and(|(silent, limit)| silent >= limit) {
                return Poll::Ready(Outcome::Late);
            }
            if self.waits.total.is_some_and(|limit| times.elapsed() >= limit) {
                return Poll::Ready(Outcome::Over);
            }
            if let Some(deaf) = self.is_deaf() {
                return Poll::Ready(deaf);
            }
            let backend = &self.member.backend;
            if backend.checked && backend.state.verdict() == Verdict::Down {
                return Poll::Ready(Outcome::Down);
            }
            if backend.state.drain.since().is_some() && backend.state.drain.cuts(clock::unix()) {
                return Poll::Ready(Outcome::Cut);
            }
            self.deadline.arm_stirred(Some(self.look));
        }
        Poll::Pending
    }
}
