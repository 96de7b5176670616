//! The metrics listener and the admin socket: probes, pages to read, and changes as events.

mod action;
mod answer;
mod api;
mod exposition;
pub mod facts;
mod problems;
mod ready;
mod server;
pub mod socket;
mod status;
#[cfg(test)]
mod tests;
pub mod view;

use std::net::TcpListener;
use std::sync::Arc;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;

use crate::event;
use answer::Answer;
use exposition::Exposition;
use facts::Facts;
use socket::Socket;

/// Connections of the metrics listener at once: scrapers and probes are few.
const METRICS_CONNECTIONS: usize = 64;
/// Connections of the socket at once: operators are fewer.
const SOCKET_CONNECTIONS: usize = 64;

/// Serves `/metrics`, `/livez` and `/readyz`, and nothing else, for as long as it is polled.
pub async fn serve_metrics(listener: TcpListener, facts: Arc<Facts>) {
    let made =
        listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(listener));
    let listener = match made {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "metrics cannot be served"),
    };
    let exposition = Arc::new(Exposition::new(Arc::clone(&facts)));
    let page = move |request: Request<Incoming>, ()| {
        std::future::ready(probe(request.method(), request.uri(), &facts, &exposition))
    };
    server::serve(METRICS_CONNECTIONS, &CancellationToken::new(), &listener, page).await;
}

/// Serves the API on the admin socket until [`Socket::closing`] is cancelled and running answers
/// have gone out; then the socket's file is removed. Who asks is known by the kernel's word
/// (`SO_PEERCRED`).
pub async fn serve_socket(socket: Socket, facts: Arc<Facts>, events: event::Sender) {
    let (listener, closing, _file) = match socket.into_parts() {
        Ok(parts) => parts,
        Err(error) => return tracing::error!(%error, "the admin socket cannot be served"),
    };
    let page =
        move |request, actor| api::answer(Arc::clone(&facts), events.clone(), actor, request);
    server::serve(SOCKET_CONNECTIONS, &closing, &listener, page).await;
}

fn probe(method: &Method, uri: &http::Uri, facts: &Facts, exposition: &Exposition) -> Answer {
    let known = matches!(uri.path(), "/metrics" | "/livez" | "/readyz");
    if !known {
        let text = "there is /metrics, /livez and /readyz[?pool=NAME]\n".to_owned();
        return answer::text(StatusCode::NOT_FOUND, text);
    }
    if method != Method::GET && method != Method::HEAD {
        return answer::not_allowed("GET, HEAD");
    }
    match uri.path() {
        "/metrics" => exposition.page(),
        "/livez" => answer::text(StatusCode::OK, "alive\n".to_owned()),
        _ => ready::page(facts, uri.query()),
    }
}
