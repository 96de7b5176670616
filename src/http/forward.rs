//! Inbound head to outbound head: what a backend is sent.

use std::sync::Arc;

use bytes::{BufMut as _, BytesMut};
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, UPGRADE, VIA,
};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Uri, Version};
use hyper::body::{Body as _, Incoming};

use crate::net::wire::Handle;
use crate::snapshot::{Listener, Route};
use crate::sticky::{Stickiness, cookie};
use crate::telemetry::trace_context::{TraceContext, request_id, valid_request_id};

use super::admit::Admitted;
use super::header::forwarded::{self, Client};
use super::header::hop;
use super::local;
use super::peer::Peer;
use super::record::Record;
use super::upload::{Progress, RequestBody, Upload};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A request on its way, for as many attempts as it takes.
#[derive(Debug)]
pub struct Outbound {
    /// The request; taken by an attempt, and given back by one that wrote nothing.
    pub(super) request: Option<Request<RequestBody>>,
    /// Its head once more, where a repetition after sending could be right.
    pub(super) spare: Option<Spare>,
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

#[derive(Debug)]
pub(super) struct Spare {
    uri: Uri,
    headers: HeaderMap,
}

impl Outbound {
    /// The request for the next attempt.
    pub(super) fn take(&mut self) -> Option<Request<RequestBody>> {
        if let Some(request) = self.request.take() {
            return Some(request);
        }
        let spare = self.spare.as_ref()?;
        let body = match &self.upload {
            None => RequestBody::Empty,
            Some(progress) => {
                let (limit, timeout) = self.limits;
                let incoming = progress.recover()?;
                let (progress, wire) = (Arc::clone(progress), Arc::clone(&self.wire));
                RequestBody::Streaming(Upload::new(incoming, progress, wire, limit, timeout))
            }
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = spare.uri.clone();
        *request.headers_mut() = spare.headers.clone();
        Some(request)
    }

    /// Whether nothing of the body was taken (or there is none).
    pub fn untouched(&self) -> bool {
        self.upload.as_ref().is_none_or(|upload| upload.bytes() == 0 && !upload.ended())
    }
}

/// What decides about a request on its way.
#[derive(Debug, Clone, Copy)]
pub struct Way<'a> {
    /// What it asks for.
    pub admitted: &'a Admitted,
    /// Where it goes.
    pub route: &'a Route,
    /// Where it came in.
    pub listener: &'a Listener,
    /// From whom.
    pub peer: &'a Peer,
    /// For whom.
    pub client: Client,
}

/// Turns an admitted request into what a backend is sent.
pub fn prepare(head: Parts, body: Incoming, way: Way<'_>, record: &mut Record) -> Outbound {
    let Way { admitted, route, listener, peer, client } = way;
    let Parts { method, uri, mut headers, version, .. } = head;
    let believed = listener.trusted.contains(peer.address.ip());
    hop::strip(&mut headers);
    let host = admitted.authority.as_ref();
    forwarded::write(&mut headers, &peer.address_value, client.https, host, believed);
    // RFC 9112 §3.2: a request without an authority is sent on with an empty Host.
    headers.insert(HOST, host.cloned().unwrap_or_else(|| HeaderValue::from_static("")));
    headers.append(VIA, via(version));
    identify(&mut headers, believed, record);
    if admitted.websocket {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    let timeout = route.timeouts.body.unwrap_or(listener.timeouts.body);
    let limit = route.body_size.unwrap_or(listener.limits.body_size);
    let (body, upload) = if body.is_end_stream() {
        // A client's `Content-Length: 0` stays; nothing else says anything about an empty body.
        (RequestBody::Empty, None)
    } else {
        // Framing is derived from the body at hand: hyper writes it anew.
        if body.size_hint().exact().is_none() {
            headers.remove(CONTENT_LENGTH);
            if matches!(method, Method::GET | Method::HEAD) {
                // hyper takes a body of unknown length for none there, unless it is told.
                let chunked = HeaderValue::from_static("chunked");
                headers.insert(http::header::TRANSFER_ENCODING, chunked);
            }
        }
        let progress = Arc::new(Progress::default());
        record.upload = Some(Arc::clone(&progress));
        let wire = Arc::clone(&peer.handle);
        let upload = Upload::new(body, Arc::clone(&progress), wire, limit, timeout);
        (RequestBody::Streaming(upload), Some(progress))
    };
    let uri = origin_form(uri);
    let repeatable = route.retry.tries > 1
        && matches!(
            method,
            Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE
        );
    let spare = repeatable.then(|| Spare { uri: uri.clone(), headers: headers.clone() });
    let preflight = method == Method::OPTIONS
        && headers.contains_key(http::header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut request = Request::new(body);
    *request.method_mut() = method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Outbound {
        preflight,
        request: Some(request),
        spare,
        upload,
        wire: Arc::clone(&peer.handle),
        limits: (limit, timeout),
        method,
    }
}

/// RFC 9112 §3.2.1: backends are sent path and query, as they came.
fn origin_form(uri: Uri) -> Uri {
    if uri.scheme().is_none() && uri.authority().is_none() {
        return uri;
    }
    let path = uri.into_parts().path_and_query;
    path.filter(|path| !path.as_str().is_empty())
        .map_or_else(|| Uri::from(PathAndQuery::from_static("/")), Uri::from)
}

fn via(version: Version) -> HeaderValue {
    let number = match version {
        Version::HTTP_10 => "1.0 ",
        Version::HTTP_2 => "2.0 ",
        _ => "1.1 ",
    };
    let own = local::pseudonym();
    let mut value = BytesMut::with_capacity(number.len() + own.len());
    value.put_slice(number.as_bytes());
    value.put_slice(own.as_bytes());
    HeaderValue::from_maybe_shared(value.freeze()).unwrap_or(own)
}

/// `X-Request-Id` and `traceparent`: kept from trusted sources, made otherwise.
fn identify(headers: &mut HeaderMap, believed: bool, record: &mut Record) {
    let id =
        headers.get(X_REQUEST_ID).filter(|id| believed && valid_request_id(id.as_bytes())).cloned();
    let trace = headers.get(TRACEPARENT).filter(|_| believed);
    let trace = trace.and_then(|trace| TraceContext::parse(trace.as_bytes()));
    if !believed {
        headers.remove(HeaderName::from_static("tracestate"));
    }
    let random = u128::from(local::random()) << 64 | u128::from(local::random());
    let id = match id {
        Some(id) => id,
        None => shared(&request_id(random)),
    };
    let span = local::random() | 1;
    let trace = match trace {
        Some(trace) => trace.child(span),
        None => TraceContext::new(random | 1, span, false),
    };
    let trace = shared(&trace.write());
    headers.insert(X_REQUEST_ID, id.clone());
    headers.insert(TRACEPARENT, trace.clone());
    record.request_id = Some(id);
    record.trace = Some(trace);
}

fn shared(text: &[u8]) -> HeaderValue {
    HeaderValue::from_maybe_shared(bytes::Bytes::copy_from_slice(text))
        .unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Joins HTTP/2's cookie crumbs (RFC 9113 §8.2.3) before anything reads them.
pub fn join_crumbs(headers: &mut HeaderMap) {
    let mut fields = headers.get_all(COOKIE).iter();
    if fields.next().is_none() || fields.next().is_none() {
        return;
    }
    let joined = cookie::join(headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes));
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(COOKIE, joined);
    }
}

/// Takes our cookies out of what the backend sees; the others stay byte for byte.
pub fn hide_cookies(headers: &mut HeaderMap, sticky: Option<&Stickiness>) {
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
