//! What is known about one exchange, told to counters and log at its end.

mod pace;
mod told;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, Uri, Version};

use crate::net::clock;
use crate::net::message::RequestHead;
use crate::snapshot::choice::{Seen, Told};
use crate::snapshot::{Listener, Member, Pool, Route};
use crate::sticky::Issue;
use crate::sticky::count::{self, Seat};
use crate::telemetry::counters::{Class, StickyOutcome, StickyToken};
use crate::telemetry::reason::Reason;

use super::failure::Failure;
use super::local::{self, Held};
use super::peer::Peer;
use super::times::Times;
use super::tunnel_line::{Bond, TunnelLine};
use super::unread;
use super::upload::Progress;

/// Milliseconds after which an exchange that lasts tells again that its session is alive.
const SEEN_EVERY: u64 = 1000;

/// One exchange. Its drop is its end, whatever happened before.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that are independent of each other")]
pub struct Record {
    /// The configuration it reads, from start to end.
    pub snapshot: Held,
    peer: Arc<Peer>,
    listener: usize,
    /// Of the attempt that counts.
    pub times: Times,
    time: u64,
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
    version: Version,
    /// Address of the client, by what trusted proxies say.
    pub client: IpAddr,
    /// `X-Request-Id`.
    pub request_id: Option<HeaderValue>,
    /// `traceparent`.
    pub trace: Option<HeaderValue>,
    route: Option<usize>,
    pool: Option<usize>,
    member: Option<usize>,
    /// Attempts so far.
    pub attempts: u32,
    told: Option<Told>,
    /// The session that it belongs to.
    seen: Option<Seen>,
    /// Whether its client has brought it back.
    returned: bool,
    moved_before: bool,
    /// When that was last told to the pool: milliseconds on the worker's clock.
    seen_at: u64,
    queue: Duration,
    /// The request's body.
    pub upload: Option<Arc<Progress>>,
    status: u16,
    reason: Reason,
    cause: Option<Cow<'static, str>>,
    bytes_out: u64,
    answered: bool,
    complete: bool,
    tunnel: bool,
    issued: bool,
}

impl Record {
    /// Begins with a request's head.
    pub fn begin(snapshot: Held, peer: Arc<Peer>, index: usize, head: &RequestHead) -> Box<Self> {
        let times = Times::begin();
        // Room first, so that the compiler may make it where it stays: it is half a kilobyte.
        let place = Box::new_uninit();
        let record = Self {
            snapshot,
            listener: index,
            times,
            time: clock::since_epoch(times.started),
            method: head.method.clone(),
            uri: head.uri.clone(),
            host: head.headers.get(http::header::HOST).cloned(),
            version: head.version,
            client: peer.address.ip(),
            peer,
            request_id: None,
            trace: None,
            route: None,
            pool: None,
            member: None,
            attempts: 0,
            told: None,
            seen: None,
            returned: false,
            moved_before: false,
            seen_at: 0,
            queue: Duration::ZERO,
            upload: None,
            status: 0,
            reason: Reason::None,
            cause: None,
            bytes_out: 0,
            answered: false,
            complete: false,
            tunnel: false,
            issued: false,
        };
        Box::write(place, record)
    }

    /// Unix seconds at which the exchange began.
    pub fn now(&self) -> u32 {
        u32::try_from(self.time / 1_000_000).unwrap_or(u32::MAX)
    }

    /// Since the exchange began.
    pub fn elapsed(&self) -> Duration {
        self.times.elapsed()
    }

    /// The listener it came by.
    pub fn listener(&self) -> Option<&Listener> {
        self.snapshot.listeners.get(self.listener).map(AsRef::as_ref)
    }

    /// The route it took.
    pub(super) fn route(&self) -> Option<&Route> {
        self.snapshot.routes.get(self.route?).map(AsRef::as_ref)
    }

    /// Notes the route.
    pub fn routed(&mut self, route: &Route) {
        self.route = Some(route.index);
        self.pool = route.pools().next().map(|pool| pool.index);
    }

    /// Notes which of the route's pools is asked.
    pub fn forwarded(&mut self, pool: &Pool) {
        self.pool = Some(pool.index);
    }

    /// A pool that was asked about the exchange has said yes: the route's own is asked now.
    pub(super) fn let_in(&mut self) {
        (self.member, self.attempts, self.queue) = (None, 0, Duration::ZERO);
        self.times = self.times.again();
    }

    /// Notes how long the exchange has waited for a place at a backend.
    pub fn queued(&mut self, waited: Duration) {
        self.queue = waited;
    }

    /// Notes the backend of an attempt, and what came of the visitor's token.
    pub fn chosen(&mut self, member: usize, told: Option<Told>) {
        self.member = Some(member);
        self.attempts += 1;
        self.told = told;
        self.times = self.times.again();
    }

    /// A second attempt began beside the first.
    pub fn hedged(&mut self) {
        self.attempts += 1;
    }

    /// The second one was faster.
    pub fn overtaken(&mut self, member: usize, times: Times) {
        self.member = Some(member);
        self.times = times;
    }

    /// Time until the head of the answer, where that was the backend's alone: in the first attempt,
    /// without a wait for a place.
    pub fn first_attempt_took(&self) -> Option<Duration> {
        self.times.first_byte.filter(|_| self.attempts == 1 && self.queue.is_zero())
    }

    /// Notes what the client is told.
    pub fn answer(&mut self, status: StatusCode) {
        self.status = status.as_u16();
        self.answered = true;
        if status.is_server_error() && self.reason == Reason::None && self.member.is_some() {
            self.reason = Reason::BackendStatus;
        }
    }

    /// Notes why the exchange failed.
    pub fn fail(&mut self, failure: &Failure) {
        self.reason = failure.reason;
        self.cause.clone_from(&failure.cause);
    }

    /// Notes what broke after the answer had begun.
    pub fn fail_late(&mut self, reason: Reason, cause: Cow<'static, str>) {
        self.reason = reason;
        self.cause = Some(cause);
        self.complete = true;
    }

    /// Counts bytes of the answer's body.
    pub fn sent(&mut self, bytes: usize) {
        self.bytes_out += u64::try_from(bytes).unwrap_or(u64::MAX);
        self.peer.handle.turns().moved();
        // A long transfer keeps its session alive.
        if self.seen.is_some() && clock::now().saturating_sub(self.seen_at) > SEEN_EVERY {
            self.alive();
        }
    }

    /// The answer is whole.
    pub fn complete(&mut self) {
        self.complete = true;
    }

    /// The head was refused: what stands in for it is nobody's request.
    pub fn refused(&mut self) {
        self.method = Method::default();
        self.uri = Uri::default();
        self.host = None;
    }

    /// Whether a tunnel has begun.
    pub(super) fn is_tunnel(&self) -> bool {
        self.tunnel
    }

    /// A tunnel begins, whose own line tells the rest: its duration is no latency.
    pub(super) fn tunnel(&mut self) -> Option<TunnelLine> {
        self.tunnel = true;
        self.count_session();
        let listener = self.listener()?;
        let route = self.route();
        Some(TunnelLine {
            time: self.time,
            started: self.times.started,
            request_id: self.request_id.clone(),
            trace: self.trace.clone(),
            listener: Arc::clone(&listener.name),
            listener_counters: Arc::clone(&listener.counters),
            client: self.told_client(),
            peer: Arc::clone(&self.peer.address_text),
            tls: self.peer.tls.as_ref().map(|tls| tls.version),
            method: self.method.clone(),
            uri: self.uri.clone(),
            host: self.told_host(),
            route: route.map(|r| (Arc::clone(&r.name), Arc::clone(&r.counters))),
            pool: self.pool().map(|pool| Arc::clone(&pool.name)),
            backend: self.member().map(|member| Arc::clone(&member.backend.id)),
            told: self.told,
            session: self.bond(),
            attempts: self.attempts,
            queue: self.queue,
            connect: self.times.connect,
            first_byte: self.times.first_byte,
            reused: self.times.reused,
            bytes: (0, 0),
            reason: Reason::None,
            cause: String::new(),
            opened: false,
        })
    }

    /// The authority as the log has it.
    fn told_host(&self) -> Option<HeaderValue> {
        let authority = self.uri.authority();
        let authority = authority.and_then(|it| HeaderValue::from_str(it.as_str()).ok());
        authority.or_else(|| self.host.clone())
    }

    /// What a tunnel keeps its session alive by.
    fn bond(&self) -> Option<Bond> {
        let (seen, pool) = (self.seen?, self.pool()?);
        let seat = Arc::clone(pool.members.get(seen.member)?.seat.as_ref()?);
        let (state, returned) = (Arc::clone(&pool.state), self.returned);
        Some(Bond { state, seat, session: seen.session, returned })
    }

    /// The client, where it is not the peer.
    fn told_client(&self) -> Option<IpAddr> {
        (self.client != self.peer.address.ip()).then_some(self.client)
    }

    fn pool(&self) -> Option<&Pool> {
        self.snapshot.pools.get(self.pool?).map(AsRef::as_ref)
    }

    fn member(&self) -> Option<&Member> {
        self.pool()?.members.get(self.member?)
    }

    /// Notes what became of the session: whether its cookie is in the answer, and whether that
    /// began it. Where an answer could carry none, nothing has changed for the visitor.
    pub fn session(&mut self, issue: &Issue, written: bool, joined: bool) {
        self.issued = written && !joined && matches!(issue, Issue::Bind(_));
        let Some(told) = self.told.as_mut().filter(|_| !written) else { return };
        match issue {
            Issue::Nothing => {}
            Issue::Bind(_) | Issue::Refresh(_) => told.outcome = StickyOutcome::Kept,
            Issue::Move(_) => {
                told.outcome = StickyOutcome::Spilled;
                told.cause = None;
            }
        }
    }

    /// The session that this exchange belongs to has come back, and what that was to the pool.
    pub fn seen(&mut self, seen: Seen) -> Option<count::Seen> {
        self.seen = Some(seen);
        self.returned = true;
        self.seen_at = clock::now();
        let (pool, seat) = self.seat(seen)?;
        Some(pool.state.sessions.touch(seen.session, seat, clock::unix()))
    }

    /// A session begins by this exchange: it does not count before it comes back, but what it has
    /// open keeps it alive.
    pub fn begun(&mut self, seen: Seen) {
        self.seen = Some(seen);
        self.seen_at = clock::now();
    }

    /// A sibling has moved the visitor already.
    pub fn moved_before(&mut self) {
        self.moved_before = true;
    }

    /// The session was refused, before any backend was asked.
    pub fn session_refused(&mut self, token: StickyToken) {
        let outcome = StickyOutcome::Refused;
        self.told = Some(Told { token, outcome, cause: None });
    }

    /// The session is still alive, wherever it is by now.
    fn alive(&mut self) {
        self.seen_at = clock::now();
        if let Some(seen) = self.seen
            && let Some((pool, seat)) = self.seat(seen)
        {
            pool.state.sessions.alive(seen.session, seat, self.returned, clock::unix());
        }
    }

    fn seat(&self, seen: Seen) -> Option<(&Pool, &Seat)> {
        let pool = self.pool()?;
        Some((pool, pool.members.get(seen.member)?.seat.as_deref()?))
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        local::counters(|counters| counters.exchanges.add(1));
        self.peer.handle.done(clock::now());
        if self.tunnel {
            return;
        }
        let total = self.times.elapsed();
        if self.seen.is_some() && clock::now().saturating_sub(self.seen_at) > SEEN_EVERY {
            self.alive();
        }
        if !self.answered {
            // The exchange was dropped: nobody waits for its answer any more, or we are at
            // the end of our patience ourselves.
            (self.reason, self.status) = if local::is_ending() {
                (Reason::Stopping, 0)
            } else if self.peer.handle.was_pressed() {
                (Reason::OverloadedMemory, 0)
            } else {
                (Reason::ClientGone, 499)
            };
        } else if let Some(reason) = self.broken_off() {
            self.reason = reason;
        }
        let bytes_in = self.upload.as_ref().map_or(0, |upload| upload.bytes());
        if self.complete && self.peer.handle.is_framed() && !local::is_ending() {
            let rest = self.upload.as_ref().and_then(|upload| upload.rest());
            rest.into_iter().for_each(unread::read_on);
        }
        self.count(total, bytes_in);
        if local::logs() {
            self.log(total, bytes_in);
        }
    }
}

/// What class of status an attempt counts under.
pub(super) fn class(status: StatusCode) -> Class {
    Class::of(status.as_u16())
}
