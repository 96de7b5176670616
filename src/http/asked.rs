//! The attempts of one exchange: who is asked, who is asked next, and what comes of it.

mod begin;
mod hedge;
mod otherwise;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::backend::outlier::{Entry, Kind, Outcome};
use crate::balance::Policy;
use crate::net::clock;
use crate::net::message::Response;
use crate::snapshot::choice::{Choice, Selected, Visitor};
use crate::snapshot::{Forward, Listener, Member, Pool, Route, Snapshot};
use crate::sticky::{By, Issue, Presented, Stickiness};
use crate::telemetry::counters::{ClientProtocol, MoveCause};
use crate::telemetry::reason::Reason;

use super::attempt::{self, Missed, Waits};
use super::body::{self, Body};
use super::failure::Failure;
use super::forward::Outbound;
use super::header::forwarded::Client;
use super::local;
use super::peer::Peer;
use super::record::Record;
use super::respond::{self, Shape};
use super::retry::{Attempts, Verdict};
use super::tunnel;
use super::turn::Waiting;
use hedge::Try;
use otherwise::Fallback;

/// A request for a pool, with all that its attempts share.
pub(super) struct Asked<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) forward: &'a Forward,
    pub(super) sticky: Option<&'a Stickiness>,
    pub(super) pool: &'a Pool,
    pub(super) route: &'a Route,
    pub(super) listener: &'a Listener,
    pub(super) peer: &'a Arc<Peer>,
    pub(super) client: Client,
    /// The connection carries one client's requests only.
    pub(super) alone: bool,
    /// Until there is an answer's head.
    pub(super) waits: Waits,
    /// What it may take in all.
    pub(super) limit: Option<Duration>,
    /// Its answer decides about another request: nobody but a backend may give it.
    pub(super) decides: bool,
    /// The pool of its route that it had to leave.
    pub(super) left: Option<&'a Pool>,
    /// Siblings may join the session that begins here, and it ends with this exchange.
    pub(super) offered: bool,
    pub(super) visitor: Visitor,
    pub(super) outbound: Outbound,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        // Answered, failed or given up by the client: nobody joins it any more. A sibling that has
        // joined ends it by its answer only.
        if self.offered
            && let Some(scope) = self.offers()
        {
            self.peer.answered(scope);
        }
    }
}

impl Asked<'_> {
    pub(super) async fn answer(
        &mut self,
        record: &mut Record,
        mut upgrade: Option<tunnel::Upgrade>,
    ) -> Result<Response<Body>, Failure> {
        let waits = self.waits;
        let mut attempts = Attempts::new(self.route.retry);
        let mut waiting = Waiting::default();
        let mut last: Option<Failure> = None;
        // What the next attempt is to be paid for: why, and whether the request was sent.
        let mut owed: Option<(Reason, bool)> = None;
        let counters = self.pool.counters.get(local::worker());
        counters.earned.add(self.route.retry.budget_percent.into());
        loop {
            if waits.total.is_some_and(|limit| record.elapsed() >= limit) {
                return Err(Failure::because(Reason::Deadline, body::OVER));
            }
            let choice = match self.select(&attempts, record) {
                Ok(Selected::Now(choice)) => choice,
                Ok(Selected::Wait(at)) => {
                    let left = waits.total.map(|limit| limit.saturating_sub(record.elapsed()));
                    if waiting.stand(self.pool, at)
                        && let Some(place) = self.place(&attempts)
                    {
                        self.pool.state.queue.freed(place);
                    }
                    let turn = waiting.turn(self.pool, left).await;
                    record.queued(waiting.waited());
                    if waits.total.is_some_and(|limit| record.elapsed() >= limit) {
                        continue;
                    }
                    match self.came(turn, at, &mut waiting) {
                        Ok(()) => continue,
                        Err(reason) => return Err(self.refuse(reason, last, record)),
                    }
                }
                Err(reason) => match self.fall_back(reason, &attempts, record) {
                    Some(Fallback::Ask) => continue,
                    Some(Fallback::Answer(response)) => return Ok(response),
                    None => return Err(self.refuse(reason, last, record)),
                },
            };
            let member = self.pool.members.get(choice.member).ok_or(Reason::Internal)?;
            let backend = &member.backend;
            if upgrade.is_some() && self.pool.http2 {
                let status = StatusCode::NOT_IMPLEMENTED;
                return Err(Failure::not_supported(status, "upgrade to an HTTP/2 backend"));
            }
            // An operator's look is no load to speak of.
            let look = matches!(self.visitor.presented, Presented::Look(_));
            let most = if look { 0 } else { backend.most_requests() };
            let Some(in_flight) = backend.state.begin(most) else {
                // Somebody was faster; now it is full for us, too.
                self.visitor.called = false;
                continue;
            };
            if choice.evens_out && !self.pool.state.take_move() {
                // Somebody was faster: it stays where it is.
                self.visitor.plain = false;
                continue;
            }
            waiting.done(self.pool, backend);
            self.visitor.called = false;
            let entry = backend.state.outcomes.enter();
            // Only now that there is somebody to ask.
            if let Some((reason, sent)) = owed.take()
                && !self.afford(reason, sent)
            {
                self.moved_nobody(&choice);
                return Err(last.unwrap_or_else(|| reason.into()));
            }
            let told = choice.told.filter(|_| !self.outbound.preflight);
            record.chosen(choice.member, told);
            self.offer(&choice);
            let hedge = self.hedge(&attempts, upgrade.is_some());
            let timed = hedge.is_some() || self.pool.concurrency.is_some();
            let began = if timed { record.elapsed() } else { Duration::ZERO };
            let mut tried = Try { choice, member, entry, began };
            let sent = if let Some(after) = hedge {
                let counters = self.pool.counters.get(local::worker());
                counters.hedges_earned.add(self.route.retry.hedge_percent.into());
                // Boxed: it is rare, and holds two attempts.
                let race = self.raced((tried, in_flight), after, &mut attempts, waits, record);
                let (sent, winner) = Box::pin(race).await;
                tried = winner;
                sent
            } else {
                let ends = self.pool.send_proxy.map(|_| record.ends());
                let (outbound, times) = (&mut self.outbound, &mut record.times);
                let place = (member, in_flight, ends);
                attempt::send(self.pool, place, outbound, attempts.fresh, waits, times).await
            };
            let Try { ref choice, member, entry, began } = tried;
            if self.pool.concurrency.is_some() {
                felt(member, &sent, record.elapsed().saturating_sub(began));
            }
            let missed = match sent {
                Ok(reply) if reply.response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                    self.answered(member, entry, reply.response.status(), record);
                    let shape = self.shape(choice, record);
                    let upgrade = upgrade.take();
                    let idle = self.route.timeouts.tunnel.unwrap_or(self.listener.timeouts.tunnel);
                    let waits = tunnel::Waits { idle, write: waits.write };
                    return tunnel::begin(reply, upgrade, &shape, waits, record);
                }
                Ok(mut reply) => {
                    self.answered(member, entry, reply.response.status(), record);
                    self.offered |= self.visitor.join.is_some();
                    if let Some(missed) = self.unwanted(&mut reply, &mut attempts, choice) {
                        self.moved_nobody(choice);
                        last = Some(missed);
                        continue;
                    }
                    if upgrade.as_ref().is_some_and(|it| !it.lets(&reply.response)) {
                        return Err(Failure::because(Reason::BadResponse, "no_101"));
                    }
                    return respond::build(reply, &self.shape(choice, record), record);
                }
                Err(missed) => missed,
            };
            self.moved_nobody(choice);
            let over = waits.total.is_some_and(|limit| record.elapsed() >= limit);
            if !over {
                self.unwell(member, entry, &missed);
            }
            let bound = choice.seen.is_some_and(|seen| seen.member == choice.member);
            let verdict =
                attempts.after(missed.failed, &self.outbound.method, choice.member, bound);
            if verdict == Verdict::Stop {
                return Err(missed.failure);
            }
            owed = Some((missed.failure.reason, missed.failed.sent));
            last = Some(missed.failure);
        }
    }

    /// An attempt that has come to nothing takes no move of its pool.
    fn moved_nobody(&self, choice: &Choice) {
        if choice.evens_out {
            self.pool.state.give_move_back();
        }
    }

    /// The backend for the next attempt; where a bound visitor's pool has nobody left, one of
    /// another pool that shares the route.
    fn select(&mut self, attempts: &Attempts, record: &mut Record) -> Result<Selected, Reason> {
        let select = |asked: &Self| {
            local::position(asked.pool, |cursor| {
                asked.pool.select(asked.sticky, &asked.visitor, &attempts.tried, cursor)
            })
        };
        let selected = select(self);
        let none_left = matches!(
            selected,
            Err(Reason::NoBackendDown | Reason::NoBackendAdmin | Reason::NoBackendEmpty)
        );
        if !none_left || !attempts.tried.is_empty() || self.visitor.evicted.is_some() {
            return selected;
        }
        // Parallel requests of one session are to find the same one.
        let session = match self.visitor.presented {
            Presented::Value(value) => value,
            _ => self.visitor.token().map_or(self.visitor.fresh, |token| token.session),
        };
        let Some(other) = self.forward.another(self.pool, session) else { return selected };
        self.left = Some(self.pool);
        self.pool = other;
        self.visitor.key = self.key(other);
        self.visitor.evicted = Some(match selected {
            Err(Reason::NoBackendAdmin) => MoveCause::Maint,
            Err(Reason::NoBackendEmpty) => MoveCause::Removed,
            _ => MoveCause::Down,
        });
        record.forwarded(other);
        select(self)
    }

    /// A backend that cannot be reached: its visitors go home to it a while after the last time,
    /// and a ghost ends by it.
    fn unwell(&self, member: &Member, entry: Entry, missed: &Missed) {
        let backend = &member.backend;
        if let Some(kind) = missed.blame {
            self.outcome(member, entry, Outcome::Failure(kind));
            if self.pool.policy == Policy::PeakEwma {
                backend.state.latency.fail(0, u64::from(clock::unix()) * 1000);
            }
        }
        let unreachable = matches!(
            missed.failed.reason,
            Reason::ConnectRefused | Reason::ConnectTimeout | Reason::BackendTls
        );
        if unreachable {
            backend.state.connect_failed(self.visitor.now);
            if backend.ghost {
                backend.state.end();
            }
        }
    }

    /// A backend's 5xx, where the route says that another one may be asked.
    fn unwanted(
        &mut self,
        reply: &mut attempt::Reply,
        attempts: &mut Attempts,
        choice: &Choice,
    ) -> Option<Failure> {
        let status = reply.response.status();
        if !self.route.retry.status_5xx || !status.is_server_error() {
            return None;
        }
        let failed = super::retry::Failed {
            reason: Reason::BackendStatus,
            sent: true,
            reused: false,
            untouched: self.outbound.untouched(),
        };
        let verdict = attempts.after(failed, &self.outbound.method, choice.member, false);
        // Without anybody else to ask, the backend's own answer is the best there is.
        let others = local::position(self.pool, |cursor| {
            self.pool.select(self.sticky, &self.visitor, &attempts.tried, cursor).is_ok()
        });
        if verdict == Verdict::Stop || !others || !self.afford(Reason::BackendStatus, true) {
            return None;
        }
        if self.outbound.repeatable
            && let Some(written) = reply.loan.take_written()
        {
            self.outbound.written = written;
        }
        Some(Failure::because(Reason::BackendStatus, status.as_str().to_owned()))
    }

    /// A backend has answered with this status.
    fn answered(&self, member: &Member, entry: Entry, status: StatusCode, record: &Record) {
        // What came before the attempt, or went up with it, is no time of the backend's.
        let took = record.first_attempt_took().filter(|_| self.outbound.upload.is_none());
        let nanos = took.map(|took| u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        let outcome = if status.is_server_error() {
            Outcome::Failure(Kind::Status)
        } else {
            Outcome::Success { nanos }
        };
        self.outcome(member, entry, outcome);
        if self.pool.policy == Policy::PeakEwma
            && let Some(nanos) = nanos
        {
            member.backend.state.latency.observe(nanos, u64::from(clock::unix()) * 1000);
        }
    }

    fn outcome(&self, member: &Member, entry: Entry, outcome: Outcome) {
        let tally = member.tally.get(local::worker());
        let terms = self.pool.ejection.as_ref().map(|terms| (terms, &self.pool.state.quota));
        if member.backend.state.outcomes.record(tally, entry, outcome, terms) {
            // Who waits for it may have another choice.
            self.pool.state.queue.call_all();
        }
    }

    /// Pays for a retry out of the pool's budget, where a backend may have seen the request.
    fn afford(&self, reason: Reason, sent: bool) -> bool {
        let earned = || self.pool.counters.sum(|it| it.earned.get());
        let paid = !sent || self.pool.state.retries.spend(earned);
        let counters = self.pool.counters.get(local::worker());
        if paid {
            counters.retry(reason);
        } else {
            counters.retry_budget_exhausted.add(1);
        }
        paid
    }

    fn shape<'s>(&'s self, choice: &'s Choice, record: &Record) -> Shape<'s> {
        let body = self.route.timeouts.body.unwrap_or(self.listener.timeouts.body);
        // A preflight has no cookies to remember the binding by.
        let preflight = self.outbound.preflight;
        let issue = if preflight { Issue::Nothing } else { choice.issue };
        Shape {
            pool: self.pool,
            sticky: self.sticky,
            choice,
            issue,
            joined: self.visitor.join.is_some(),
            moved_from: self.left,
            preflight,
            https: self.client.https,
            now: self.visitor.now,
            body,
            left: self.limit.map(|limit| limit.saturating_sub(record.elapsed())),
        }
    }

    /// The scope in which siblings on this connection may join what begins here, if they may.
    fn offers(&self) -> Option<u64> {
        let sticky = self.sticky.filter(|sticky| *sticky.by() == By::Cookie)?;
        let offers = self.peer.protocol == ClientProtocol::Http2
            && self.visitor.presented == Presented::None
            && !self.outbound.preflight
            && self.alone;
        offers.then(|| sticky.domain())
    }

    fn offer(&mut self, choice: &Choice) {
        if let Issue::Bind(token) = choice.issue
            && let Some(scope) = self.offers()
        {
            self.offered |= self.peer.offer(scope, token);
        }
    }
}

/// What an attempt that took so long says about how many requests its backend bears.
fn felt(member: &Member, sent: &Result<attempt::Reply, Missed>, took: Duration) {
    let concurrency = &member.backend.state.concurrency;
    let busy = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
    match sent {
        Ok(reply) if busy.contains(&reply.response.status()) => concurrency.failed(),
        Ok(_) => concurrency.answered(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)),
        Err(missed) if missed.blame.is_some() => concurrency.failed(),
        Err(_) => {}
    }
}
