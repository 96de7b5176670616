//! Answers of the admin listeners: JSON, text, problems, and streams.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use http_body_util::Full;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::event::Refusal;

/// An answer of these listeners.
pub(super) type Answer = Response<Body>;

/// What an answer carries.
#[derive(Debug)]
pub(super) enum Body {
    /// All of it: most pages are small.
    Whole(Full<Bytes>),
    /// What comes, until the other end is dropped.
    Stream(mpsc::Receiver<Bytes>),
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(context),
            Self::Stream(body) => body.poll_recv(context).map(|it| it.map(Frame::data).map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// A document.
pub(super) fn json(value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(bytes) => answer(StatusCode::OK, "application/json", bytes),
        Err(error) => problem(&refusal(500, format!("the page cannot be written: {error}"))),
    }
}

/// Plain text.
pub(super) fn text(status: StatusCode, text: String) -> Answer {
    answer(status, "text/plain; charset=utf-8", text.into_bytes())
}

/// Bytes of a type.
pub(super) fn answer(status: StatusCode, content_type: &'static str, bytes: Vec<u8>) -> Answer {
    headed(status, content_type, Body::Whole(Full::new(Bytes::from(bytes))))
}

/// What somebody goes on sending.
pub(super) fn stream(content_type: &'static str, body: mpsc::Receiver<Bytes>) -> Answer {
    headed(StatusCode::OK, content_type, Body::Stream(body))
}

fn headed(status: StatusCode, content_type: &'static str, body: Body) -> Answer {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Why not, as a problem document (RFC 9457 §3).
pub(super) fn problem(refusal: &Refusal) -> Answer {
    let mut document = refusal.members.clone();
    document.insert("type".to_owned(), Value::from("about:blank"));
    document.insert("status".to_owned(), Value::from(refusal.status));
    document.insert("title".to_owned(), Value::from(refusal.title.as_str()));
    if !refusal.detail.is_empty() {
        document.insert("detail".to_owned(), Value::from(refusal.detail.as_str()));
    }
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let bytes = Value::Object(document).to_string().into_bytes();
    let mut response = answer(status, "application/problem+json", bytes);
    if status == StatusCode::UNAUTHORIZED {
        let scheme = HeaderValue::from_static("Bearer realm=\"ostler\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
    }
    response
}

/// A refusal of one line.
pub(super) fn refusal(status: u16, title: impl Into<String>) -> Refusal {
    let (detail, members) = (String::new(), serde_json::Map::new());
    Refusal { status, title: title.into(), detail, members }
}

/// A document, or why not.
pub(super) fn outcome(outcome: Result<Value, Refusal>) -> Answer {
    match outcome {
        Ok(value) => json(&value),
        Err(refused) => problem(&refused),
    }
}

/// The page knows other methods only (RFC 9110 §15.5.6).
pub(super) fn not_allowed(allow: &'static str) -> Answer {
    let mut response = problem(&refusal(405, format!("this page knows {allow} only")));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_keeps_its_members_and_its_status() {
        let mut refused = refusal(409, "this would empty shop");
        refused.members.insert("pools".to_owned(), Value::from(vec!["shop"]));
        let response = problem(&refused);
        assert_eq!(response.status(), 409);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert!(problem(&refusal(401, "who?")).headers().contains_key("www-authenticate"));
        assert_eq!(not_allowed("GET").headers()["allow"], "GET");
    }
}
