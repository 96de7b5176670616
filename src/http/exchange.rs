//! One exchange from head to head: the whole story on one screen.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, ALLOW, CONNECTION, CONTENT_LENGTH, HeaderValue, LOCATION};
use http::{Method, StatusCode, Version};
use hyper::body::{Body as _, Incoming};

use crate::net::clock;
use crate::net::fields::Fields;
use crate::net::message::{RequestHead, Response};
use crate::net::pressure::{self, Level};
use crate::route;
use crate::snapshot::{Action, Listener, Page, Snapshot};
use crate::task;
use crate::telemetry::counters::ClientProtocol;
use crate::telemetry::reason::Reason;

use super::admit::{self, Admitted};
use super::asked::Asked;
use super::auth::{self, Admission};
use super::body::Body;
use super::failure::Failure;
use super::forward::{self, Way};
use super::grpc;
use super::header::client_cert;
use super::header::forwarded::{self, Client};
use super::header::http2;
use super::header::seen::Seen;
use super::local;
use super::peer::Peer;
use super::rate_limit;
use super::record::Record;
use super::respond;
use super::tunnel;
use super::upload::Progress;
use super::visitor;
use super::websocket;

/// Serves one request. Whatever happens, there is an answer, and a record of it. `body`: none where
/// it is known to have no content.
pub async fn serve(
    mut head: RequestHead,
    mut body: Option<Incoming>,
    peer: Arc<Peer>,
) -> Response<Body> {
    let number = peer.next_head();
    let Some((snapshot, index)) = local::snapshot_for(peer.listener) else {
        return stopping(&peer, head.headers.get(ACCEPT));
    };
    let extended = websocket::translate(&mut head, local::random);
    let accept = head.headers.get(ACCEPT).cloned();
    let head_only = head.method == Method::HEAD;
    let grpc = peer.protocol == ClientProtocol::Http2 && http2::is_grpc(&head.headers);
    let mut record = Record::begin(Arc::clone(&snapshot), Arc::clone(&peer), index, &head);
    let listener = snapshot.listeners.get(index).map(AsRef::as_ref);
    let refused = peer.handle.refused(number).map(Failure::from);
    let result = match (listener, refused) {
        (None, _) => Err(Reason::Internal.into()),
        (_, Some(refused)) => {
            record.refused();
            Err(refused)
        }
        (Some(listener), None) => {
            let here = (&**snapshot, listener);
            let timeout = if grpc { grpc::timeout(&head.headers) } else { None };
            let story = run(&mut head, &mut body, (&peer, timeout), here, &mut record);
            let result = task::catch(story).await.unwrap_or_else(|_| Err(Reason::Internal.into()));
            match result {
                Ok(response) if extended && !record.is_tunnel() => websocket::checked(response),
                other => other,
            }
        }
    };
    // Nobody has asked for it.
    let mut left = false;
    if let Some(body) = body.filter(|body| !body.is_end_stream()) {
        if peer.handle.is_framed() {
            record.upload = Some(Arc::new(Progress::unread(body)));
        } else {
            // hyper throws away what has come already, where that is one piece.
            left = body.size_hint().exact().is_none() || !peer.handle.is_whole(number);
        }
    }
    if record.request_id.is_none() {
        // No backend was to be asked, so nobody has named it yet.
        name(&mut record, &head.headers, trusts(listener, &peer));
    }
    let mut response = result.unwrap_or_else(|failure| {
        fail(&failure, (accept.as_ref(), grpc), (listener, &peer), &mut record)
    });
    if head_only {
        without_content(&mut response);
    }
    // It is answered before it was read to its end, so nothing can follow it: the client is told,
    // or it would send its next request into a connection that is being closed.
    let unread = left || record.upload.as_ref().is_some_and(|upload| !upload.ended());
    // HTTP/1.0 has no chunks, so the connection's end is the answer's.
    let endless = head.version == Version::HTTP_10 && response.body.size_hint().exact().is_none();
    if peer.protocol == ClientProtocol::Http1 && (unread || endless) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if head.version == Version::HTTP_10 && response.headers().contains_key(CONNECTION) {
        // To an answer of a later version hyper would add that the connection is kept.
        response.head.version = Version::HTTP_10;
    }
    carry(&mut response, record);
    response
}

/// Serves a request that is known to have no content.
pub fn serve_alone(
    head: RequestHead,
    peer: Arc<Peer>,
) -> impl Future<Output = Response<Body>> + Send {
    serve(head, None, peer)
}

/// Answers a head that was refused, where hyper has not been started for it.
/// `method`: what it seems to have been, GET or HEAD.
pub fn refuse(peer: &Arc<Peer>, method: &Method) -> Response<Body> {
    let number = peer.next_head();
    let Some((snapshot, index)) = local::snapshot_for(peer.listener) else {
        return stopping(peer, None);
    };
    let head = RequestHead::default();
    let mut record = Record::begin(Arc::clone(&snapshot), Arc::clone(peer), index, &head);
    let listener = snapshot.listeners.get(index).map(AsRef::as_ref);
    let refused = peer.handle.refused(number).map(Failure::from);
    let failure = refused.unwrap_or_else(|| Reason::Internal.into());
    name(&mut record, &head.headers, false);
    let mut response = fail(&failure, (None, false), (listener, peer), &mut record);
    if *method == Method::HEAD {
        without_content(&mut response);
    }
    carry(&mut response, record);
    response
}

/// Its listener has left the configuration, and this connection is being closed.
fn stopping(peer: &Peer, accept: Option<&HeaderValue>) -> Response<Body> {
    peer.handle.done(clock::now());
    Failure::from(Reason::Stopping).response(accept, false, None, b"")
}

fn trusts(listener: Option<&Listener>, peer: &Peer) -> bool {
    listener.is_some_and(|listener| listener.trusted.contains(peer.address.ip()))
}

fn name(record: &mut Record, headers: &Fields, believed: bool) {
    let (id, trace) = forward::identity(headers, believed, Seen::of(headers));
    (record.request_id, record.trace) = (Some(id), Some(trace));
}

/// The answer to a failure. Over HTTP/1 it says so where the connection ends with it.
fn fail(
    failure: &Failure,
    (accept, grpc): (Option<&HeaderValue>, bool),
    (listener, peer): (Option<&Listener>, &Peer),
    record: &mut Record,
) -> Response<Body> {
    record.fail(failure);
    match failure.reason {
        Reason::OverloadedMemory => peer.handle.shed(),
        // Over HTTP/1 its connection ends.
        Reason::HeaderTooLarge => peer.handle.turns().head_was_large(),
        _ => {}
    }
    let mut response = if grpc {
        grpc::answer(failure)
    } else {
        let id = record.request_id.as_ref().map(HeaderValue::as_bytes).unwrap_or_default();
        let page = page(listener, record, failure.status());
        failure.response(accept, trusts(listener, peer), page, id)
    };
    if let Some(id) = &record.request_id {
        // An answer to HEAD shows it nowhere else, nor does a page that leaves it out.
        response.headers_mut().insert(forward::X_REQUEST_ID, id.clone());
    }
    if grpc {
        return response;
    }
    let closes = failure.closes() || peer.handle.has_shed();
    if closes && peer.protocol == ClientProtocol::Http1 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// RFC 9110 §9.3.2; over HTTP/1 whoever writes it sees to it.
fn without_content(response: &mut Response<Body>) {
    if let Some(length) = response.body.full_length() {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
        response.body = Body::empty();
    }
}

/// The record ends with the answer's body.
fn carry(response: &mut Response<Body>, mut record: Box<Record>) {
    record.answer(response.status());
    if response.body.is_end_stream() {
        record.complete();
    }
    // A tunnel has a line of its own; its record ends with the 101.
    response.body.carry(record);
}

/// What the operator has for this failure: the route's pages go before the listener's.
fn page<'a>(
    listener: Option<&'a Listener>,
    record: &'a Record,
    status: StatusCode,
) -> Option<&'a Page> {
    let of_route = record.route().and_then(|route| route.error_pages.find(status));
    of_route.or_else(|| listener?.error_pages.find(status))
}

async fn run(
    head: &mut RequestHead,
    body: &mut Option<Incoming>,
    (peer, timeout): (&Arc<Peer>, Option<Duration>),
    (snapshot, listener): (&Snapshot, &Listener),
    record: &mut Record,
) -> Result<Response<Body>, Failure> {
    let seen = Seen::of(&head.headers);
    if seen.any(Seen::REPEATED) {
        forward::join_crumbs(&mut head.headers);
    }
    let tls = peer.tls.is_some();
    let client = forwarded::client(&head.headers, peer.address.ip(), tls, &listener.trusted);
    record.client = client.address;
    let shown = peer.tls.as_ref().and_then(|tls| tls.client_cert.as_ref());
    if shown.is_some() || seen.any(Seen::CLIENT_CERT) {
        // Before anything asks for it: routes and sessions go by what backends are told.
        let believed = listener.trusted.contains(peer.address.ip());
        client_cert::write(&mut head.headers, shown, (believed, seen));
    }
    let admitted = admit::check(head, seen, peer, listener)?;
    if let Some(plan) = &listener.redirect_https {
        return redirect(plan, head, &admitted, client);
    }
    let (host, path) = (admitted.host.as_deref(), admitted.path(head));
    let asked = route::Head {
        method: &head.method,
        headers: &head.headers,
        query: head.uri.query(),
        client: client.address,
    };
    let route = listener.routes.find(host, path, |conditions| conditions.meet(&asked));
    let Some(route) = route else {
        let others = listener.routes.conditions(host, path);
        let allowed = route::allowed(&asked, others.into_iter());
        return Err(allowed.map_or_else(|| Reason::NoRoute.into(), Failure::method_not_allowed));
    };
    record.routed(route);
    let level = pressure::level();
    if level == Level::Everybody {
        return Err(Reason::OverloadedMemory.into());
    }
    if route.access.as_ref().is_some_and(|access| !access.permits(client.address)) {
        return Err(Reason::Denied.into());
    }
    if let Some(limit) = &route.rate_limit {
        rate_limit::take(limit, head, client)?;
    }
    let total = route.timeouts.request.into_iter().chain(timeout).min();
    let way = Way { admitted: &admitted, seen, route, listener, peer, client };
    let granted = match &route.auth {
        None => None,
        Some(auth) => match auth::admit(auth, head, (snapshot, way, total), record).await? {
            Admission::In(granted) => Some(granted),
            Admission::Answer(response) => return Ok(response),
        },
    };
    if let Some(granted) = &granted {
        granted.write(&mut head.headers);
    }
    let limit = route.body_size.unwrap_or(listener.limits.body_size);
    if seen.any(Seen::CONTENT_LENGTH) && admit::too_large(head, limit) {
        return Err(Reason::BodyTooLarge.into());
    }
    let target = match &route.action {
        _ if admitted.last_hop => return Ok(own_options()),
        Action::Redirect(plan) => return redirect(plan, head, &admitted, client),
        Action::Respond(plan) => return Ok(respond::fixed(plan)),
        Action::Forward(target) => target,
    };
    let sticky = target.sticky().map(AsRef::as_ref);
    let alone = !listener.trusted.contains(peer.address.ip());
    let mut visitor = visitor::read(head, seen, sticky, peer, client, (record.now(), alone));
    let pool = target.choose(&visitor).ok_or(Reason::Internal)?;
    if let Some((on, _)) = &pool.hashing {
        visitor.key = visitor::key(&head.headers, &head.uri, on, client);
    }
    record.forwarded(pool);
    if level >= Level::Sessions && !pool.knows(&visitor) {
        return Err(Reason::OverloadedMemory.into());
    }
    let upgrade = admitted.websocket.then(|| tunnel::Upgrade::take(head, peer));
    let outbound = forward::prepare(head, body.take(), way, record);
    let waits = (route.timeouts.response_header, total);
    let (to, who) = ((target, &**pool), (visitor, alone));
    let mut asked = Asked::new(snapshot, to, sticky, way, waits, who, outbound);
    if let Some((granted, request)) = granted.zip(asked.outbound.request.as_mut()) {
        // Once more: a client may have named its fields in `Connection`.
        granted.write(&mut request.head.headers);
    }
    asked.leave_the_short(record);
    asked.answer(record, upgrade).await
}

fn redirect(
    plan: &route::action::RedirectPlan,
    head: &RequestHead,
    admitted: &Admitted,
    client: Client,
) -> Result<Response<Body>, Failure> {
    let host = match &admitted.host {
        Some(host) => &**host,
        None if plan.needs_host() => return Err(Failure::bad_request("host_missing")),
        None => "",
    };
    let path = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let scheme = if client.https { "https" } else { "http" };
    let location = HeaderValue::try_from(plan.location(scheme, host, path));
    let location = location.map_err(|_| Failure::bad_request("target_form"))?;
    let mut response = Response::new(Body::empty());
    response.head.status = plan.status();
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

/// RFC 9110 §7.6.2: `Max-Forwards: 0` makes us the one that answers.
fn own_options() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    response.head.status = StatusCode::NO_CONTENT;
    let allow = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    response.headers_mut().insert(ALLOW, allow);
    response
}
