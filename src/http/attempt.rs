//! One try with one backend.

use std::borrow::Cow;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::Response;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;

use crate::backend::outlier::Kind;
use crate::backend::{InFlight, Verdict};
use crate::net::clock::{self, Deadline};
use crate::net::proxy_header::Ends;
use crate::net::wire::Refusal;
use crate::snapshot::{Member, Pool};
use crate::telemetry::chain;
use crate::telemetry::counters::{BackendCounters, Class, Phase};
use crate::telemetry::reason::Reason;
use crate::upstream::{Connection, DialError, Lease, Target, dial};

use super::body::{CUT, Loan};
use super::failure::Failure;
use super::forward::Outbound;
use super::local::{self, Place};
use super::retry::Failed;
use super::times::Times;
use super::upload::{Progress, RequestBody};

/// A waiting exchange looks this often whether its backend has gone down, or its time is over.
const LOOK: Duration = Duration::from_millis(500);

/// Waits of an attempt; `None` waits for ever.
#[derive(Debug, Clone, Copy)]
pub struct Waits {
    /// From the request's last byte to the answer's head.
    pub response_header: Option<Duration>,
    /// For the exchange as a whole, from its start.
    pub total: Option<Duration>,
    /// For a write that the backend does not take.
    pub write: Option<Duration>,
}

/// An answer's head, and what its body comes by.
#[derive(Debug)]
pub struct Reply {
    /// As the backend sent it.
    pub response: Response<Incoming>,
    /// The connection.
    pub loan: Loan,
    /// Counts at the backend until it is dropped.
    pub in_flight: InFlight,
}

/// An attempt that brought no answer.
#[derive(Debug)]
pub struct Missed {
    /// For the decision about another one.
    pub failed: Failed,
    /// For log and client, should it be the last.
    pub failure: Failure,
    /// What the backend is to blame for, if it is.
    pub blame: Option<Kind>,
}

impl Missed {
    /// There was no request, or no outcome.
    pub(super) fn internal() -> Self {
        let reason = Reason::Internal;
        let failed = Failed { reason, sent: true, reused: false, untouched: false };
        let failure = Failure::because(reason, "no request");
        Self { failed, failure, blame: None }
    }
}

/// Sends a request to a backend, in the place that was taken there. `fresh`: over a new connection.
/// `told`: whose ends the backend is told, if of any.
///
/// # Errors
/// Why there is no answer, and what may be done about it.
pub async fn send(
    pool: &Pool,
    (member, in_flight, told): (&Member, InFlight, Option<Ends>),
    outbound: &mut Outbound,
    fresh: bool,
    waits: Waits,
    times: &mut Times,
) -> Result<Reply, Missed> {
    let counters = member.counters.get(local::worker());
    let place = Place::new(member.slot, pool);
    let (mut loan, reused, outcome) = loop {
        let sure = outbound.only_once;
        let idle = if fresh { None } else { local::take_idle(member.slot, told, sure) };
        let (connection, took) = match idle {
            Some(connection) => (connection, None),
            // Boxed: it is rare, and larger than all the rest of an exchange.
            None => match Box::pin(open(pool, member, told, waits, times)).await {
                Ok((connection, took)) => (connection, Some(took)),
                Err(error) => {
                    counters.attempt(Class::Error);
                    return Err(unsent(&error));
                }
            },
        };
        let reused = connection.reused();
        let mut reuse = Reuse(None);
        if let Some(took) = took {
            counters.opened.add(1);
            counters.observe(Phase::Connect, took);
        } else {
            reuse.0 = Some(counters);
        }
        times.connected(took.unwrap_or_default(), took.is_none());
        let mut loan = Lease::new(connection, place);
        let (Some(connection), Some(request)) = (loan.connection(), outbound.take()) else {
            return Err(Missed::internal());
        };
        // The runtime's budget of a task must not end here: nobody would be woken for the answer.
        let answer = tokio::task::unconstrained(connection.send(request, outbound.repeatable));
        let mut answer = pin!(answer);
        let mut watch = Watch::new(member, outbound.upload.as_deref(), waits);
        let mut outcome = poll_fn(|cx| match connection.poll_answer(answer.as_mut(), cx) {
            Poll::Ready(Ok(response)) => Poll::Ready(Outcome::Answer(response)),
            Poll::Ready(Err(error)) => Poll::Ready(Outcome::Error(error)),
            Poll::Pending => watch.poll(cx, times),
        })
        .await;
        if took.is_none()
            && let Outcome::Error(error) = &mut outcome
            && let Some(request) = error.take_message()
        {
            // Its backend had closed it while it was idle. That is no attempt: nothing was sent.
            outbound.request = Some(request);
            reuse.0 = None;
            continue;
        }
        break (loan, reused, outcome);
    };
    if !matches!(outcome, Outcome::Answer(_)) {
        counters.attempt(Class::Error);
    }
    let ours = matches!(outcome, Outcome::Over | Outcome::Down | Outcome::Cut);
    let (reason, cause): (Reason, Cow<'static, str>) = match outcome {
        Outcome::Answer(response) => {
            let after = times.elapsed();
            times.first_byte = Some(after);
            counters.attempt(super::record::class(response.status()));
            counters.observe(Phase::FirstByte, after);
            return Ok(Reply { response, loan, in_flight });
        }
        Outcome::Late => {
            let limit = waits.response_header.unwrap_or_default();
            (Reason::BackendHeaderTimeout, format!("no answer within {limit:?}").into())
        }
        Outcome::Over => (Reason::Deadline, "timeouts.request".into()),
        Outcome::Down => (Reason::BackendReset, "its checks failed while it was awaited".into()),
        Outcome::Cut => (Reason::BackendReset, CUT.into()),
        Outcome::Error(mut error) => {
            if let Some(request) = error.take_message() {
                outbound.request = Some(request);
                let failed =
                    Failed { reason: Reason::BackendReset, sent: false, reused, untouched: true };
                let failure = Failure::because(failed.reason, chain(error.error()));
                return Err(Missed { failed, failure, blame: Some(Kind::Reset) });
            }
            why(error.error(), outbound, &mut loan)
        }
    };
    if outbound.repeatable
        && let Some(connection) = loan.connection()
    {
        outbound.written = connection.take_written();
    }
    drop(loan);
    let failed = Failed { reason, sent: true, reused, untouched: outbound.untouched() };
    let blame = if ours { None } else { blame(reason) };
    Err(Missed { failed, failure: Failure::because(reason, cause), blame })
}

/// Counts an idle connection that was of use, also where its exchange is given up.
struct Reuse<'a>(Option<&'a BackendCounters>);

impl Drop for Reuse<'_> {
    fn drop(&mut self) {
        if let Some(counters) = self.0 {
            counters.reused.add(1);
        }
    }
}

/// Opens a connection, and says how long that took.
async fn open(
    pool: &Pool,
    member: &Member,
    told: Option<Ends>,
    waits: Waits,
    times: &Times,
) -> Result<(Box<Connection<RequestBody>>, Duration), DialError> {
    let started = Instant::now();
    let most = pool.connections.connect_timeout;
    let left = waits.total.map(|total| total.saturating_sub(times.elapsed()));
    let connection = dial(Target {
        addresses: member.addresses(),
        host: &member.host,
        tls: pool.tls.as_deref(),
        proxy: pool.send_proxy.zip(told),
        timeout: left.map_or(most, |left| left.min(most)),
        write_timeout: waits.write,
    })
    .await?;
    Ok((connection, started.elapsed()))
}

enum Outcome {
    Answer(Response<Incoming>),
    Error(TrySendError<http::Request<RequestBody>>),
    /// `response_header` is over.
    Late,
    /// `request` is over.
    Over,
    /// The checks have given the backend up.
    Down,
    /// The deadline of its drain cuts what is left.
    Cut,
}

/// Waits for an answer, looking up now and then.
struct Watch<'a> {
    member: &'a Member,
    upload: Option<&'a Progress>,
    waits: Waits,
    deadline: Deadline,
    look: Duration,
    /// Since when everything has been said and the answer is awaited.
    silent_since: Option<u64>,
}

impl<'a> Watch<'a> {
    fn new(member: &'a Member, upload: Option<&'a Progress>, waits: Waits) -> Self {
        let limits = [waits.response_header, waits.total].into_iter().flatten();
        let look = limits.fold(LOOK, Duration::min);
        Self { member, upload, waits, deadline: Deadline::new(), look, silent_since: None }
    }

    /// Ready when there is nothing to wait for any more.
    fn poll(&mut self, cx: &Context<'_>, times: &Times) -> Poll<Outcome> {
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

/// Why a request that was (or may have been) sent has no answer.
fn why(error: &hyper::Error, outbound: &Outbound, loan: &mut Loan) -> (Reason, Cow<'static, str>) {
    if let Some(refusal) = loan.connection().and_then(|connection| connection.handle().refusal()) {
        let reason = match refusal {
            Refusal::HeadTooLarge | Refusal::TooManyFields => Reason::BackendHeaderTooLarge,
            _ => Reason::BadResponse,
        };
        return (reason, refusal.as_str().into());
    }
    let by_client = outbound.upload.as_ref().and_then(|upload| upload.failure());
    let reason = match by_client {
        Some(Reason::BadRequest) => {
            let refusal = outbound.wire.refusal();
            let cause = refusal.map_or("body", Refusal::as_str);
            return (Reason::BadRequest, cause.into());
        }
        Some(reason) => reason,
        None if error.is_parse_too_large() => Reason::BackendHeaderTooLarge,
        None if error.is_parse() => Reason::BadResponse,
        None => Reason::BackendReset,
    };
    (reason, chain(error).into())
}

/// What a backend is to blame for, by the reason of a failed attempt.
fn blame(reason: Reason) -> Option<Kind> {
    match reason {
        Reason::ConnectRefused
        | Reason::ConnectTimeout
        | Reason::BackendTls
        | Reason::DnsFailed => Some(Kind::Connect),
        Reason::BackendReset | Reason::BadResponse | Reason::BackendHeaderTooLarge => {
            Some(Kind::Reset)
        }
        Reason::BackendHeaderTimeout => Some(Kind::Timeout),
        _ => None,
    }
}

fn unsent(error: &DialError) -> Missed {
    let reason = match error {
        DialError::Unresolved(_) => Reason::DnsFailed,
        DialError::Refused(error) if error.kind() == io::ErrorKind::TimedOut => {
            Reason::ConnectTimeout
        }
        DialError::Refused(_) => Reason::ConnectRefused,
        DialError::Timeout | DialError::TlsTimeout => Reason::ConnectTimeout,
        DialError::Tls(_) => Reason::BackendTls,
    };
    let failed = Failed { reason, sent: false, reused: false, untouched: true };
    let failure = Failure::because(reason, chain(error));
    Missed { failed, failure, blame: blame(reason) }
}
