//! gRPC over HTTP/2: a call's own deadline, and our failures in its words.

use std::time::Duration;

use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};

use super::body::Body;
use super::failure::Failure;
use crate::net::fields::Fields;
use crate::net::message::Response;
use crate::telemetry::reason::Reason;

const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// What a call may take in all, where it says so: up to eight digits and a unit
/// (gRPC over HTTP/2, `Timeout`).
pub(super) fn timeout(headers: &Fields) -> Option<Duration> {
    let (unit, digits) = headers.get(TIMEOUT)?.as_bytes().split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(amount * 3600),
        b'M' => Duration::from_secs(amount * 60),
        b'S' => Duration::from_secs(amount),
        b'm' => Duration::from_millis(amount),
        b'u' => Duration::from_micros(amount),
        b'n' => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// A failure as gRPC's clients understand it: HTTP says 200, and the trailers, which are all there
/// is, say what was wrong. Its message never names a backend.
pub(super) fn answer(failure: &Failure) -> Response<Body> {
    let status = failure.status();
    let phrase = status.canonical_reason().unwrap_or("Error");
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(STATUS, code(failure.reason, status).into());
    headers.insert(MESSAGE, HeaderValue::from_static(phrase));
    response
}

/// As clients map HTTP's status to gRPC's when they get one
/// (`http-grpc-status-mapping.md` of gRPC), but where we know better.
fn code(reason: Reason, status: StatusCode) -> u16 {
    match (reason, status.as_u16()) {
        // DEADLINE_EXCEEDED
        (Reason::Deadline, _) => 4,
        // RESOURCE_EXHAUSTED
        (Reason::BodyTooLarge | Reason::HeaderTooLarge, _) => 8,
        // INTERNAL
        (_, 400 | 500) => 13,
        // UNAUTHENTICATED
        (_, 401) => 16,
        // PERMISSION_DENIED
        (_, 403) => 7,
        // UNIMPLEMENTED
        (_, 404 | 405 | 501) => 12,
        // UNAVAILABLE
        (_, 429 | 502 | 503 | 504) => 14,
        // UNKNOWN
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &'static str) -> Option<Duration> {
        timeout(&Fields::from_iter([(TIMEOUT, HeaderValue::from_static(value))]))
    }

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("2S"), Some(Duration::from_secs(2)));
        assert_eq!(read("1H"), Some(Duration::from_hours(1)));
        assert_eq!(read("99999999n"), Some(Duration::from_nanos(99_999_999)));
        for wrong in ["", "m", "100", "-1S", "1 S", "100000000S", "1s", "1.5S"] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn every_failure_has_a_status_that_is_no_success() {
        for reason in Reason::ALL.iter().filter(|reason| **reason != Reason::None) {
            let answer = answer(&Failure::from(*reason));
            assert_eq!(answer.status(), StatusCode::OK, "{reason}");
            assert_ne!(answer.headers()[STATUS], "0", "{reason}");
        }
        assert_eq!(answer(&Reason::ConnectRefused.into()).headers()[STATUS], "14");
        assert_eq!(answer(&Reason::Deadline.into()).headers()[STATUS], "4");
    }
}
