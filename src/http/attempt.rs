//! One try with one backend.

use std::borrow::Cow;
use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::Response;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;

use crate::backend::{InFlight, Verdict};
use crate::net::clock::{self, Deadline};
use crate::net::wire::Refusal;
use crate::snapshot::{Member, Pool};
use crate::telemetry::counters::{Class, Phase};
use crate::telemetry::reason::Reason;
use crate::upstream::{Connection, DialError, Lease, Target, dial};

use super::body::Loan;
use super::failure::Failure;
use super::forward::Outbound;
use super::local::{self, Place};
use super::record::{Record, chain};
use super::retry::Failed;
use super::upload::RequestBody;

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
}

/// Sends a request to a backend. `fresh`: over a new connection.
///
/// # Errors
/// Why there is no answer, and what may be done about it.
pub async fn send(
    pool: &Pool,
    member: &Member,
    outbound: &mut Outbound,
    fresh: bool,
    waits: Waits,
    record: &mut Record,
) -> Result<Reply, Missed> {
    let counters = member.counters.get(local::worker());
    let in_flight = member.backend.state.begin();
    let idle = if fresh { None } else { local::take_idle(member.slot) };
    let connection = if let Some(connection) = idle {
        counters.reused.add(1);
        record.connected(Duration::ZERO, true);
        connection
    } else {
        let started = Instant::now();
        let left = waits.total.map(|total| total.saturating_sub(record.elapsed()));
        let connection = match open(pool, member, waits, left).await {
            Ok(connection) => connection,
            Err(error) => {
                counters.attempt(Class::Error);
                return Err(unsent(&error));
            }
        };
        let took = started.elapsed();
        counters.opened.add(1);
        counters.observe(Phase::Connect, took);
        record.connected(took, false);
        connection
    };
    let reused = connection.reused();
    let mut loan = Lease::new(connection, Place::new(member.slot, pool));
    let Some(request) = outbound.take() else {
        let failed = Failed { reason: Reason::Internal, sent: true, reused, untouched: false };
        return Err(Missed { failed, failure: Failure::because(Reason::Internal, "no request") });
    };
    let outcome = match loan.connection() {
        Some(connection) => exchange(connection, request, member, outbound, waits, record).await,
        None => Outcome::Down,
    };
    if !matches!(outcome, Outcome::Answer(_)) {
        counters.attempt(Class::Error);
    }
    let (reason, cause): (Reason, Cow<'static, str>) = match outcome {
        Outcome::Answer(response) => {
            let after = record.elapsed();
            record.first_byte(after);
            counters.attempt(super::record::class(response.status()));
            counters.observe(Phase::FirstByte, after);
            return Ok(Reply { response, loan, in_flight });
        }
        Outcome::Late => (Reason::BackendHeaderTimeout, "no answer in time".into()),
        Outcome::Over => (Reason::Deadline, "timeouts.request".into()),
        Outcome::Down => (Reason::BackendReset, "the backend went down".into()),
        Outcome::Error(mut error) => {
            if let Some(request) = error.take_message() {
                outbound.request = Some(request);
                let failed =
                    Failed { reason: Reason::BackendReset, sent: false, reused, untouched: true };
                let cause = chain(error.error());
                return Err(Missed { failed, failure: Failure::because(failed.reason, cause) });
            }
            why(error.error(), outbound, &mut loan)
        }
    };
    drop(loan);
    let failed = Failed { reason, sent: true, reused, untouched: outbound.untouched() };
    Err(Missed { failed, failure: Failure::because(reason, cause) })
}

async fn open(
    pool: &Pool,
    member: &Member,
    waits: Waits,
    left: Option<Duration>,
) -> Result<Box<Connection<RequestBody>>, DialError> {
    dial(Target {
        addresses: member.addresses(),
        host: &member.host,
        tls: pool.tls.as_deref(),
        timeout: left.map_or(pool.connections.connect_timeout, |left| {
            left.min(pool.connections.connect_timeout)
        }),
        write_timeout: waits.write,
    })
    .await
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
}

/// Sends and waits, looking up now and then.
async fn exchange(
    connection: &mut Connection<RequestBody>,
    request: http::Request<RequestBody>,
    member: &Member,
    outbound: &Outbound,
    waits: Waits,
    record: &Record,
) -> Outcome {
    let upload = outbound.upload.as_deref();
    let mut sending = std::pin::pin!(connection.send(request));
    let mut deadline = Deadline::new();
    let look = [waits.response_header, waits.total].into_iter().flatten().fold(LOOK, Duration::min);
    // Since when everything has been said and the answer is awaited.
    let mut silent_since = None;
    poll_fn(move |cx| {
        if let Poll::Ready(result) = sending.as_mut().poll(cx) {
            return Poll::Ready(match result {
                Ok(response) => Outcome::Answer(response),
                Err(error) => Outcome::Error(error),
            });
        }
        if silent_since.is_none() && upload.is_none_or(super::upload::Progress::ended) {
            silent_since = Some(clock::now());
        }
        if !deadline.armed() {
            deadline.arm(Some(look));
        }
        while deadline.poll(cx).is_ready() {
            let silent =
                silent_since.map(|since| Duration::from_millis(clock::now().saturating_sub(since)));
            if silent.zip(waits.response_header).is_some_and(|(silent, limit)| silent >= limit) {
                return Poll::Ready(Outcome::Late);
            }
            if waits.total.is_some_and(|limit| record.elapsed() >= limit) {
                return Poll::Ready(Outcome::Over);
            }
            if member.backend.checked && member.backend.state.verdict() == Verdict::Down {
                return Poll::Ready(Outcome::Down);
            }
            deadline.arm(Some(look));
        }
        Poll::Pending
    })
    .await
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

fn unsent(error: &DialError) -> Missed {
    let reason = match error {
        DialError::Unresolved => Reason::DnsFailed,
        DialError::Refused(error) if error.kind() == io::ErrorKind::TimedOut => {
            Reason::ConnectTimeout
        }
        DialError::Refused(_) => Reason::ConnectRefused,
        DialError::Timeout => Reason::ConnectTimeout,
        DialError::Tls(_) => Reason::BackendTls,
    };
    let failed = Failed { reason, sent: false, reused: false, untouched: true };
    Missed { failed, failure: Failure::because(reason, error.to_string()) }
}
