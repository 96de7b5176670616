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
