//! The PROXY header before everything else on a connection: taken from trusted proxies, in time.

use std::io;

use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::net::TcpStream;

use crate::config::model::ProxyProtocol;
use crate::http::local;
use crate::net::clock;
use crate::net::proxy_header::{self, Beginning, Ends};
use crate::snapshot::Listener;
use crate::telemetry::counters::RefuseCause;

use super::limit::Permit;

/// The ends of the connection: the header's where there is one, else the socket's. None: it was
/// refused, and counted so.
pub(super) async fn ends(
    stream: &mut TcpStream,
    socket: Ends,
    listener: &Listener,
    permit: &mut Permit,
) -> Option<Ends> {
    match introduce(stream, socket, listener, permit).await {
        Ok(ends) => Some(ends),
        Err(cause) => {
            listener.counters.get(local::worker()).connection_refused(cause);
            let (listener, cause) = (&*listener.name, cause.as_str());
            tracing::debug!(listener, address = %socket.source, cause, "connection refused");
            None
        }
    }
}

async fn introduce(
    stream: &mut TcpStream,
    socket: Ends,
    listener: &Listener,
    permit: &mut Permit,
) -> Result<Ends, RefuseCause> {
    let required = listener.proxy_protocol == ProxyProtocol::Require;
    if !listener.trusted.contains(socket.source.ip()) {
        // Its header would not be believed; where there may be none, it is spoken to without.
        return if required { Err(RefuseCause::ProxyUntrusted) } else { Ok(socket) };
    }
    let taken = clock::within(listener.timeouts.header, take(stream, required)).await;
    let ends = match taken {
        None => return Err(RefuseCause::ProxyTimeout),
        Some(Err(_)) => return Err(RefuseCause::ProxyHeader),
        Some(Ok(ends)) => ends,
    };
    let Some(ends) = ends else { return Ok(socket) };
    let client = ends.source.ip().to_canonical();
    let counted = !listener.trusted.contains(client);
    if counted && !permit.count(client, listener.limits.connections_per_client) {
        return Err(RefuseCause::PerClient);
    }
    Ok(ends)
}

/// Takes the header from the stream, and nothing behind it.
async fn take(stream: &mut TcpStream, required: bool) -> io::Result<Option<Ends>> {
    let wrong = || io::Error::from(io::ErrorKind::InvalidData);
    let (length, ends) = match beginning(stream).await? {
        Beginning::Header { length, ends } => (length, ends),
        Beginning::Partial | Beginning::Other if required => return Err(wrong()),
        Beginning::Partial | Beginning::Other => return Ok(None),
    };
    let mut left = length;
    let mut piece = [0; 256];
    while left > 0 {
        let size = left.min(piece.len());
        let read = stream.read(piece.get_mut(..size).unwrap_or_default()).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        left -= read;
    }
    Ok(ends)
}

/// Looks at what has come, without taking it, until it is clear what it is.
async fn beginning(stream: &TcpStream) -> io::Result<Beginning> {
    loop {
        let ended = stream.ready(Interest::READABLE).await?.is_read_closed();
        let looked = stream.try_io(Interest::READABLE, || {
            let mut piece = [0; proxy_header::ENOUGH];
            let (count, _) = recv(stream, &mut piece, RecvFlags::PEEK)?;
            let seen = proxy_header::read(piece.get(..count).unwrap_or_default());
            let seen = seen.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
            // Says that it must be woken by what comes next; after the end nothing does.
            let more = seen == Beginning::Partial && count > 0 && !ended;
            if more { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(seen) }
        });
        match looked {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            looked => return looked,
        }
    }
}
