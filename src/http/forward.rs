//! Inbound head to outbound head: what a backend is sent.

use std::sync::Arc;

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE,
    VIA,
};
use http::uri::PathAndQuery;
use http::{Method, Uri};
use hyper::body::{Body as _, Incoming};

use crate::net::fields::Fields;
use crate::net::message::{Request, RequestHead};
use crate::net::wire::Handle;
use crate::snapshot::{Listener, Member, Pool, Route};
use crate::sticky::{Stickiness, cookie};
use crate::telemetry::trace_context::{TraceContext, request_id, valid_request_id};

use super::admit::Admitted;
use super::header::forwarded::{self, Client};
use super::header::hop;
use super::header::http2;
use super::header::seen::Seen;
use super::local;
use super::peer::Peer;
use super::record::Record;
use super::upload::{Progress, RequestBody, Upload};

/// By which an exchange is known here, at the backend and in the log.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// A request on its way, for as many attempts as it takes.
#[derive(Debug)]
pub struct Outbound {
    /// The request, before the first attempt takes it.
    pub(super) request: Option<Request<RequestBody>>,
    /// Whether a repetition after sending could be right: the connection then keeps the head.
    pub(super) repeatable: bool,
    /// It is lost with a connection that its backend has closed while it was idle.
    pub(super) only_once: bool,
    /// The head as the last attempt wrote it.
    pub(super) written: Vec<u8>,
    /// The head, where it goes out over HTTP/2, which writes none that could be read back.
    pub(super) kept: Option<Box<(Uri, Fields)>>,
    /// Its body.
    pub(super) upload: Option<Arc<Progress>>,
    /// The client's connection.
    pub(super) wire: Arc<Handle>,
    /// Limit and wait of the body, for a repetition.
    pub(super) limits: (Option<u64>, Option<std::time::Duration>),
    /// The method decides about repetitions.
    pub method: Method,
    /// A CORS preflight: it carries no cookies and binds nobody.
    pub preflight: bool,
}

impl Outbound {
    /// The request for the next attempt.
    pub(super) fn take(&mut self) -> Option<Request<RequestBody>> {
        if let Some(request) = self.request.take() {
            return Some(request);
        }
        let (uri, headers) = match &self.kept {
            Some(kept) => (**kept).clone(),
            None => read_back(&std::mem::take(&mut self.written), &self.method)?,
        };
        let body = match &self.upload {
            None => RequestBody::Empty,
            Some(progress) => {
                let (limit, timeout) = self.limits;
                let incoming = progress.recover()?;
                let (progress, wire) = (Arc::clone(progress), Arc::clone(&self.wire));
                RequestBody::Streaming(Box::new(Upload::new(
                    incoming, progress, wire, limit, timeout,
                )))
            }
        };
        let method = self.method.clone();
        let head = RequestHead { method, uri, headers, ..RequestHead::default() };
        Some(Request { head, body })
    }

    /// The same for an attempt beside the first; none where it was sent before or has a body.
    pub(super) fn copy(&self) -> Option<Self> {
        let whole = self.request.as_ref().filter(|_| self.upload.is_none())?;
        let head = RequestHead {
            method: whole.head.method.clone(),
            uri: whole.head.uri.clone(),
            headers: whole.head.headers.clone(),
            ..RequestHead::default()
        };
        Some(Self {
            request: Some(Request { head, body: RequestBody::Empty }),
            written: Vec::new(),
            upload: None,
            wire: Arc::clone(&self.wire),
            method: self.method.clone(),
            kept: None,
            ..*self
        })
    }

    /// The same as this pool's backends are spoken to.
    pub(super) fn take_for(
        &mut self,
        pool: &Pool,
        member: &Member,
    ) -> Option<Request<RequestBody>> {
        let mut request = self.take()?;
        if pool.http2 {
            if self.kept.is_none() {
                self.kept =
                    Some(Box::new((request.head.uri.clone(), request.head.headers.clone())));
            }
            http2::write(&mut request, pool.tls.is_some(), &member.host);
        }
        Some(request)
    }

    /// Whether nothing of the body was taken (or there is none).
    pub fn untouched(&self) -> bool {
        self.upload.as_ref().is_none_or(|upload| upload.bytes() == 0 && !upload.ended())
    }
}

/// Target and fields of a head that we have written: cheaper for the one request in thousands that
/// is repeated than a copy of every head would be.
fn read_back(written: &[u8], method: &Method) -> Option<(Uri, Fields)> {
    let lines = memchr::memchr_iter(b'\n', written).count();
    let mut fields = vec![httparse::EMPTY_HEADER; lines];
    let mut head = httparse::Request::new(&mut fields);
    head.parse(written).ok().filter(httparse::Status::is_complete)?;
    if head.method != Some(method.as_str()) {
        return None;
    }
    let uri = head.path?.parse().ok()?;
    let mut headers = Fields::with_capacity(head.headers.len());
    for field in head.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        if name == TRANSFER_ENCODING {
            // It is told by the body anew.
            continue;
        }
        headers.append(name, HeaderValue::from_bytes(field.value).ok()?);
    }
    Some((uri, headers))
}

/// What decides about a request on its way.
#[derive(Debug, Clone, Copy)]
pub struct Way<'a> {
    /// What it asks for.
    pub admitted: &'a Admitted,
    /// Which fields it has.
    pub seen: Seen,
    /// Where it goes.
    pub route: &'a Route,
    /// Where it came in.
    pub listener: &'a Listener,
    /// From whom.
    pub peer: &'a Arc<Peer>,
    /// For whom.
    pub client: Client,
}

/// Turns an admitted request into what a backend is sent. Fields and target are taken out of the
/// head.
pub fn prepare(
    head: &mut RequestHead,
    body: Option<Incoming>,
    way: Way<'_>,
    record: &mut Record,
) -> Outbound {
    let Way { admitted, seen, route, listener, peer, .. } = way;
    let mut headers = std::mem::take(&mut head.headers);
    address(&mut headers, head, way, record);
    if admitted.websocket {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    let timeout = route.timeouts.body.unwrap_or(listener.timeouts.body);
    let limit = route.body_size.unwrap_or(listener.limits.body_size);
    let (mut upload, mut sent) = (None, RequestBody::Empty);
    // A client's `Content-Length: 0` stays; nothing else says anything about an empty body.
    if let Some(body) = body.filter(|body| !body.is_end_stream()) {
        // Framing is derived from the body at hand, and written anew.
        if body.size_hint().exact().is_none() {
            headers.remove(CONTENT_LENGTH);
        }
        let progress = Arc::new(Progress::default());
        record.upload = Some(Arc::clone(&progress));
        let wire = Arc::clone(&peer.handle);
        upload = Some(Arc::clone(&progress));
        sent = RequestBody::Streaming(Box::new(Upload::new(body, progress, wire, limit, timeout)));
    }
    let method = head.method.clone();
    let repeatable = route.retry.tries > 1
        && matches!(
            method,
            Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE
        );
    let uri = origin_form(std::mem::take(&mut head.uri));
    let whole = RequestHead { method: method.clone(), uri, headers, ..RequestHead::default() };
    Outbound {
        preflight: method == Method::OPTIONS && seen.any(Seen::PREFLIGHT),
        request: Some(Request { head: whole, body: sent }),
        repeatable,
        only_once: !repeatable || !route.retry.stale || upload.is_some(),
        written: Vec::new(),
        kept: None,
        upload,
        wire: Arc::clone(&peer.handle),
        limits: (limit, timeout),
        method,
    }
}

/// Writes what every backend is told beside the client's own words: who it is for, what it is
/// called, and which way it came. `head`: the client's, whose fields may be somewhere else by now.
pub(super) fn address(headers: &mut Fields, head: &RequestHead, way: Way<'_>, record: &mut Record) {
    let Way { admitted, seen, listener, peer, client, .. } = way;
    let believed = listener.trusted.contains(peer.address.ip());
    hop::strip(headers, seen);
    let host = admitted.authority.as_ref();
    forwarded::write(headers, &peer.address_value, client.https, host, (believed, seen));
    // RFC 9112 §3.2: a request without an authority is sent on with an empty Host.
    match host {
        // It is there already, unless the authority came in the target.
        Some(_) if head.uri.authority().is_none() => {}
        host => {
            let host = host.cloned().unwrap_or_else(|| HeaderValue::from_static(""));
            headers.insert(HOST, host);
        }
    }
    headers.append(VIA, local::via(head.version));
    identify(headers, believed, seen, record);
}

/// RFC 9112 §3.2.1: backends are sent path and query, as they came.
fn origin_form(uri: Uri) -> Uri {
    if uri.scheme().is_none() && uri.authority().is_none() {
        return uri;
    }
    let path = uri.into_parts().path_and_query;
    let path = path.filter(|path| !path.as_str().is_empty());
    let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
    if !path.as_str().starts_with('?') {
        return Uri::from(path);
    }
    // It has come with an authority and no path, which is a `/`.
    PathAndQuery::try_from(format!("/{}", path.as_str()))
        .map_or_else(|_| Uri::from(path), Uri::from)
}

/// Names the request to the backend as the log has it. A stranger's own names for it go, in any
/// spelling.
fn identify(headers: &mut Fields, believed: bool, seen: Seen, record: &mut Record) {
    if !believed && seen.any(Seen::TRACESTATE) {
        headers.remove(TRACESTATE);
    }
    if !believed && seen.any(Seen::REQUEST_ID) {
        headers.retain(|name| !forwarded::is_request_id(name));
    }
    let (id, trace) = match (record.request_id.take(), record.trace.take()) {
        // Whoever was asked about it knows it by this name.
        (Some(id), Some(trace)) => (id, trace),
        _ => identity(headers, believed, seen),
    };
    for (name, value, there) in
        [(X_REQUEST_ID, &id, Seen::REQUEST_ID), (TRACEPARENT, &trace, Seen::TRACEPARENT)]
    {
        if seen.any(there) {
            headers.insert(name, value.clone());
        } else {
            debug_assert!(!headers.contains_key(&name), "{name}");
            headers.append(name, value.clone());
        }
    }
    record.request_id = Some(id);
    record.trace = Some(trace);
}

/// `X-Request-Id` and `traceparent`: kept from trusted sources, made otherwise.
pub(super) fn identity(headers: &Fields, believed: bool, seen: Seen) -> (HeaderValue, HeaderValue) {
    let mut id = None;
    let mut trace = None;
    if believed && seen.any(Seen::REQUEST_ID) {
        id = headers.get(X_REQUEST_ID).filter(|id| valid_request_id(id.as_bytes())).cloned();
    }
    if believed && seen.any(Seen::TRACEPARENT) {
        let value = headers.get(TRACEPARENT);
        trace = value.and_then(|trace| TraceContext::parse(trace.as_bytes()));
    }
    // Both are made of it, and are the same where neither was brought: no trace is 0.
    let [high, low, span] = local::randoms();
    let random = u128::from(high) << 64 | u128::from(low) | 1;
    let span = span | 1;
    let trace = match trace {
        Some(trace) => trace.child(span),
        None => TraceContext::new(random, span, false),
    };
    let (made, trace) = local::values(&request_id(random), &trace.write());
    (id.unwrap_or(made), trace)
}

/// Joins HTTP/2's cookie crumbs (RFC 9113 §8.2.3) before anything reads them.
pub fn join_crumbs(headers: &mut Fields) {
    if headers.get_all(COOKIE).nth(1).is_none() {
        return;
    }
    let joined = cookie::join(headers.get_all(COOKIE).map(HeaderValue::as_bytes));
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(COOKIE, joined);
    }
}

/// Takes our cookies out of what the backend sees; the others stay byte for byte.
pub fn hide_cookies(headers: &mut Fields, sticky: Option<&Stickiness>) {
    let ours = |name: &[u8]| {
        cookie::is_ours(name, &[])
            || sticky.is_some_and(|sticky| {
                name == sticky.name(true).as_bytes() || name == sticky.name(false).as_bytes()
            })
    };
    let Some(field) = headers.get(COOKIE) else { return };
    match cookie::strip(field.as_bytes(), ours) {
        cookie::Stripped::Unchanged => {}
        cookie::Stripped::Empty => {
            headers.remove(COOKIE);
        }
        cookie::Stripped::Rewritten(rest) => {
            match HeaderValue::from_maybe_shared(bytes::Bytes::from(rest)) {
                Ok(rest) => {
                    headers.insert(COOKIE, rest);
                }
                Err(_) => {
                    headers.remove(COOKIE);
                }
            }
        }
    }
}
