//! Backend head to client head, and the session's cookie.

use std::time::Duration;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, EXPIRES, HeaderValue, SET_COOKIE};
use http::{StatusCode, Version};

use crate::net::fields::Fields;
use crate::net::message::Response;
use crate::route::action::RespondPlan;
use crate::snapshot::choice::{self, Choice};
use crate::snapshot::{OnCacheable, Pool};
use crate::sticky::{Issue, Stickiness, count, explicit_freshness, is_publicly_cacheable};
use crate::telemetry::reason::Reason;

use super::attempt::Reply;
use super::body::{Body, Download};
use super::failure::Failure;
use super::header::hop;
use super::header::seen::Seen;
use super::local;
use super::record::Record;
use super::visitor;

/// What goes into an answer beside the backend's own.
#[derive(Debug)]
pub struct Shape<'a> {
    /// The pool that answered.
    pub pool: &'a Pool,
    /// How visitors are kept there.
    pub sticky: Option<&'a Stickiness>,
    /// Who it was and where they went.
    pub choice: &'a Choice,
    /// What the choice of the backend means for the visitor.
    pub issue: Issue,
    /// The pool of the route that the visitor had to leave, if it had one.
    pub moved_from: Option<&'a Pool>,
    /// Whether it is a CORS preflight, which says nothing about a session.
    pub preflight: bool,
    /// Whether a sibling has begun the session that this answer speaks of.
    pub joined: bool,
    /// Whether the client came by https.
    pub https: bool,
    /// Unix seconds.
    pub now: u32,
    /// Wait for progress of the body.
    pub body: Option<Duration>,
    /// What is left for the exchange as a whole.
    pub left: Option<Duration>,
}

/// Turns a backend's answer into the client's.
///
/// # Errors
/// For a change of protocol that nobody asked for.
pub fn build(
    mut reply: Reply,
    shape: &Shape<'_>,
    record: &mut Record,
) -> Result<Response<Body>, Failure> {
    if reply.response.status().is_informational() {
        return Err(Failure::because(Reason::BadResponse, "unsolicited_101"));
    }
    let headers = reply.response.headers();
    let seen = Seen::of(headers);
    if seen.any(Seen::KEEP_ALIVE)
        && let Some(seconds) = hop::keep_alive_timeout(headers)
    {
        reply.loan.learn_idle_time(Duration::from_secs(seconds));
    }
    let status = reply.response.status();
    let mut response = reply.response;
    hop::strip(response.headers_mut(), seen);
    // The backend's version never leaks; what is written is what the client understands.
    response.head.version = Version::HTTP_11;
    session(response.headers_mut(), status, shape, record);
    let (loan, in_flight, waits) = (reply.loan, reply.in_flight, (shape.body, shape.left));
    Ok(response.map(|answered| Body::backend(Download::new(answered, loan, in_flight, waits))))
}

/// An answer that the file has.
pub fn fixed(plan: &RespondPlan) -> Response<Body> {
    let mut response = Response::new(Body::full(plan.body.clone()));
    response.head.status = plan.status;
    if let Some(content_type) = &plan.content_type {
        response.headers_mut().insert(CONTENT_TYPE, content_type.clone());
    }
    response
}

/// A backend has answered: what that means for its visitor's session is written and remembered.
pub fn session(headers: &mut Fields, status: StatusCode, shape: &Shape<'_>, record: &mut Record) {
    let Some(sticky) = shape.sticky else { return };
    let written = bind(headers, status, sticky, shape);
    let holds = match shape.issue {
        // Where nothing has to be written, a backend that cannot serve is still nobody's home.
        Issue::Nothing => !shape.preflight && !unable(status),
        Issue::Refresh(_) => true,
        Issue::Bind(_) | Issue::Move(_) => written,
    };
    record.session(&shape.issue, written, shape.joined);
    let (pool, choice) = (shape.pool, shape.choice);
    let sessions = &pool.state.sessions;
    if let Issue::Bind(token) = shape.issue
        && written
    {
        record.begun(choice::Seen { session: token.session, member: choice.member });
    }
    if sticky.learns()
        && !unable(status)
        && let Some(made) = visitor::made(headers, sticky.by())
        && let Some(seat) = pool.members.get(choice.member).and_then(|m| m.seat.as_deref())
    {
        sessions.note(made, seat, shape.now);
    }
    if !holds {
        if choice.evens_out {
            pool.state.give_move_back();
        }
        return;
    }
    let Some(seen) = choice.seen else { return };
    // Of several requests that brought the old cookie one has moved the visitor.
    let first = !matches!(record.seen(seen), Some(count::Seen::Again { .. }));
    if !choice.moves() {
        return;
    }
    if let Some(left) = shape.moved_from {
        left.state.sessions.forget(seen.session);
    }
    if !first {
        record.moved_before();
        if choice.evens_out {
            pool.state.give_move_back();
        }
        return;
    }
    if let Some(left) = choice.sent_off.and_then(|index| pool.members.get(index)) {
        left.backend.state.drain.count_moved();
    }
}

/// A backend that cannot serve yet, or not any more, is nobody's home.
fn unable(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE)
}

/// Writes the session's cookie, if there is one to write and the answer may carry it.
pub fn bind(
    headers: &mut Fields,
    status: StatusCode,
    sticky: &Stickiness,
    shape: &Shape<'_>,
) -> bool {
    let Some(token) = shape.issue.token() else { return false };
    // RFC 9111 §4.3.4: a 304 updates what caches have stored.
    if status == StatusCode::NOT_MODIFIED {
        return false;
    }
    if unable(status) && matches!(shape.issue, Issue::Bind(_) | Issue::Move(_)) {
        return false;
    }
    let cache_control = || headers.get_all(CACHE_CONTROL).map(HeaderValue::as_bytes);
    let public = is_publicly_cacheable(cache_control());
    if public && sticky.on_cacheable() == OnCacheable::Skip {
        return false;
    }
    let private = sticky.on_cacheable() == OnCacheable::Private
        || !explicit_freshness(cache_control(), headers.contains_key(EXPIRES));
    let cookie = sticky.set_cookie(token, shape.https, local::nonce());
    let Ok(cookie) = HeaderValue::from_maybe_shared(bytes::Bytes::from(cookie)) else {
        return false;
    };
    headers.append(SET_COOKIE, cookie);
    if private {
        make_private(headers);
    }
    true
}

/// Shared caches must not hand one visitor's cookie to another.
fn make_private(headers: &mut Fields) {
    let has = |word: &str| hop::has_token(headers, CACHE_CONTROL, word);
    if has("private") || has("no-store") {
        return;
    }
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("private"));
        return;
    }
    let mut kept = String::from("private");
    for value in headers.get_all(CACHE_CONTROL) {
        for directive in value.to_str().unwrap_or_default().split(',').map(str::trim) {
            let name = directive.split('=').next().unwrap_or_default().trim();
            let contrary =
                ["public", "s-maxage"].iter().any(|word| name.eq_ignore_ascii_case(word));
            if !contrary && !directive.is_empty() {
                kept.push_str(", ");
                kept.push_str(directive);
            }
        }
    }
    if let Ok(value) = HeaderValue::try_from(kept) {
        headers.insert(CACHE_CONTROL, value);
    }
}
