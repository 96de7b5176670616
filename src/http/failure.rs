//! The one table of failures: reason to status, and the answer a client gets.

use std::borrow::Cow;

use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use http::{Response, StatusCode};

use crate::net::wire::Refusal;
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
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self { reason, cause: None, status: None }
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
            _ => Reason::BadRequest,
        };
        Self::because(reason, refusal.as_str())
    }
}

impl Failure {
    /// A failure with more about it for the log.
    pub fn because(reason: Reason, cause: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, cause: Some(cause.into()), status: None }
    }

    /// 400, with its cause.
    pub fn bad_request(cause: &'static str) -> Self {
        Self::because(Reason::BadRequest, cause)
    }

    /// 405, 417, 501 or 505, with what is not supported.
    pub fn not_supported(status: StatusCode, what: &'static str) -> Self {
        Self { reason: Reason::NotSupported, cause: Some(what.into()), status: Some(status) }
    }

    /// What the client is told.
    pub fn status(&self) -> StatusCode {
        self.status.unwrap_or_else(|| status(self.reason))
    }

    /// The answer: a short text, JSON where the client prefers it, that never names a backend.
    pub fn response(&self, head: &HeaderMap, trusted: bool) -> Response<Body> {
        let status = self.status();
        let phrase = status.canonical_reason().unwrap_or("Error");
        let (text, content_type) = if prefers_json(head) {
            let text = format!("{{\"status\":{},\"title\":\"{phrase}\"}}\n", status.as_u16());
            (text, "application/problem+json")
        } else {
            (format!("{} {phrase}\n", status.as_u16()), "text/plain; charset=utf-8")
        };
        let mut response = Response::new(Body::full(text.into()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            let allow = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
            headers.insert(http::header::ALLOW, allow);
        }
        if trusted {
            headers.insert(OSTLER_REASON, HeaderValue::from_static(self.reason.as_str()));
        }
        response
    }

    /// Whether what follows on the connection cannot be understood any more.
    pub fn closes(&self) -> bool {
        matches!(
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

fn prefers_json(head: &HeaderMap) -> bool {
    head.get(ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| {
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
        let accept =
            |value: &'static str| HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(value))]);
        assert!(prefers_json(&accept("application/json, text/plain")));
        assert!(!prefers_json(&accept("text/html, application/json;q=0.9")));
        assert!(!prefers_json(&accept("*/*")));
    }
}
