//! A client connection: which protocol it speaks, and who answers its requests.

mod direct;
mod encode;
mod http1;
mod http2;
mod press;
mod stream;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::net::pipe::Bare;
use crate::net::proxy_header::Ends;
use crate::net::wire::{HeadLimits, Waits, Wire};
use crate::snapshot::Listener;
use crate::telemetry::counters::ClientProtocol;

use super::body::Body;
use super::exchange;
use super::peer::{Peer, Place, TlsFacts};

/// Bytes of a request's target.
const TARGET: usize = 65_000;

/// A connection that is served until it ends. Boxed as what it is: a quiet one holds little.
pub type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Serves a connection until it ends. When `ending` resolves, it is told to go: no new request is
/// taken, and running ones are finished.
pub fn connection<S>(
    stream: S,
    ends: Ends,
    protocol: ClientProtocol,
    tls: Option<TlsFacts>,
    listener: &Listener,
    place: Place,
    ending: impl Future<Output = ()> + Send + Unpin + 'static,
) -> Serving
where
    S: AsyncRead + AsyncWrite + Bare + Send + Unpin + 'static,
{
    let limits = HeadLimits {
        size: listener.limits.header_size,
        fields: listener.limits.headers,
        // hyper holds targets of a little less than 64 KiB.
        target: listener.limits.header_size.min(TARGET),
    };
    let timeouts = &listener.timeouts;
    let waits = Waits { header: timeouts.header, idle: timeouts.idle, write: timeouts.write };
    let (slot, counters) = (listener.slot, Arc::clone(&listener.counters));
    match protocol {
        ClientProtocol::Http2 => {
            let wire = Wire::framed(stream, waits);
            let peer = Peer::new(ends, slot, protocol, tls, Arc::clone(wire.handle()), place);
            http2::serve(wire, Arc::new(peer), limits, waits, counters, ending)
        }
        ClientProtocol::Http1 | ClientProtocol::WebSocket => {
            // Boxed, for it goes from hand to hand.
            let wire = Box::new(Wire::client(stream, limits, waits).piped());
            let peer = Peer::new(ends, slot, protocol, tls, Arc::clone(wire.handle()), place);
            http1::serve(wire, Arc::new(peer), limits, counters, ending, exchange::serve_alone)
        }
    }
}

/// The exchanges of one connection.
fn exchanges(
    peer: Arc<Peer>,
) -> impl Service<
    Request<Incoming>,
    Response = Response<Body>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
> + Send
+ 'static {
    service_fn(move |request| {
        let peer = Arc::clone(&peer);
        if peer.protocol == ClientProtocol::Http2 {
            peer.handle.begun();
        }
        async move {
            let (head, body) = request.into_parts();
            let framed = peer.protocol == ClientProtocol::Http2;
            let mut response = exchange::serve(head.into(), Some(body), peer).await;
            if framed {
                response.headers_mut().detach();
            }
            Ok(response.into())
        }
    })
}
