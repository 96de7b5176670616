//! What is told of a tunnel at its end: by names, since a tunnel outlives snapshots.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, Uri};

use crate::net::clock;
use crate::snapshot::PoolState;
use crate::snapshot::choice::Told;
use crate::sticky::count::Seat;
use crate::telemetry::access_log::Entry;
use crate::telemetry::counters::{ClientProtocol, ListenerCounters, PerWorker, RouteCounters};
use crate::telemetry::reason::Reason;

use super::local;

/// One tunnel, from its opening to its end.
#[derive(Debug)]
pub(super) struct TunnelLine {
    pub(super) time: u64,
    pub(super) started: Instant,
    pub(super) request_id: Option<HeaderValue>,
    pub(super) trace: Option<HeaderValue>,
    pub(super) listener: Arc<str>,
    pub(super) listener_counters: Arc<PerWorker<ListenerCounters>>,
    pub(super) client: Option<IpAddr>,
    pub(super) peer: Arc<str>,
    pub(super) tls: Option<&'static str>,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) host: Option<HeaderValue>,
    pub(super) route: Option<(Arc<str>, Arc<PerWorker<RouteCounters>>)>,
    pub(super) pool: Option<Arc<str>>,
    pub(super) backend: Option<Arc<str>>,
    pub(super) told: Option<Told>,
    pub(super) session: Option<Bond>,
    pub(super) attempts: u32,
    pub(super) queue: Duration,
    pub(super) connect: Option<Duration>,
    pub(super) first_byte: Option<Duration>,
    pub(super) reused: bool,
    pub(super) bytes: (u64, u64),
    pub(super) reason: Reason,
    pub(super) cause: String,
    pub(super) opened: bool,
}

/// A session that a tunnel belongs to, by what outlives snapshots.
#[derive(Debug)]
pub(super) struct Bond {
    pub(super) state: Arc<PoolState>,
    pub(super) seat: Arc<Seat>,
    pub(super) session: u64,
    /// Whether its client has brought it back.
    pub(super) returned: bool,
}

impl TunnelLine {
    /// The session is alive for as long as its tunnel is.
    pub(super) fn alive(&self) {
        if let Some(bond) = &self.session {
            let sessions = &bond.state.sessions;
            sessions.alive(bond.session, &bond.seat, bond.returned, clock::unix());
        }
    }

    pub(super) fn open(&mut self) {
        self.opened = true;
        let counters = self.listener_counters.get(local::worker());
        counters.connection_opened(ClientProtocol::WebSocket);
    }

    pub(super) fn moved(&mut self, up: u64, down: u64) {
        self.bytes = (up, down);
    }

    pub(super) fn end(&mut self, reason: Reason, cause: String) {
        self.reason = reason;
        self.cause = cause;
    }
}

impl Drop for TunnelLine {
    fn drop(&mut self) {
        let worker = local::worker();
        let (bytes_in, bytes_out) = self.bytes;
        if self.opened {
            let counters = self.listener_counters.get(worker);
            counters.connection_closed(ClientProtocol::WebSocket);
        }
        if let Some((_, counters)) = &self.route {
            let counters = counters.get(worker);
            counters.record(&self.method, 101, self.reason);
            counters.request_bytes.add(bytes_in);
            counters.response_bytes.add(bytes_out);
        }
        if !local::logs() {
            return;
        }
        let request_id = self.request_id.as_ref().map(HeaderValue::as_bytes).unwrap_or_default();
        let trace = self.trace.as_ref().map(HeaderValue::as_bytes).unwrap_or_default();
        local::log(&Entry {
            time: self.time,
            request_id,
            trace_id: trace.get(3..35).unwrap_or_default(),
            node: &local::node(),
            listener: &self.listener,
            client: self.client,
            peer: &self.peer,
            protocol: ClientProtocol::WebSocket.as_str(),
            tls: self.tls,
            method: self.method.as_str(),
            host: self.host.as_ref().map(HeaderValue::as_bytes).unwrap_or_default(),
            path: self.uri.path().as_bytes(),
            query: self.uri.query().map(str::as_bytes),
            status: 101,
            reason: self.reason,
            cause: (!self.cause.is_empty()).then_some(&*self.cause),
            route: self.route.as_ref().map(|(name, _)| &**name),
            pool: self.pool.as_deref(),
            backend: self.backend.as_deref(),
            attempts: self.attempts,
            session: self.told.map_or("none", Told::word),
            token: self.told.map_or("none", |told| told.token.as_str()),
            bytes_in,
            bytes_out,
            t_queue: self.queue,
            t_connect: self.connect,
            t_first_byte: self.first_byte,
            t_total: Some(self.started.elapsed()),
            upstream_reused: self.reused,
        });
    }
}
