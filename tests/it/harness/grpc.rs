//! A gRPC server that has nothing but `grpc.health.v1`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use super::pki;
use super::secure::{Io, accept};

/// What it answers, and what it was asked.
pub(crate) struct GrpcHealth {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    status: AtomicU8,
    asked: Mutex<Vec<Vec<u8>>>,
}

impl GrpcHealth {
    /// Serves on port zero, without TLS or with it, as SERVING.
    pub(crate) async fn start(tls: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { status: AtomicU8::new(1), asked: Mutex::default() });
        let tls = tls.then(|| pki::server(&["127.0.0.1"], &["h2"]));
        let serving = Arc::clone(&shared);
        super::spawn(accept(listener, tls, move |stream| serve(stream, Arc::clone(&serving))));
        Self { address, shared }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The serving status from now on: 1 is `SERVING`, 2 `NOT_SERVING`.
    pub(crate) fn status(&self, status: u8) {
        self.shared.status.store(status, Ordering::Relaxed);
    }

    /// The body of the latest question.
    pub(crate) fn last(&self) -> Vec<u8> {
        self.shared.asked.lock().unwrap().last().cloned().unwrap_or_default()
    }
}

async fn serve(stream: Box<dyn Io>, shared: Arc<Shared>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let shared = Arc::clone(&shared);
        async move {
            let path = request.uri().path().to_owned();
            let asked = request.into_body().collect().await.unwrap().to_bytes();
            shared.asked.lock().unwrap().push(asked.to_vec());
            let known = path == "/grpc.health.v1.Health/Check";
            let message = [0, 0, 0, 0, 2, 8, shared.status.load(Ordering::Relaxed)];
            let mut trailers = HeaderMap::new();
            let status = HeaderValue::from_static(if known { "0" } else { "12" });
            trailers.insert("grpc-status", status);
            let body = Full::new(Bytes::copy_from_slice(&message));
            let body = body.with_trailers(async move { Some(Ok(trailers)) });
            let answer = Response::builder().header("content-type", "application/grpc");
            Ok::<_, Infallible>(answer.body(body).unwrap())
        }
    });
    // Checks close their connection when they have their answer.
    let _ = http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
