//! The one table of failures: reason to status, and the answer a client gets.

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};

use crate::net::message::Response;
use crate::net::wire::Refusal;
use crate::snapshot::Page;
use crate::telemetry::reason::Reason;

use super::body::Body;

/// Says the reason to trusted sources.
const OSTLER_REASON: HeaderName = HeaderName::from_static("ostler-reason");

/// Why an exchange failed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// From the closed list.
    pub reason: Reason,
    /// More about it, for the log.
    pub cause: Option<Cow<'static, str>>,
    /// Where the reason allows several.
    status: Option<StatusCode>,
    /// A field that the answer must have.
    field: Option<Box<(HeaderName, HeaderValue)>>,
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self { reason, cause: None, status: None, field: None }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let reason = match refusal {
            Refusal::UriTooLong => Reason::UriTooLong,
            Refusal::TooManyFields | Refusal::HeadTooLarge => Reason::HeaderTooLarge,
            Refusal::Timeout => Reason::ClientHeaderTimeout,
            Refusal::Version => {
                return Self::not_supported(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "version");
            }
            Refusal::TransferCoding => {
                return Self::not_supported(StatusCode::NOT_IMPLEMENTED, refusal.as_str());
            }
            _ => Reason::BadRequest,
        };
        Self::because(reason, refusal.as_str())
    }
}

impl Failure {
    /// A failure with more about it for the log.
    pub fn because(reason: Reason, cause: impl Into<Cow<'static, str>>) -> Self {
        Self { cause: Some(cause.into()), ..Self::from(reason) }
    }

    /// 400, with its cause.
    pub fn bad_request(cause: &'static str) -> Self {
        Self::because(Reason::BadRequest, cause)
    }

    /// 405, 417, 501 or 505, with what is not supported.
    pub fn not_supported(status: StatusCode, what: &'static str) -> Self {
        Self { status: Some(status), ..Self::because(Reason::NotSupported, what) }
    }

    /// 405 of a route that takes these methods only (RFC 9110 §15.5.6).
    pub fn method_not_allowed(allowed: HeaderValue) -> Self {
        let field = Some(Box::new((ALLOW, allowed)));
        Self { field, ..Self::not_supported(StatusCode::METHOD_NOT_ALLOWED, "method") }
    }

    /// 429, and after how many seconds there is room again (RFC 6585 §4).
    pub fn rate_limited(seconds: HeaderValue) -> Self {
        Self { field: Some(Box::new((RETRY_AFTER, seconds))), ..Self::from(Reason::RateLimited) }
    }

    /// 401, and what is asked for (RFC 9110 §15.5.2).
    pub fn unauthorized(challenge: HeaderValue, cause: &'static str) -> Self {
        let field = Some(Box::new((WWW_AUTHENTICATE, challenge)));
        Self { field, ..Self::because(Reason::Unauthorized, cause) }
    }

    /// What the client is told.
    pub fn status(&self) -> StatusCode {
        self.status.unwrap_or_else(|| status(self.reason))
    }

    /// The answer, which never names a backend: the operator's page, else a short text that shows
    /// the id of the request, as a page may, so that somebody can quote it. Where the client
    /// prefers JSON, it is JSON in place of HTML and of the text. `request_id`: empty where it has
    /// none.
    pub fn response(
        &self,
        accept: Option<&HeaderValue>,
        trusted: bool,
        page: Option<&Page>,
        request_id: &[u8],
    ) -> Response<Body> {
        let status = self.status();
        let json = accept.is_some_and(prefers_json);
        let (body, content_type) = match page.filter(|page| !(json && page.html)) {
            Some(page) => (page.body(status, request_id), page.content_type.clone()),
            None if json => {
                let body = problem(status, request_id);
                (body, HeaderValue::from_static("application/problem+json"))
            }
            None => {
                (text(status, request_id), HeaderValue::from_static("text/plain; charset=utf-8"))
            }
        };
        let mut response = Response::new(Body::full(body));
        response.head.status = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, content_type);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            let allow = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
            headers.insert(ALLOW, allow);
        }
        if let Some((name, value)) = self.field.as_deref() {
            headers.insert(name.clone(), value.clone());
        }
        if trusted {
            headers.insert(OSTLER_REASON, HeaderValue::from_static(self.reason.as_str()));
        }
        response
    }

    /// Whether what follows on the connection cannot be understood any more.
    pub fn closes(&self) -> bool {
        // A route's 405 is about what was well understood.
        self.field.is_none()
            && matches!(
                self.reason,
                Reason::BadRequest
                    | Reason::NotSupported
                    | Reason::HeaderTooLarge
                    | Reason::UriTooLong
                    | Reason::BodyTooLarge
                    | Reason::ClientHeaderTimeout
                    | Reason::ClientBodyTimeout
            )
    }
}

/// Contract §6.
fn status(reason: Reason) -> StatusCode {
    let code = match reason {
        Reason::None => 200,
        Reason::BadRequest => 400,
        Reason::HeaderTooLarge => 431,
        Reason::BodyTooLarge => 413,
        Reason::UriTooLong => 414,
        Reason::Misdirected => 421,
        Reason::ClientHeaderTimeout | Reason::ClientBodyTimeout => 408,
        Reason::ClientReadTimeout | Reason::ClientGone => 499,
        Reason::Denied => 403,
        Reason::Unauthorized => 401,
        Reason::RateLimited => 429,
        Reason::NoRoute => 404,
        Reason::NotSupported => 501,
        Reason::Loop => 508,
        Reason::NoBackendDown
        | Reason::NoBackendAdmin
        | Reason::NoBackendEmpty
        | Reason::NoBackendUnchecked
        | Reason::SessionBackendDown
        | Reason::SessionBackendFull
        | Reason::PoolFull
        | Reason::QueueFull
        | Reason::QueueTimeout
        | Reason::OverloadedConnections
        | Reason::OverloadedMemory
        | Reason::OverloadedStreams
        | Reason::Stopping => 503,
        Reason::DnsFailed
        | Reason::ConnectRefused
        | Reason::BackendTls
        | Reason::BackendReset
        | Reason::BackendStatus
        | Reason::BadResponse
        | Reason::BackendHeaderTooLarge
        | Reason::BackendBodyAborted => 502,
        Reason::ConnectTimeout
        | Reason::BackendHeaderTimeout
        | Reason::Deadline
        | Reason::BackendBodyTimeout => 504,
        Reason::Internal => 500,
    };
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// For people. Who may come back is told to.
fn text(status: StatusCode, request_id: &[u8]) -> Bytes {
    let title = status.canonical_reason().unwrap_or("Error");
    let advice = advice(status).map(|advice| format!("\n{advice}\n")).unwrap_or_default();
    let id = shown(request_id).map(|id| format!("\nRequest id: {id}\n")).unwrap_or_default();
    format!("{} {title}\n{advice}{id}", status.as_u16()).into()
}

/// RFC 9457, with the id as a member of ours (§3.2).
fn problem(status: StatusCode, request_id: &[u8]) -> Bytes {
    let title = status.canonical_reason().unwrap_or("Error");
    let detail = advice(status).map(|it| format!(",\"detail\":\"{it}\"")).unwrap_or_default();
    let id = shown(request_id).map(|id| format!(",\"request_id\":\"{id}\"")).unwrap_or_default();
    format!("{{\"status\":{},\"title\":\"{title}\"{detail}{id}}}\n", status.as_u16()).into()
}

/// An id that there is; each is safe in any text (`telemetry::trace_context::valid_request_id`).
fn shown(request_id: &[u8]) -> Option<&str> {
    std::str::from_utf8(request_id).ok().filter(|id| !id.is_empty())
}

/// What the visitor can do about it.
fn advice(status: StatusCode) -> Option<&'static str> {
    match status {
        StatusCode::SERVICE_UNAVAILABLE => {
            Some("The site cannot answer at the moment. Please come back in a few seconds.")
        }
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => {
            Some("The site did not answer. Please try again in a moment.")
        }
        _ => None,
    }
}

fn prefers_json(accept: &HeaderValue) -> bool {
    accept.to_str().is_ok_and(|accept| {
        let html = accept.find("text/");
        accept.find("json").is_some_and(|json| html.is_none_or(|html| json < html))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_that_fails_has_a_status_of_its_kind() {
        for reason in Reason::ALL {
            let status = status(reason).as_u16();
            if !matches!(reason, Reason::None | Reason::BackendStatus) {
                assert!((400..600).contains(&status), "{reason}");
            }
        }
    }

    #[test]
    fn json_is_for_those_who_ask_for_it_first() {
        let prefers = |value| prefers_json(&HeaderValue::from_static(value));
        assert!(prefers("application/json, text/plain"));
        assert!(!prefers("text/html, application/json;q=0.9"));
        assert!(!prefers("*/*"));
    }

    #[test]
    fn our_own_words_show_the_id_of_the_request() {
        let status = StatusCode::NOT_FOUND;
        assert_eq!(text(status, b"id-1"), "404 Not Found\n\nRequest id: id-1\n");
        assert_eq!(text(status, b""), "404 Not Found\n");
        let json: serde_json::Value =
            serde_json::from_slice(&problem(StatusCode::BAD_GATEWAY, b"id-1")).unwrap();
        assert_eq!((&json["status"], &json["request_id"]), (&502.into(), &"id-1".into()));
        assert_eq!(problem(status, b""), "{\"status\":404,\"title\":\"Not Found\"}\n");
    }

    #[test]
    fn a_page_stands_in_for_the_text_and_html_not_for_json() {
        use http_body::Body as _;

        use crate::snapshot::PageKind;

        let failure = Failure::from(Reason::NoBackendDown);
        let told = |page: Option<&Page>, accept: Option<&'static str>| {
            let accept = accept.map(HeaderValue::from_static);
            let response = failure.response(accept.as_ref(), false, page, b"id");
            assert_eq!(response.headers()[RETRY_AFTER], "5");
            assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
            let size = response.body.size_hint().exact().unwrap();
            (response.headers()[CONTENT_TYPE].to_str().unwrap().to_owned(), size)
        };
        let json = Some("application/json");
        let html = Page::new(PageKind::Html, "sorry");
        let text = Page::new(PageKind::Text, "sorry");
        assert_eq!(told(Some(&html), None), ("text/html; charset=utf-8".into(), 5));
        assert_eq!(told(Some(&text), json), ("text/plain; charset=utf-8".into(), 5));
        assert_eq!(told(Some(&html), json).0, "application/problem+json");
        assert_eq!(told(None, json).0, "application/problem+json");
        assert!(told(None, None).1 > 60, "who may come back is told so");
    }
}
