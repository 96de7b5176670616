//! The body of an answer: counted, timed, and carrying what ends with it.

use std::borrow::Cow;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};

use crate::backend::InFlight;
use crate::net::clock::{self, Deadline, Patience};
use crate::net::fields;
use crate::net::pipe::Pipe;
use crate::net::pressure::{self, Level};
use crate::telemetry::chain;
use crate::telemetry::reason::Reason;
use crate::upstream::{self, AnswerError, Answered};

use super::local::Place;
use super::record::Record;
use super::upload::{BrokenUpload, RequestBody};

/// So many parts of a body (of 256 KiB at most) go on before others have a turn; where hyper serves
/// HTTP/1, it asks twice a turn.
const STREAK: u32 = 4;

/// The end of an exchange's time as a whole, for the log.
pub(super) const OVER: &str = "timeouts.request, or the call's grpc-timeout";

/// What the log is told of a body that was cut on purpose.
pub(super) const CUT: &str = "cut at the drain's deadline";

/// What the log is told where the backend has stopped.
const SILENT: &str = "no progress for as long as timeouts.body allows";

/// What the log is told where a stream to the backend was reset.
const RESET: &str = "the backend reset the stream";

/// A connection to a backend, or a stream of one, on loan to an exchange.
pub type Loan = upstream::Loan<RequestBody, Place>;

/// What an answer has to say. Its end, or its drop, ends the exchange.
#[derive(Debug)]
pub struct Body {
    kind: Kind,
    record: Option<Box<Record>>,
}

#[derive(Debug)]
enum Kind {
    Empty,
    Full(Bytes),
    Backend(Box<Download>),
}

/// A part of a body: in our memory, or so many bytes in a pipe.
trait Part {
    fn length(&self) -> usize;
    fn trailers(&mut self) -> Option<&mut HeaderMap>;
}

impl Part for Frame<Bytes> {
    fn length(&self) -> usize {
        self.data_ref().map_or(0, Bytes::len)
    }

    fn trailers(&mut self) -> Option<&mut HeaderMap> {
        self.trailers_mut()
    }
}

impl Part for usize {
    fn length(&self) -> usize {
        *self
    }

    fn trailers(&mut self) -> Option<&mut HeaderMap> {
        None
    }
}

/// What became of asking for a part.
type Asked<P, E> = Poll<Option<Result<P, E>>>;

/// A body that comes from a backend.
#[derive(Debug)]
pub struct Download {
    answered: Answered,
    loan: Loan,
    in_flight: InFlight,
    patience: Patience,
    /// The end of the exchange as a whole, where the route has one.
    end: Deadline,
    ended: bool,
    /// What broke it, one poll before the client is told.
    broken: Option<BrokenBody>,
    /// How often the client's connection had been flushed when it was given a part.
    given: Option<u64>,
    /// Parts since somebody else had a turn.
    streak: u32,
}

impl Download {
    /// A body, the connection it comes by, the wait for progress, and what is left for all of it.
    pub fn new(
        answered: Answered,
        loan: Loan,
        in_flight: InFlight,
        (timeout, left): (Option<Duration>, Option<Duration>),
    ) -> Self {
        let ended = loan.is_complete(&answered);
        let mut end = Deadline::new();
        if left.is_some() {
            end.arm(left);
        }
        let patience = Patience::new(timeout);
        let (broken, given, streak) = (None, None, 0);
        Self { answered, loan, in_flight, patience, end, ended, broken, given, streak }
    }

    fn poll<P: Part>(
        &mut self,
        cx: &mut Context<'_>,
        ask: impl FnOnce(&mut Loan, &mut Answered, &mut Context<'_>) -> Asked<P, AnswerError>,
    ) -> Asked<P, BrokenBody> {
        if self.end.poll(cx).is_ready() {
            return Poll::Ready(Some(Err(BrokenBody::new(Reason::Deadline, "timeouts.request"))));
        }
        let drain = &self.in_flight.state().drain;
        if drain.since().is_some() && drain.cuts(clock::unix()) {
            let cut = BrokenBody::new(Reason::BackendBodyAborted, CUT);
            return Poll::Ready(Some(Err(cut)));
        }
        if self.streak >= STREAK {
            self.streak = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.streak += 1;
        match ask(&mut self.loan, &mut self.answered, cx) {
            Poll::Ready(Some(Ok(mut part))) => {
                self.patience.moved();
                let trailers = part.trailers().map(fields::detach).is_some();
                // hyper asks for nothing after trailers.
                self.ended = trailers || self.loan.is_complete(&self.answered);
                Poll::Ready(Some(Ok(part)))
            }
            Poll::Ready(Some(Err(error))) => {
                let by_client = BrokenUpload::behind(&error);
                let reason = by_client.unwrap_or(Reason::BackendBodyAborted);
                let broken = BrokenBody::new(reason, "");
                Poll::Ready(Some(Err(BrokenBody { error: Some(error), ..broken })))
            }
            // hyper tells a stream that was reset without an error as one that ended.
            Poll::Ready(None)
                if self.loan.is_stream() && !self.loan.is_complete(&self.answered) =>
            {
                Poll::Ready(Some(Err(BrokenBody::new(Reason::BackendBodyAborted, RESET))))
            }
            Poll::Ready(None) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Poll::Pending => {
                self.streak = 0;
                let lost = self.patience.poll_lost(cx);
                lost.map(|()| Some(Err(BrokenBody::new(Reason::BackendBodyTimeout, SILENT))))
            }
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        if self.ended {
            self.loan.complete();
        }
    }
}

/// A body that breaks off; the client must not take it for complete.
#[derive(Debug, thiserror::Error)]
#[error("the response body broke off: {reason}")]
pub struct BrokenBody {
    reason: Reason,
    #[source]
    error: Option<AnswerError>,
    /// Without an error, what it was.
    what: &'static str,
}

impl BrokenBody {
    fn new(reason: Reason, what: &'static str) -> Self {
        Self { reason, error: None, what }
    }

    fn cause(&self) -> Cow<'static, str> {
        self.error.as_ref().map_or_else(|| self.what.into(), |error| chain(error).into())
    }
}

impl Body {
    /// No body.
    pub fn empty() -> Self {
        Self { kind: Kind::Empty, record: None }
    }

    /// These bytes.
    pub fn full(bytes: Bytes) -> Self {
        let kind = if bytes.is_empty() { Kind::Empty } else { Kind::Full(bytes) };
        Self { kind, ..Self::empty() }
    }

    /// What a backend sends.
    pub fn backend(download: Download) -> Self {
        Self { kind: Kind::Backend(Box::new(download)), ..Self::empty() }
    }

    /// Bytes of a body that is not a backend's.
    pub fn full_length(&self) -> Option<usize> {
        match &self.kind {
            Kind::Full(bytes) => Some(bytes.len()),
            Kind::Empty | Kind::Backend(_) => None,
        }
    }

    /// The record that is closed with the body.
    pub fn carry(&mut self, record: Box<Record>) {
        self.record = Some(record);
    }

    /// Takes the next part into an empty pipe; see [`crate::net::outgoing::Fill`].
    pub fn poll_piped(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Option<Poll<Result<(), BrokenBody>>> {
        let pipes = matches!(&self.kind, Kind::Backend(download) if download.loan.pipes());
        // What is in pipes is no memory of the process's, which could be measured and given back.
        if !pipes || pressure::level() > Level::Calm {
            return None;
        }
        match self.poll_part(cx, |loan, _, cx| loan.poll_fill(cx, pipe)) {
            Poll::Pending => Some(Poll::Pending),
            Poll::Ready(part) => Some(Poll::Ready(part?.map(drop))),
        }
    }

    /// Asks a backend for the next part.
    fn poll_part<P: Part>(
        &mut self,
        cx: &mut Context<'_>,
        ask: impl FnOnce(&mut Loan, &mut Answered, &mut Context<'_>) -> Asked<P, AnswerError>,
    ) -> Asked<P, BrokenBody> {
        let Kind::Backend(download) = &mut self.kind else { return Poll::Ready(None) };
        if let Some(broken) = download.broken.take() {
            return Poll::Ready(Some(Err(broken)));
        }
        if let Some(record) = &self.record {
            if record.poll_unblocked(download.given, cx).is_pending() {
                return Poll::Pending;
            }
            download.loan.read_at_most(record.share());
        }
        let poll = download.poll(cx, ask);
        if poll.is_ready() {
            download.given = self.record.as_ref().and_then(|record| record.flushes());
        }
        self.tell(cx, poll)
    }

    /// Tells the record what has become of a part.
    fn tell<P: Part>(
        &mut self,
        cx: &Context<'_>,
        poll: Asked<P, BrokenBody>,
    ) -> Asked<P, BrokenBody> {
        let ended = self.is_end_stream();
        if let Some(record) = &mut self.record {
            match &poll {
                Poll::Ready(Some(Ok(part))) => {
                    record.sent(part.length());
                    if ended {
                        record.complete();
                    }
                }
                Poll::Ready(Some(Err(broken))) => record.fail_late(broken.reason, broken.cause()),
                Poll::Ready(None) => record.complete(),
                Poll::Pending => record.waits(),
            }
        }
        match (poll, &mut self.kind) {
            (Poll::Ready(Some(Err(broken))), Kind::Backend(download)) => {
                // hyper drops what it has not written when a body fails: first the client gets
                // what was there, the head above all.
                download.broken = Some(broken);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            (poll, _) => poll,
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BrokenBody;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        let this = self.get_mut();
        match &mut this.kind {
            Kind::Backend(_) => this.poll_part(cx, Loan::poll_body),
            kind => {
                let full = std::mem::replace(kind, Kind::Empty);
                let Kind::Full(bytes) = full else { return this.tell(cx, Poll::Ready(None)) };
                this.tell(cx, Poll::Ready(Some(Ok(Frame::data(bytes)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Full(_) => false,
            Kind::Backend(download) => download.ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => {
                SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
            }
            Kind::Backend(download) => {
                download.answered.length().map_or_else(SizeHint::default, SizeHint::with_exact)
            }
        }
    }
}
