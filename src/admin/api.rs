//! Pages of the API under `/api/v1/`: what can be read, and where changes go.

use std::sync::Arc;

use http::{Method, Request};
use hyper::body::Incoming;
use serde_json::json;

use super::action;
use super::answer::{self, Answer};
use super::facts::Facts;
use super::status;
use crate::event::{self, Actor, MarkTarget};

/// Answers one request of somebody on the socket.
pub(super) async fn answer(
    facts: Arc<Facts>,
    events: event::Sender,
    actor: Actor,
    request: Request<Incoming>,
) -> Answer {
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    let pages: Vec<&str> = match path.strip_prefix("/api/v1/") {
        Some(rest) => rest.split('/').collect(),
        None => Vec::new(),
    };
    match (&method, pages.as_slice()) {
        (&Method::POST, ["reload"]) => action::reload(&events, actor).await,
        (&Method::POST, ["stop"]) => action::stop(&events, actor).await,
        (_, ["reload" | "stop"]) => answer::not_allowed("POST"),
        (&Method::PATCH, ["pools", pool, "backends", backend]) => {
            let target =
                MarkTarget::Backend { pool: (*pool).to_owned(), backend: (*backend).to_owned() };
            action::mark(&events, actor, Some(target), request.into_body()).await
        }
        (&Method::PATCH, ["marks"]) => {
            action::mark(&events, actor, None, request.into_body()).await
        }
        (&Method::GET | &Method::HEAD, pages) => read(&facts, pages),
        (_, ["pools", _, "backends", _] | ["marks"]) => answer::not_allowed("GET, HEAD, PATCH"),
        (_, pages) => {
            let there = read(&facts, pages).status().is_success();
            if there { answer::not_allowed("GET, HEAD") } else { not_found() }
        }
    }
}

fn read(facts: &Facts, pages: &[&str]) -> Answer {
    match pages {
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
                 pools/POOL/backends/BACKEND, marks, certificates, reload and stop";
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
    use super::super::tests::{admin, facts};
    use super::*;
    use crate::event::{Event, MarkAction};
    use crate::task;

    /// Status and body of one answer, asked for over a real socket.
    async fn ask(socket: &std::path::Path, method: &str, page: &str, body: &str) -> (u16, Value) {
        let mut stream = UnixStream::connect(socket).await.unwrap();
        let length = body.len();
        let request = format!(
            "{method} /api/v1/{page} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_default())
    }

    /// Stands in for the control thread.
    async fn control(mut events: mpsc::Receiver<Event>) {
        while let Some(event) = events.recv().await {
            match event {
                Event::Mark { change, actor, reply } => {
                    assert!(actor.0.starts_with("uid "), "{actor:?}");
                    let answer = match change.action {
                        MarkAction::Maint => Err(answer::refusal(409, "this would empty shop")),
                        _ => Ok(json!({"marks": [], "target": format!("{:?}", change.target)})),
                    };
                    drop(reply.send(answer));
                }
                Event::Reload { reply: Some(reply), .. } => {
                    drop(reply.send(Ok(json!({"generation": 2}))));
                }
                _ => return,
            }
        }
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
                ("GET", "sessions", 404),
                ("DELETE", "status", 405),
                ("GET", "reload", 405),
                ("PUT", "marks", 405),
                ("POST", "reload", 200),
            ] {
                assert_eq!(ask(&path, method, page, "").await.0, status, "{method} {page}");
            }
            let backend = "pools/shop/backends/a";
            let (status, page) = ask(&path, "PATCH", backend, r#"{"state": "drain"}"#).await;
            assert!(status == 200 && page["target"].as_str().unwrap().contains("shop"), "{page}");
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
    fn secrets_never_leave_by_the_page_of_the_configuration() {
        let answer = read(&facts(), &["config"]);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let bytes = runtime.block_on(answer.into_body().collect()).unwrap().to_bytes();
        let key = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
        assert!(!String::from_utf8_lossy(&bytes).contains(key));
    }
}
