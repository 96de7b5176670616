//! One try with one backend.

mod watch;

use std::borrow::Cow;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::backend::InFlight;
use crate::backend::outlier::Kind;
use crate::net::clock;
use crate::net::message::Response;
use crate::net::proxy_header::Ends;
use crate::net::wire::Refusal;
use crate::snapshot::{Member, Pool};
use crate::telemetry::chain;
use crate::telemetry::counters::{BackendCounters, Class, Phase};
use crate::telemetry::reason::Reason;
use crate::upstream::http2::{self, Found};
use crate::upstream::{AnswerError, Answered, DialError, Lease, Target, dial};

use super::body::{CUT, Loan, OVER};
use super::failure::Failure;
use super::forward::Outbound;
use super::local::{self, Place};
use super::retry::Failed;
use super::times::Times;
use watch::{Outcome, Watch};

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
    pub response: Response<Answered>,
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
        let carried = if pool.http2 {
            Box::pin(stream(pool, member, waits, times)).await
        } else {
            let sure = outbound.only_once;
            match if fresh { None } else { local::take_idle(member.slot, told, sure) } {
                Some(connection) => Ok((Loan::Connection(Lease::new(connection, place)), None)),
                // Boxed: it is rare, and larger than all the rest of an exchange.
                None => Box::pin(open(pool, member, told, waits, times)).await,
            }
        };
        let (mut loan, took) = match carried {
            Ok(carried) => carried,
            Err(error) => {
                counters.attempt(Class::Error);
                return Err(unsent(&error));
            }
        };
        let reused = loan.reused();
        let mut reuse = Reuse(None);
        if let Some(took) = took {
            counters.opened.add(1);
            counters.observe(Phase::Connect, took);
        } else {
            reuse.0 = Some(counters);
        }
        times.connected(took.unwrap_or_default(), took.is_none());
        loan.read_at_most(outbound.wire.share());
        let request = outbound.take_for(pool, member);
        let sent = request.and_then(|request| loan.send(request));
        let Some(answer) = sent else { return Err(Missed::internal()) };
        // The runtime's budget of a task must not end here: nobody would be woken for the answer.
        let mut answer = pin!(tokio::task::unconstrained(answer));
        let mut watch = Watch::new(member, outbound.upload.as_deref(), waits, pool.http2);
        let outcome = poll_fn(|cx| match loan.poll_answer(answer.as_mut(), cx) {
            Poll::Ready(Ok(response)) => Poll::Ready(Outcome::Answer(response)),
            Poll::Ready(Err(error)) => Poll::Ready(Outcome::Error(error)),
            Poll::Pending => watch.poll(cx, times),
        })
        .await;
        if took.is_none() && matches!(&outcome, Outcome::Error(error) if error.unsent) {
            // Its backend had closed it while it was idle. That is no attempt: nothing was sent.
            reuse.0 = None;
            continue;
        }
        break (loan, reused, outcome);
    };
    if !matches!(outcome, Outcome::Answer(_)) {
        counters.attempt(Class::Error);
    }
    let ours = matches!(outcome, Outcome::Pressed | Outcome::Over | Outcome::Down | Outcome::Cut);
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
        Outcome::Deaf => (Reason::BackendHeaderTimeout, "it takes no more of the request".into()),
        Outcome::Pressed => (Reason::OverloadedMemory, "its backend takes no more of it".into()),
        Outcome::Over => (Reason::Deadline, OVER.into()),
        Outcome::Down => (Reason::BackendReset, "its checks failed while it was awaited".into()),
        Outcome::Cut => (Reason::BackendReset, CUT.into()),
        Outcome::Error(error) => {
            let reason = Reason::BackendReset;
            let unsent = error.unsent;
            if unsent || (loan.is_stream() && http2::unprocessed(&error.error)) {
                // A stream that is refused, or comes too late for a backend that leaves, is no
                // fault of anybody's.
                let (untouched, blame) =
                    (unsent || outbound.untouched(), unsent.then_some(Kind::Reset));
                let failed = Failed { reason, sent: false, reused, untouched };
                let failure = Failure::because(reason, chain(&error.error));
                return Err(Missed { failed, failure, blame });
            }
            why(&error.error, outbound)
        }
    };
    if outbound.repeatable
        && let Some(written) = loan.take_written()
    {
        outbound.written = written;
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

/// What an attempt goes by, and how long it took to open it, where it was opened for it.
type Carried = Result<(Loan, Option<Duration>), Arc<DialError>>;

/// Opens a connection of its own.
async fn open(
    pool: &Pool,
    member: &Member,
    told: Option<Ends>,
    waits: Waits,
    times: &Times,
) -> Carried {
    let started = Instant::now();
    let connection = dial(target(pool, member, told, waits, times)).await?;
    let lease = Lease::new(connection, Place::new(member.slot, pool));
    Ok((Loan::Connection(lease), Some(started.elapsed())))
}

/// Takes a stream of an open connection, or of one that is opened for all who wait for it.
async fn stream(pool: &Pool, member: &Member, waits: Waits, times: &Times) -> Carried {
    let mut took = None;
    loop {
        let promise = match local::find_stream(member.slot) {
            Found::Stream(stream) => return Ok((Loan::Stream(stream), took)),
            Found::Nothing(promise) => promise,
            Found::Dialling(dialling) => {
                let limit = target(pool, member, None, waits, times).timeout;
                match clock::within(Some(limit), dialling.ended()).await {
                    Some(Some(Err(error))) => return Err(error),
                    Some(_) => continue,
                    None => return Err(Arc::new(DialError::Timeout)),
                }
            }
        };
        let started = Instant::now();
        let opened = http2::dial(target(pool, member, None, waits, times)).await.map_err(Arc::new);
        promise.keep(opened.as_ref().map(drop).map_err(Arc::clone));
        local::add_streams(Place::new(member.slot, pool), opened?);
        took = Some(started.elapsed());
    }
}

fn target<'a>(
    pool: &'a Pool,
    member: &'a Member,
    told: Option<Ends>,
    waits: Waits,
    times: &Times,
) -> Target<'a> {
    let most = pool.connections.connect_timeout;
    let left = waits.total.map(|total| total.saturating_sub(times.elapsed()));
    Target {
        addresses: member.addresses(),
        host: &member.host,
        tls: pool.tls.as_deref(),
        http2: pool.http2,
        proxy: pool.send_proxy.zip(told),
        timeout: left.map_or(most, |left| left.min(most)),
        write_timeout: waits.write,
    }
}

/// Why a request that was (or may have been) sent has no answer.
fn why(error: &AnswerError, outbound: &Outbound) -> (Reason, Cow<'static, str>) {
    if let AnswerError::Refused(refusal) = error {
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
