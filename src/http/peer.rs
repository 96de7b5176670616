//! Who is at the other end of a client connection.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderValue;

use crate::net::proxy_header::Ends;
use crate::net::wire::Handle;
use crate::sticky::{Memo, Token};
use crate::telemetry::address;
use crate::telemetry::counters::ClientProtocol;

/// Siblings that may wait for one first answer; more of them begin sessions of their own.
const MOST_JOINS: usize = 8;

/// Whatever is to be released when a connection, or the tunnel that it became, ends.
pub type Place = Box<dyn std::any::Any + Send + Sync>;

/// What a connection knows about its client, for as long as it lasts.
#[derive(Debug)]
pub struct Peer {
    /// Where it connects from.
    pub address: SocketAddr,
    /// Where it connected to, where a backend is to be told of it.
    pub destination: SocketAddr,
    /// `address` as text, for the log.
    pub address_text: Arc<str>,
    /// Its host, ready for `X-Forwarded-For`.
    pub address_value: HeaderValue,
    /// Number of the listener it came by.
    pub listener: usize,
    /// HTTP/1.1 or HTTP/2.
    pub protocol: ClientProtocol,
    /// Present: TLS.
    pub tls: Option<TlsFacts>,
    /// The wire below.
    pub handle: Arc<Handle>,
    heads: AtomicU64,
    /// The connection's place under the server's limits: a tunnel holds it on.
    _place: Place,
    // Never contended: all exchanges of a connection run on its worker's thread.
    memo: Mutex<Memo>,
    joins: Mutex<Vec<Join>>,
}

/// What was agreed in the handshake.
#[derive(Debug, Clone)]
pub struct TlsFacts {
    /// `TLSv1.3`.
    pub version: &'static str,
    /// Lower case.
    pub server_name: Option<Box<str>>,
    /// The client's certificate as backends are told of it, where they are.
    pub client_cert: Option<HeaderValue>,
}

/// A session that begins on this connection and has no answer yet.
#[derive(Debug)]
struct Join {
    scope: u64,
    token: Token,
}

impl Peer {
    /// A peer that has just connected.
    pub fn new(
        ends: Ends,
        listener: usize,
        protocol: ClientProtocol,
        tls: Option<TlsFacts>,
        handle: Arc<Handle>,
        place: Place,
    ) -> Self {
        let Ends { source: address, destination } = ends;
        let text = address::socket_text(address);
        // Before the port; of IPv6 it is not that simple.
        let end = memchr::memchr(b':', text.as_bytes()).filter(|_| address.is_ipv4());
        let host = match end.and_then(|end| text.get(..end)) {
            Some(host) => HeaderValue::from_str(host),
            None => HeaderValue::try_from(address::ip_text(address.ip().to_canonical())),
        };
        Self {
            address,
            destination,
            address_text: text.into(),
            address_value: host.unwrap_or_else(|_| HeaderValue::from_static("unknown")),
            listener,
            protocol,
            tls,
            handle,
            heads: AtomicU64::new(0),
            _place: place,
            memo: Mutex::default(),
            joins: Mutex::default(),
        }
    }

    /// Number of the head that is served now, from 0.
    pub(super) fn next_head(&self) -> u64 {
        let head = self.heads.load(Ordering::Relaxed);
        self.heads.store(head + 1, Ordering::Relaxed);
        head
    }

    /// The token that last came here.
    pub(super) fn memo(&self) -> MutexGuard<'_, Memo> {
        self.memo.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session of a sibling that is still unanswered, for a request without a token.
    pub(super) fn join(&self, scope: u64) -> Option<Token> {
        let joins = self.joins.lock().unwrap_or_else(PoisonError::into_inner);
        joins.iter().find(|join| join.scope == scope).map(|join| join.token)
    }

    /// Siblings may join this session until `answered`. True where this one began it.
    pub(super) fn offer(&self, scope: u64, token: Token) -> bool {
        let mut joins = self.joins.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(join) = joins.iter_mut().find(|join| join.scope == scope) {
            join.token = token;
            return false;
        }
        let begins = joins.len() < MOST_JOINS;
        if begins {
            joins.push(Join { scope, token });
        }
        begins
    }

    /// The first answer is here: its cookie will speak for the session from now on.
    pub(super) fn answered(&self, scope: u64) {
        let mut joins = self.joins.lock().unwrap_or_else(PoisonError::into_inner);
        joins.retain(|join| join.scope != scope);
    }
}
