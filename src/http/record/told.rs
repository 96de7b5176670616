//! What counters and log are told of an exchange.

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderValue, Version};

use crate::net::proxy_header::Ends;
use crate::snapshot::choice::Told;
use crate::telemetry::access_log::Entry;
use crate::telemetry::counters::{MoveCause, Phase, StickyOutcome};
use crate::telemetry::reason::Reason;

use super::super::local;
use super::Record;

impl Record {
    /// The ends that a backend is told of: the client's port only where it is known.
    pub fn ends(&self) -> Ends {
        let address = self.peer.address;
        let known = self.client == address.ip();
        let source = if known { address } else { SocketAddr::new(self.client, 0) };
        Ends { source, destination: self.peer.destination }
    }

    pub(super) fn count(&self, total: Duration, bytes_in: u64) {
        let worker = local::worker();
        let counters =
            self.route().map_or(&self.snapshot.unrouted, |route| &route.counters).get(worker);
        counters.record(&self.method, self.status, self.reason);
        counters.request_bytes.add(bytes_in);
        counters.response_bytes.add(self.bytes_out);
        counters.observe(self.status, total);
        self.count_session();
        if let Some(member) = self.member()
            && self.times.first_byte.is_some()
        {
            let counters = member.counters.get(worker);
            counters.observe(Phase::Total, total);
            if !self.queue.is_zero() {
                counters.observe(Phase::Queue, self.queue);
            }
        }
    }

    /// Only what a backend has answered binds or moves anybody, and of requests that brought one
    /// old cookie, the first.
    pub(super) fn count_session(&self) {
        if let (Some(told), Some(pool)) = (self.told, self.pool())
            && (self.is_answered() || told.outcome == StickyOutcome::Refused)
        {
            let counters = pool.counters.get(local::worker());
            counters.sticky(told.token, told.outcome);
            if let Some(cause) = told.cause.filter(|_| !self.moved_before) {
                counters.session_moved(cause);
            }
            if self.issued {
                counters.sessions_issued.add(1);
            }
        }
    }

    /// Whether a backend has answered what its client may be given: not a change of protocol that
    /// is none, say.
    fn is_answered(&self) -> bool {
        let refused = matches!(self.reason, Reason::BadResponse | Reason::Internal);
        self.times.first_byte.is_some() && !refused
    }

    /// What became of the visitor's session. Without an answer nobody was bound anew.
    fn bound(&self) -> &'static str {
        let others = |told: &Told| told.outcome != StickyOutcome::Bound;
        self.told.filter(|told| self.is_answered() || others(told)).map_or("none", Told::word)
    }

    /// Why the visitor was moved.
    fn moved(&self) -> Option<&'static str> {
        self.told.and_then(|told| told.cause).map(MoveCause::as_str)
    }

    pub(super) fn log(&self, total: Duration, bytes_in: u64) {
        let route = self.route();
        let authority = self.uri.authority().map(|authority| authority.as_str().as_bytes());
        let host = authority.or_else(|| self.host.as_ref().map(HeaderValue::as_bytes));
        let request_id = self.request_id.as_ref().map(HeaderValue::as_bytes).unwrap_or_default();
        let trace = self.trace.as_ref().map(HeaderValue::as_bytes).unwrap_or_default();
        let protocol = match self.version {
            Version::HTTP_10 => "http/1.0",
            Version::HTTP_2 => "h2",
            _ => "http/1.1",
        };
        local::log(&Entry {
            time: self.time,
            request_id,
            trace_id: trace.get(3..35).unwrap_or_default(),
            node: &local::node(),
            listener: self.listener().map_or("", |listener| &*listener.name),
            client: self.told_client(),
            peer: &self.peer.address_text,
            protocol,
            tls: self.peer.tls.as_ref().map(|tls| tls.version),
            method: self.method.as_str(),
            host: host.unwrap_or_default(),
            path: self.uri.path().as_bytes(),
            query: self.uri.query().map(str::as_bytes),
            status: self.status,
            reason: self.reason,
            cause: self.cause.as_deref().or_else(|| self.moved()),
            route: route.map(|route| &*route.name),
            pool: self.pool().map(|pool| &*pool.name),
            backend: self.member().map(|member| &*member.backend.id),
            attempts: self.attempts,
            session: self.bound(),
            token: self.told.map_or("none", |told| told.token.as_str()),
            bytes_in,
            bytes_out: self.bytes_out,
            t_queue: self.queue,
            t_connect: self.times.connect,
            t_first_byte: self.times.first_byte,
            t_total: Some(total),
            upstream_reused: self.times.reused,
        });
    }
}
