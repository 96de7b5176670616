//! Pages of the API under `/api/v1/`: what can be read, and where changes go.

use std::sync::Arc;

use http::{Method, Request};
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::access::Caller;
use super::action;
use super::answer::{self, Answer};
use super::cluster;
use super::explain;
use super::facts::{Facts, lock};
use super::peers::Client;
use super::probe;
use super::sessions::{self, Filter};
use super::status;
use super::token;
use super::watch;
use crate::event::{self, Actor, MarkTarget};

/// Streams of events at once on one listener: they must not take every place for connections.
const STREAMS: usize = 32;
/// Probes at once on one listener: each is a connection to a backend.
const PROBES: usize = 8;

/// What the pages of one listener are made with.
pub(super) struct Api {
    pub(super) facts: Arc<Facts>,
    pub(super) events: event::Sender,
    /// Cancelled at the end of the process.
    pub(super) closing: CancellationToken,
    pub(super) client: Client,
    /// A place for each stream.
    pub(super) streams: Arc<Semaphore>,
    /// A place for each probe.
    pub(super) probes: Semaphore,
}

impl Api {
    pub(super) fn new(
        facts: Arc<Facts>,
        events: event::Sender,
        closing: CancellationToken,
    ) -> Self {
        let (client, streams) = (Client::default(), Arc::new(Semaphore::new(STREAMS)));
        let probes = Semaphore::new(PROBES);
        Self { facts, events, closing, client, streams, probes }
    }
}

/// Answers one request.
pub(super) async fn answer(api: Arc<Api>, caller: Caller, request: Request<Incoming>) -> Answer {
    if let Err(refused) = caller.may(request.method()) {
        return answer::problem(&refused);
    }
    let (events, actor) = (&api.events, caller.actor.clone());
    let path = request.uri().path().to_owned();
    let query = request.uri().query().map(str::to_owned);
    let query = query.as_deref();
    let method = request.method().clone();
    let pages: Vec<&str> = match path.strip_prefix("/api/v1/") {
        Some(rest) => rest.split('/').collect(),
        None => Vec::new(),
    };
    match (&method, pages.as_slice()) {
        (&Method::POST, ["reload"]) => action::reload(events, actor).await,
        (&Method::POST, ["stop"]) => action::stop(events, actor).await,
        (&Method::POST, [page @ ("token" | "explain")]) => {
            let made = async {
                caller.must_be_local()?;
                let body = action::read(request.into_body()).await?;
                match *page {
                    "token" => token::make(&api.facts, &actor, &body),
                    _ => explain::explain(&api.facts, &body),
                }
            };
            answer::outcome(made.await)
        }
        (&Method::POST, ["pools", pool, "backends", backend, "probe"]) => {
            answer::outcome(probe::probe(&api, pool, backend).await)
        }
        (&Method::PATCH, ["pools", pool, "backends", backend]) => {
            let target =
                MarkTarget::Backend { pool: (*pool).to_owned(), backend: (*backend).to_owned() };
            mark(&api, actor, Some(target), request).await
        }
        (&Method::PATCH, ["marks"]) => mark(&api, actor, None, request).await,
        (&Method::POST, ["pools", pool, "failback"]) => {
            let done = async {
                let pool = (*pool).to_owned();
                let body = action::read(request.into_body()).await?;
                action::failback(events, actor, &pool, &body).await
            };
            answer::outcome(done.await)
        }
        (
            _,
            ["reload" | "stop" | "token" | "explain"]
            | ["pools", _, "failback"]
            | ["pools", _, "backends", _, "probe"],
        ) => answer::not_allowed("POST"),
        (_, ["pools", _, "backends", _] | ["marks"]) if !looks(&method) => {
            answer::not_allowed("GET, HEAD, PATCH")
        }
        (&Method::GET | &Method::HEAD, ["cluster", "sessions"]) => {
            match cluster::sessions(&api, &Filter::of(query)).await {
                Ok(nodes) => answer::json(&nodes),
                Err(refused) => answer::problem(&refused),
            }
        }
        (&Method::GET, ["sessions", "events"]) => watch::stream(&api, Filter::of(query)),
        (&Method::GET | &Method::HEAD, pages) => read(&api.facts, pages, query),
        (_, ["cluster", "sessions"] | ["sessions", "events"]) => answer::not_allowed("GET, HEAD"),
        (_, pages) => {
            let there = read(&api.facts, pages, query).status().is_success();
            if there { answer::not_allowed("GET, HEAD") } else { not_found() }
        }
    }
}

fn looks(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Sets or lifts a mark, on all nodes where the query says `all_nodes=true`.
async fn mark(
    api: &Api,
    actor: Actor,
    target: Option<MarkTarget>,
    request: Request<Incoming>,
) -> Answer {
    let query = request.uri().query().unwrap_or_default();
    let everywhere = query.split('&').any(|pair| pair == "all_nodes=true");
    let page = request.uri().path().to_owned();
    let asked = async {
        let body = action::read(request.into_body()).await?;
        let change = action::change(&body, target)?;
        cluster::mark(api, actor, cluster::Asked { change, page, body }, everywhere).await
    };
    answer::outcome(asked.await)
}

fn read(facts: &Facts, pages: &[&str], query: Option<&str>) -> Answer {
    match pages {
        ["sessions"] => answer::json(&sessions::gather(facts, &Filter::of(query))),
        ["sessions", pool] => {
            let filter = Filter { pool: Some((*pool).to_owned()), ..Filter::of(query) };
            let shown = sessions::gather(facts, &filter);
            if shown.pools.is_empty() { not_found() } else { answer::json(&shown) }
        }
        ["status"] => answer::json(&status::gather(facts)),
        ["config"] => answer::json(&config(facts)),
        ["listeners"] => answer::json(&status::listeners(facts)),
        ["routes"] => answer::json(&status::routes(facts)),
        ["pools"] => answer::json(&status::pools(facts)),
        ["pools", pool] => match status::pool(facts, pool) {
            Some(pool) => answer::json(&pool),
            None => not_found(),
        },
        ["pools", pool, "backends", backend] => {
            let backends = status::pool(facts, pool).map(|pool| pool.backends);
            match backends.into_iter().flatten().find(|one| one.id == *backend) {
                Some(backend) => answer::json(&backend),
                None => not_found(),
            }
        }
        ["marks"] => answer::json(&facts.marks()),
        ["marks", "lifted"] => answer::json(&*lock(&facts.lifted)),
        ["certificates"] => answer::json(&status::certificates(facts)),
        _ => not_found(),
    }
}

/// The file in force with its defaults; secrets never leave.
fn config(facts: &Facts) -> serde_json::Value {
    let loaded = facts.loaded();
    json!({
        "file": facts.file.path(),
        "generation": facts.current.load().generation,
        "effective": crate::config::effective(&loaded),
        "warnings": loaded.report().to_json(),
    })
}

fn not_found() -> Answer {
    let pages = "there is status, config, listeners, routes, pools, pools/POOL, \
                 pools/POOL/backends/BACKEND, pools/POOL/backends/BACKEND/probe, \
                 pools/POOL/failback, marks, marks/lifted, sessions, sessions/POOL, \
                 sessions/events, cluster/sessions, certificates, explain, token, reload and stop";
    let mut refusal = answer::refusal(404, "there is no such page under /api/v1/");
    pages.clone_into(&mut refusal.detail);
    answer::problem(&refusal)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use http_body_util::BodyExt as _;
    use serde_json::Value;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixStream;
    use tokio::sync::mpsc;

    use super::super::socket::Socket;
    use super::super::tests::{admin, control, exchange, facts};
    use super::*;
    use crate::task;

    async fn ask(socket: &std::path::Path, method: &str, page: &str, body: &str) -> (u16, Value) {
        let stream = UnixStream::connect(socket).await.unwrap();
        let (status, _, page) = exchange(stream, &format!("{method} {page}"), "", body).await;
        (status, page)
    }

    #[test]
    fn pages_are_read_and_changes_are_events_of_who_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let socket = Socket::bind(Some(&path), &admin()).unwrap();
            let mode = std::fs::metadata(socket.path()).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let closing = socket.closing();
            let (events, received) = mpsc::channel(4);
            let control = task::spawn("control", control(received));
            let serving = super::super::serve_socket(socket, Arc::new(facts()), events);
            let serving = task::spawn("serving", serving);

            let (status, page) = ask(&path, "GET", "status", "").await;
            assert_eq!((status, &page["phase"]), (200, &json!("serving")));
            let (_, page) = ask(&path, "GET", "config", "").await;
            assert!(page["effective"].as_str().unwrap().contains("least-request"), "{page}");
            let (_, page) = ask(&path, "GET", "pools/shop/backends/b", "").await;
            assert_eq!(page["address"], "127.0.0.1:2");
            for (method, page, status) in [
                ("GET", "pools/none", 404),
                ("GET", "sessions", 200),
                ("GET", "sessions/none", 404),
                ("POST", "sessions/events", 405),
                ("DELETE", "cluster/sessions", 405),
                ("DELETE", "status", 405),
                ("GET", "reload", 405),
                ("GET", "pools/shop/backends/a/probe", 405),
                ("POST", "pools/shop/backends/none/probe", 404),
                ("POST", "pools/none/backends/a/probe", 404),
                ("PUT", "marks", 405),
                ("POST", "reload", 200),
            ] {
                assert_eq!(ask(&path, method, page, "").await.0, status, "{method} {page}");
            }
            let backend = "pools/shop/backends/a";
            let (status, page) = ask(&path, "PATCH", backend, r#"{"state": "drain"}"#).await;
            assert!(status == 200 && page["target"].as_str().unwrap().contains("shop"), "{page}");
            assert!(page["who"].as_str().unwrap().starts_with("uid "), "{page}");
            assert_eq!((&page["node"], &page["nodes"]), (&json!("one"), &Value::Null));
            let (_, page) = ask(&path, "PATCH", backend, r#"{"unmark": true}"#).await;
            assert!(page["who"].is_string(), "{page}");
            let (_, page) = ask(&path, "GET", "marks/lifted", "").await;
            assert_eq!((&page[0]["pool"], &page[0]["backend"]), (&json!("shop"), &json!("a")));
            let (status, page) = ask(&path, "PATCH", backend, r#"{"state": "maint"}"#).await;
            assert_eq!((status, &page["title"]), (409, &json!("this would empty shop")));
            let large = format!("{{\"reason\": \"{}\"}}", "x".repeat(70_000));
            assert_eq!(ask(&path, "PATCH", backend, &large).await.0, 413);
            // The stand-in goes away without an answer.
            assert_eq!(ask(&path, "POST", "stop", "").await.0, 503);
            control.await.unwrap();
            closing.cancel();
            serving.await.unwrap();
        });
        assert!(!path.exists());
    }

    #[test]
    fn a_stream_begins_with_what_is_and_ends_with_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let socket = Socket::bind(Some(&path), &admin()).unwrap();
            let closing = socket.closing();
            let (events, _received) = mpsc::channel(4);
            let serving = super::super::serve_socket(socket, Arc::new(facts()), events);
            let serving = task::spawn("serving", serving);
            let mut stream = UnixStream::connect(&path).await.unwrap();
            let request = "GET /api/v1/sessions/events?pool=shop HTTP/1.1\r\nHost: a\r\n\r\n";
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut text = String::new();
            while !text.contains("\n\n\r\n") {
                let mut bytes = [0; 4096];
                let length = stream.read(&mut bytes).await.unwrap();
                assert!(length > 0, "{text}");
                text.push_str(std::str::from_utf8(&bytes[..length]).unwrap());
            }
            assert!(text.contains("content-type: text/event-stream"), "{text}");
            assert!(text.contains("event: sessions\ndata: {\"node\":\"one\""), "{text}");
            closing.cancel();
            stream.read_to_string(&mut text).await.unwrap();
            assert!(text.ends_with("0\r\n\r\n"), "it ends in good order: {text}");
            serving.await.unwrap();
        });
    }

    #[test]
    fn secrets_never_leave_by_the_page_of_the_configuration() {
        let answer = read(&facts(), &["config"], None);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let bytes = runtime.block_on(answer.into_body().collect()).unwrap().to_bytes();
        let key = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
        assert!(!String::from_utf8_lossy(&bytes).contains(key));
    }
}
