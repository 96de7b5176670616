//! Answers of the admin listeners: JSON, text, and problems.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;
use serde_json::Value;

use crate::event::Refusal;

/// A whole answer: these pages are small.
pub(super) type Answer = Response<Full<Bytes>>;

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
    let mut response = Response::new(Full::new(Bytes::from(bytes)));
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
    answer(status, "application/problem+json", Value::Object(document).to_string().into_bytes())
}

/// A refusal of one line.
pub(super) fn refusal(status: u16, title: impl Into<String>) -> Refusal {
    let (detail, members) = (String::new(), serde_json::Map::new());
    Refusal { status, title: title.into(), detail, members }
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
        assert_eq!(not_allowed("GET").headers()["allow"], "GET");
    }
}
