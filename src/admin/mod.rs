//! The metrics listener, the admin socket and the API over TCP: probes, pages to read, and
//! changes as events.

mod access;
mod action;
mod answer;
mod api;
mod cluster;
mod explain;
mod exposition;
pub mod facts;
mod peers;
mod probe;
mod problems;
mod ready;
mod server;
mod sessions;
pub mod socket;
mod status;
pub mod tcp;
#[cfg(test)]
mod tests;
mod token;
pub mod view;
mod watch;

use std::net::TcpListener;
use std::sync::Arc;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;

use crate::event;
use access::Caller;
use answer::Answer;
use api::Api;
use exposition::Exposition;
use facts::Facts;
use socket::Socket;
use tcp::Tcp;

/// Connections of the metrics listener at once: scrapers and probes are few.
const METRICS_CONNECTIONS: usize = 64;
/// Connections of the socket at once: operators are fewer.
const SOCKET_CONNECTIONS: usize = 64;
/// Connections of the API over TCP at once: operators, peers, and what watches sessions.
const TCP_CONNECTIONS: usize = 64;

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
    let api = Arc::new(Api::new(facts, events, closing.clone()));
    let page =
        move |request, actor| api::answer(Arc::clone(&api), Caller::on_socket(actor), request);
    server::serve(SOCKET_CONNECTIONS, &closing, &listener, page).await;
}

/// Serves the same API over TCP, to those who bring a token of the configuration in force, until
/// `closing` is cancelled and running answers have gone out.
pub async fn serve_tcp(
    tcp: Tcp,
    facts: Arc<Facts>,
    events: event::Sender,
    closing: CancellationToken,
) {
    let door = match tcp.into_door(Arc::clone(&facts)) {
        Ok(door) => door,
        Err(error) => return tracing::error!(%error, "the API cannot be served over TCP"),
    };
    let api = Arc::new(Api::new(facts, events, closing.clone()));
    let page = move |request: Request<Incoming>, from| {
        let api = Arc::clone(&api);
        async move {
            let loaded = api.facts.loaded();
            match Caller::over_tcp(&loaded.model.admin.tokens, from, request.headers()) {
                Ok(caller) => api::answer(api, caller, request).await,
                Err(refused) => answer::problem(&refused),
            }
        }
    };
    server::serve(TCP_CONNECTIONS, &closing, &door, page).await;
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
