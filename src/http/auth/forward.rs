//! A server that is asked about each request: its yes lets it in, what else it says is the answer.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http::header::{AUTHORIZATION, COOKIE, HOST, HeaderName, HeaderValue};
use http_body_util::BodyExt as _;

use super::super::asked::Asked;
use super::super::body::Body;
use super::super::failure::Failure;
use super::super::forward::{self, Outbound, Way};
use super::super::header::seen::Seen;
use super::super::header::{client_cert, forwarded};
use super::super::record::Record;
use super::super::upload::RequestBody;
use super::super::visitor;
use super::{Admission, Granted};
use crate::net::clock;
use crate::net::fields::Fields;
use crate::net::message::{Request, RequestHead, Response};
use crate::snapshot::{Action, ForwardAuth, Snapshot};
use crate::telemetry::reason::Reason;

const METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// Bytes of a yes that are read so that its connection can be used again, and how long they may
/// take.
const LEFT: usize = 16 * 1024;
const SOON: Duration = Duration::from_millis(100);

/// Asks about a request.
///
/// # Errors
/// Where nobody has said yes or no: then nobody is let in.
pub(super) async fn admit<'a>(
    asks: &'a ForwardAuth,
    head: &RequestHead,
    (snapshot, way, total): (&Snapshot, Way<'_>, Option<Duration>),
    record: &mut Record,
) -> Result<Admission<'a>, Failure> {
    let Way { route, listener, peer, client, .. } = way;
    let (uri, headers) = (asks.path.clone(), told(asks, &head.headers));
    let mut asked = RequestHead { uri, headers, ..RequestHead::default() };
    let seen = Seen::of(&asked.headers);
    forward::address(&mut asked.headers, head, Way { seen, ..way }, record);
    // Over what a trusted proxy may have written: it is this request that is asked about.
    let uri = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    for (name, value) in [(METHOD, head.method.as_str()), (URI, uri)] {
        let value =
            HeaderValue::from_str(value).map_err(|_| Failure::bad_request("target_form"))?;
        asked.headers.insert(name, value);
    }
    let sticky = match &route.action {
        Action::Forward(forward) => forward.sticky().map(AsRef::as_ref),
        Action::Redirect(_) | Action::Respond(_) => None,
    };
    forward::hide_cookies(&mut asked.headers, sticky);
    let alone = !listener.trusted.contains(peer.address.ip());
    let now = record.now();
    let mut visitor = visitor::read(&mut asked, seen, None, peer, client, (now, alone));
    let pool = asks.forward.choose(&visitor).ok_or(Reason::Internal)?;
    if let Some((on, _)) = &pool.hashing {
        visitor.key = visitor::key(&asked.headers, &asked.uri, on, client);
    }
    record.forwarded(pool);
    let own = record.elapsed() + asks.timeout;
    let repeatable = route.retry.tries > 1;
    let outbound = Outbound {
        request: Some(Request { head: asked, body: RequestBody::Empty }),
        repeatable,
        only_once: !repeatable || !route.retry.stale,
        written: Vec::new(),
        kept: None,
        upload: None,
        wire: Arc::clone(&peer.handle),
        limits: (None, None),
        method: Method::GET,
        preflight: false,
    };
    let waits = (Some(asks.timeout), Some(total.map_or(own, |total| total.min(own))));
    let (to, who) = ((&asks.forward, &**pool), (visitor, alone));
    let mut asked = Asked::new(snapshot, to, None, way, waits, who, outbound);
    (asked.limit, asked.decides) = (total, true);
    asked.leave_the_short(record);
    let answer = asked.answer(record, None).await;
    let late = total.is_some_and(|total| record.elapsed() >= total);
    let mut response = answer.map_err(|failure| unasked(failure, late, asks.timeout))?;
    if !response.status().is_success() {
        if head.method == Method::HEAD {
            // It was asked by GET.
            response.body = Body::empty();
        }
        return Ok(Admission::Answer(response));
    }
    record.let_in();
    let names = &asks.response_headers;
    let mut fields = Vec::with_capacity(names.len());
    for name in names {
        let values = response.headers().get_all(name).cloned();
        fields.extend(values.map(|value| (name.clone(), value)));
    }
    finish(response).await;
    Ok(Admission::In(Granted { names, fields, secret: false }))
}

/// The fields of a client that the server is told.
fn told(asks: &ForwardAuth, headers: &Fields) -> Fields {
    let always = |name: &HeaderName| {
        let text = name.as_str();
        *name == HOST
            || forwarded::tells(name)
            || client_cert::tells(name)
            || matches!(text, "x-request-id" | "traceparent" | "tracestate" | "connection" | "via")
    };
    let wanted = |name: &HeaderName| match &asks.request_headers {
        Some(names) => names.contains(name),
        None => *name == COOKIE || *name == AUTHORIZATION || fits(name.as_str()),
    };
    let mut told = Fields::with_capacity(headers.len() + 8);
    for (name, value) in headers {
        if always(name) || wanted(name) {
            told.append(name.clone(), value.clone());
        }
    }
    told
}

/// Whether a field means something in a GET of something else, without a body.
fn fits(name: &str) -> bool {
    !(name.starts_with("content-")
        || name.starts_with("if-")
        || name.starts_with("sec-websocket-")
        || matches!(name, "range" | "expect" | "trailer" | "transfer-encoding" | "upgrade"))
}

/// Nobody has said yes or no. `late`: the time of the exchange as a whole is over.
fn unasked(mut failure: Failure, late: bool, timeout: Duration) -> Failure {
    let ours = failure.reason == Reason::Deadline && !late;
    let cause = match &failure.cause {
        _ if ours => format!("forward_auth: no answer within {timeout:?}"),
        Some(cause) => format!("forward_auth: {cause}"),
        None => "forward_auth".to_owned(),
    };
    if ours {
        failure.reason = Reason::BackendHeaderTimeout;
    }
    failure.cause = Some(cause.into());
    failure
}

/// Reads what is left of a yes. There is hardly ever more than a few bytes, with its head.
async fn finish(response: Response<Body>) {
    let mut body = response.body;
    let read = async {
        let mut left = LEFT;
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, bytes::Bytes::len);
            match left.checked_sub(bytes) {
                Some(less) => left = less,
                None => break,
            }
        }
    };
    // What is longer, or later, is given up, and its connection with it.
    let _ = clock::within(Some(SOON), std::pin::pin!(read)).await;
}
