//! An origin that speaks HTTP/2 alone, frame by frame where a story wants it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};

use super::pki;
use super::secure::{Io, accept};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Arrived {
    pub(crate) method: String,
    /// With scheme and authority.
    pub(crate) uri: String,
    pub(crate) headers: HeaderMap,
    /// Which of its connections it came by, from 0.
    pub(crate) connection: usize,
}

struct Shared {
    name: String,
    most: u32,
    arrived: Mutex<Vec<Arrived>>,
    connections: AtomicUsize,
    /// So many of the next streams are refused.
    refuse: AtomicUsize,
    /// Streams that the other side reset.
    cancelled: AtomicUsize,
    healthy: AtomicBool,
    gate: watch::Sender<bool>,
    leave: Notify,
}

/// One of them, on a port of its own.
pub(crate) struct Http2Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: tokio::task::JoinHandle<()>,
}

impl Http2Origin {
    /// Serves without TLS.
    pub(crate) async fn start(name: &str) -> Self {
        Self::limited(name, 100).await
    }

    /// Serves without TLS, and so many streams a connection.
    pub(crate) async fn limited(name: &str, most: u32) -> Self {
        Self::serve(name, most, None).await
    }

    /// Serves over TLS, by these protocols.
    pub(crate) async fn secure(name: &str, protocols: &[&str]) -> Self {
        Self::serve(name, 100, Some(pki::server(&["127.0.0.1"], protocols))).await
    }

    async fn serve(name: &str, most: u32, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            most,
            arrived: Mutex::default(),
            connections: AtomicUsize::new(0),
            refuse: AtomicUsize::new(0),
            cancelled: AtomicUsize::new(0),
            healthy: AtomicBool::new(true),
            gate: watch::Sender::new(false),
            leave: Notify::new(),
        });
        let accepted = Arc::clone(&shared);
        let serve = move |stream| connection(stream, Arc::clone(&accepted));
        let serving = super::spawn(accept(listener, tls, serve));
        Self { address, shared, serving }
    }

    /// As a pool has it.
    pub(crate) fn backend(&self) -> String {
        format!("{{ id = \"{}\", address = \"{}\" }}", self.shared.name, self.address)
    }

    /// Requests so far, health checks apart.
    pub(crate) fn arrived(&self) -> Vec<Arrived> {
        self.shared.arrived.lock().unwrap().clone()
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Streams that were given up by the other side.
    pub(crate) fn cancelled(&self) -> usize {
        self.shared.cancelled.load(Ordering::Relaxed)
    }

    /// Refuses so many of the next streams.
    pub(crate) fn refuse(&self, streams: usize) {
        self.shared.refuse.store(streams, Ordering::Relaxed);
    }

    /// Makes `/healthz` pass or fail.
    pub(crate) fn healthy(&self, healthy: bool) {
        self.shared.healthy.store(healthy, Ordering::Relaxed);
    }

    /// Lets go what waits in `/gate`.
    pub(crate) fn open_gate(&self) {
        self.shared.gate.send_replace(true);
    }

    /// Says GOAWAY on every open connection, and ends each with its last stream.
    pub(crate) fn leave(&self) {
        self.shared.leave.notify_waiters();
    }
}

impl Drop for Http2Origin {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn connection(stream: Box<dyn Io>, shared: Arc<Shared>) {
    let mut builder = server::Builder::new();
    let handshake = builder.max_concurrent_streams(shared.most).handshake(stream);
    let Ok(mut connection) = handshake.await else { return };
    let mut number = None;
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            () = shared.leave.notified() => {
                connection.graceful_shutdown();
                continue;
            }
        };
        let Some(Ok((request, mut respond))) = accepted else { break };
        if request.uri().path() == "/healthz" {
            let status = if shared.healthy.load(Ordering::Relaxed) { 200 } else { 503 };
            let answer = Response::builder().status(status).body(()).unwrap();
            let _ = respond.send_response(answer, true);
            continue;
        }
        // Those of checks do not count.
        let number =
            *number.get_or_insert_with(|| shared.connections.fetch_add(1, Ordering::Relaxed));
        let refused = shared
            .refuse
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if refused.is_ok() {
            respond.send_reset(Reason::REFUSED_STREAM);
            continue;
        }
        super::spawn(exchange(request, respond, number, Arc::clone(&shared)));
    }
}

async fn exchange(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    connection: usize,
    shared: Arc<Shared>,
) {
    let (head, mut body) = request.into_parts();
    shared.arrived.lock().unwrap().push(Arrived {
        method: head.method.to_string(),
        uri: head.uri.to_string(),
        headers: head.headers,
        connection,
    });
    let mut length = 0;
    while let Some(Ok(data)) = body.data().await {
        length += data.len();
        let _ = body.flow_control().release_capacity(data.len());
    }
    if head.uri.path() == "/gate" {
        let mut gate = shared.gate.subscribe();
        tokio::select! {
            _ = gate.wait_for(|open| *open) => {}
            _ = std::future::poll_fn(|cx| respond.poll_reset(cx)) => {
                shared.cancelled.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
    }
    let answer = Response::builder().header("content-type", "application/json");
    let Ok(mut stream) = respond.send_response(answer.body(()).unwrap(), false) else { return };
    if head.uri.path() == "/cut" {
        let _ = stream.send_data(Bytes::from_static(b"half of "), false);
        // The way that some servers say that they are tired of a stream.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        stream.send_reset(Reason::CANCEL);
        return;
    }
    let text = format!("{{\"name\":\"{}\",\"length\":{length}}}", shared.name);
    let _ = stream.send_data(text.into(), false);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let _ = stream.send_trailers(trailers);
}
