//! TCP, TLS and the HTTP handshake to a backend, under one deadline.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio_rustls::TlsConnector;

use crate::net::clock;
use crate::net::proxy_header::{self, Ends, Version};
use crate::net::socket;
use crate::net::wire::{Waits, Wire};
use crate::telemetry::chain;
use crate::tls::client::{ClientTls, HTTP2};

use super::connection::Connection;
use super::stream::Stream;
use crate::net::outgoing::Outgoing;

/// Whom to connect to.
#[derive(Debug)]
pub struct Target<'a> {
    /// In order of preference.
    pub addresses: Arc<Vec<SocketAddr>>,
    /// The backend's configured host, for TLS.
    pub host: &'a str,
    /// Present: TLS.
    pub tls: Option<&'a ClientTls>,
    /// Whether TLS has to agree on HTTP/2.
    pub http2: bool,
    /// Present: a PROXY header goes before everything else, and says this.
    pub proxy: Option<(Version, Ends)>,
    /// For everything together.
    pub timeout: Duration,
    /// Of a write that the backend does not take.
    pub write_timeout: Option<Duration>,
}

/// Why there is no connection. Nothing was sent, so any request may be tried again.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name has no address.
    #[error("{0} does not resolve")]
    Unresolved(String),
    /// Refused, unreachable or the like.
    #[error("connect: {0}")]
    Refused(#[source] io::Error),
    /// Not up in time.
    #[error("connect: timed out")]
    Timeout,
    /// Connected, but TLS was not up in time.
    #[error("TLS: timed out in the handshake")]
    TlsTimeout,
    /// The TLS handshake failed.
    #[error("TLS: {0}")]
    Tls(String),
}

/// Opens an HTTP/1.1 connection. Several addresses are tried one after the other.
///
/// # Errors
/// Of the last address, when none of them served.
pub async fn dial<B: Outgoing>(target: Target<'_>) -> Result<Box<Connection<B>>, DialError> {
    let stream = reach(&target).await?;
    let waits = Waits { write: target.write_timeout, ..Waits::default() };
    let told = target.proxy.map(|(_, ends)| ends);
    Ok(Box::new(Connection::new(Wire::backend(stream, waits), told, clock::now())))
}

/// TCP, and TLS where it is wanted, to the first address that serves.
pub(super) async fn reach(target: &Target<'_>) -> Result<Stream, DialError> {
    let timeout = Some(target.timeout);
    let connected = AtomicBool::new(false);
    let reached = clock::within(timeout, reach_any(target, &connected)).await;
    reached.unwrap_or_else(|| Err(late(&connected)))
}

/// `connected` says how far it has come with the address that it is trying.
async fn reach_any(target: &Target<'_>, connected: &AtomicBool) -> Result<Stream, DialError> {
    let mut last = None;
    // Each address has its share of the time: a dead one does not use up that of the next.
    let addresses = u32::try_from(target.addresses.len()).unwrap_or(u32::MAX).max(1);
    let share = Some(target.timeout / addresses);
    for address in target.addresses.iter() {
        connected.store(false, Ordering::Relaxed);
        last = match clock::within(share, reach_one(*address, target, connected)).await {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(error)) => Some(error),
            None => Some(late(connected)),
        };
    }
    Err(last.unwrap_or_else(|| DialError::Unresolved(target.host.to_owned())))
}

fn late(connected: &AtomicBool) -> DialError {
    if connected.load(Ordering::Relaxed) { DialError::TlsTimeout } else { DialError::Timeout }
}

async fn reach_one(
    address: SocketAddr,
    target: &Target<'_>,
    connected: &AtomicBool,
) -> Result<Stream, DialError> {
    let mut tcp = socket::connect(address).await.map_err(DialError::Refused)?;
    if let Some((version, ends)) = target.proxy {
        let header = proxy_header::write(version, Some(ends));
        tcp.write_all(&header).await.map_err(DialError::Refused)?;
    }
    connected.store(true, Ordering::Relaxed);
    let Some(tls) = target.tls else { return Ok(Stream::Tcp(tcp)) };
    let name = tls.server_name(target.host).map_err(DialError::Tls)?;
    let connector = TlsConnector::from(Arc::clone(tls.config()));
    let stream = connector.connect(name, tcp).await;
    let stream = Box::new(stream.map_err(|error| DialError::Tls(chain(&error)))?);
    if target.http2 && stream.get_ref().1.alpn_protocol() != Some(HTTP2) {
        return Err(DialError::Tls("HTTP/2 was not agreed on (ALPN)".to_owned()));
    }
    Ok(Stream::Tls(stream))
}
