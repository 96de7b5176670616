//! A check by gRPC: `grpc.health.v1.Health/Check` over a connection of its own.

use ::http::header::{CONTENT_TYPE, HeaderValue, TE};
use ::http::{HeaderMap, Method, Request, StatusCode, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncRead, AsyncWrite};

use super::conversation::{Notes, fields};
use super::http::{add, note, own_word, wrong};
use super::http2;
use crate::backend::OwnWord;
use crate::telemetry::chain;

/// Bytes of an answer: it has one small number.
const MAX_BODY: usize = 4 << 10;
/// The status that passes.
const SERVING: u64 = 1;

/// What is asked. An empty service is the server as a whole.
pub(super) fn request(
    service: &str,
    tls: bool,
    host: &str,
    fields: &[(String, String)],
) -> Result<Request<Full<Bytes>>, String> {
    let uri = Uri::builder()
        .scheme(if tls { "https" } else { "http" })
        .authority(host)
        .path_and_query("/grpc.health.v1.Health/Check")
        .build();
    let mut request = Request::new(Full::new(Bytes::from(question(service))));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri.map_err(|_| wrong("host"))?;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    add(headers, fields)?;
    Ok(request)
}

/// `HealthCheckRequest { service }` with the prefix of a message.
fn question(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a); // Field 1, a string.
        let mut length = service.len();
        loop {
            let [low, ..] = (length & 0x7f).to_le_bytes();
            length >>= 7;
            message.push(if length > 0 { low | 0x80 } else { low });
            if length == 0 {
                break;
            }
        }
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut framed = vec![0]; // Not compressed.
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(&message);
    framed
}

/// One request over a connection of its own: what came of it, and what the backend says about
/// itself, where there was an answer.
pub(super) async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    notes: &mut Notes,
) -> Result<(Result<String, String>, OwnWord), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (response, _driver) = http2::send(stream, request, notes).await?;
    let (head, mut incoming) = response.into_parts();
    let word = own_word(&head.headers);
    let said = word.unwrap_or_default();
    if head.status != StatusCode::OK {
        return Ok((Err(format!("HTTP {}", head.status.as_u16())), said));
    }
    let (mut body, mut trailers) = (Vec::new(), HeaderMap::new());
    while body.len() < MAX_BODY
        && let Some(frame) = incoming.frame().await
    {
        match frame.map_err(|error| chain(&error))?.into_data() {
            Ok(data) => {
                let room = MAX_BODY - body.len();
                body.extend(data.iter().take(room));
            }
            Err(other) => trailers = other.into_trailers().unwrap_or_default(),
        }
    }
    if !body.is_empty() {
        notes.note("body", || format!("{} bytes, in hex {}", body.len(), hex(&body)));
    }
    if !trailers.is_empty() {
        notes.note("trailers", || fields(String::new(), &trailers).trim_start().to_owned());
    }
    // Where there is no message, the trailers are the head.
    let ended = if head.headers.contains_key(STATUS) { &head.headers } else { &trailers };
    Ok((judge(ended, &body).map(|seen| format!("{seen}{}", note(word))), said))
}

/// The first bytes of a message.
fn hex(body: &[u8]) -> String {
    let pairs: Vec<String> = body.iter().take(32).map(|byte| format!("{byte:02x}")).collect();
    pairs.join(" ")
}

const STATUS: &str = "grpc-status";

/// Whether it is what was expected, in words.
fn judge(trailers: &HeaderMap, body: &[u8]) -> Result<String, String> {
    let text = |name| trailers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    match text(STATUS) {
        Some("0") => {}
        None => return Err("gRPC: no grpc-status in the answer".to_owned()),
        Some(code) => {
            let name = match code {
                "5" => " (the service is not known)",
                "12" => " (it has no grpc.health.v1)",
                _ => "",
            };
            let message = text("grpc-message").map_or_else(String::new, |text| format!(": {text}"));
            return Err(format!("gRPC status {code}{name}{message}"));
        }
    }
    match serving(body) {
        Some(SERVING) => Ok("gRPC SERVING".to_owned()),
        Some(0) => Err("gRPC UNKNOWN".to_owned()),
        Some(2) => Err("gRPC NOT_SERVING".to_owned()),
        Some(3) => Err("gRPC SERVICE_UNKNOWN".to_owned()),
        Some(other) => Err(format!("gRPC serving status {other}")),
        None => Err("gRPC: the answer is no HealthCheckResponse".to_owned()),
    }
}

/// The status in `HealthCheckResponse { status }` with the prefix of a message; 0 where the
/// message does not say it. `None`: it is compressed, cut short or no message.
fn serving(body: &[u8]) -> Option<u64> {
    let (prefix, message) = body.split_first_chunk::<5>()?;
    let [compressed, length @ ..] = *prefix;
    let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
    if compressed != 0 || message.len() != length {
        return None;
    }
    let mut rest = message;
    let mut status = 0;
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let skipped = match tag & 7 {
            0 => {
                let value = varint(&mut rest)?;
                if tag >> 3 == 1 {
                    status = value;
                }
                0
            }
            1 => 8,
            2 => varint(&mut rest)?,
            5 => 4,
            _ => return None,
        };
        rest = rest.get(usize::try_from(skipped).ok()?..)?;
    }
    Some(status)
}

/// A number in seven bits a byte, the low ones first; taken off the front.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        let mut framed = vec![0];
        framed.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        framed.extend_from_slice(message);
        framed
    }

    fn judged(status: Option<&'static str>, body: &[u8]) -> String {
        let mut trailers = HeaderMap::new();
        if let Some(status) = status {
            trailers.insert(STATUS, HeaderValue::from_static(status));
        }
        judge(&trailers, body).unwrap_or_else(|why| format!("not {why}"))
    }

    #[test]
    fn a_question_is_a_message_with_the_name_of_the_service() {
        assert_eq!(question(""), [0, 0, 0, 0, 0]);
        assert_eq!(question("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = question(&"x".repeat(200));
        assert_eq!(long[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 0x01]);
        let request = request("", true, "app:1", &[]).unwrap();
        assert_eq!(request.uri(), "https://app:1/grpc.health.v1.Health/Check");
    }

    #[test]
    fn only_serving_passes() {
        assert_eq!(judged(Some("0"), &framed(&[8, 1])), "gRPC SERVING");
        assert_eq!(judged(Some("0"), &framed(&[8, 2])), "not gRPC NOT_SERVING");
        assert_eq!(judged(Some("0"), &framed(&[])), "not gRPC UNKNOWN");
        assert_eq!(judged(Some("5"), b""), "not gRPC status 5 (the service is not known)");
        assert_eq!(judged(None, &framed(&[8, 1])), "not gRPC: no grpc-status in the answer");
        let none = "not gRPC: the answer is no HealthCheckResponse";
        assert_eq!(judged(Some("0"), &[1, 0, 0, 0, 2, 8, 1]), none);
        assert_eq!(judged(Some("0"), &[0, 0, 0, 0, 3, 8, 1]), none);
        assert_eq!(judged(Some("0"), b""), none);
    }

    #[test]
    fn fields_that_are_not_known_are_passed_over() {
        let message = [0x12, 2, 7, 7, 0x19, 0, 0, 0, 0, 0, 0, 0, 0, 0x25, 0, 0, 0, 0, 8, 1];
        assert_eq!(serving(&framed(&message)), Some(1));
        assert_eq!(serving(&framed(&[8, 0x81, 0])), Some(1));
        assert_eq!(serving(&framed(&[8, 0x80])), None);
        assert_eq!(serving(&framed(&[0x12, 9, 1])), None);
        assert_eq!(serving(&framed(&[0x0b])), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(message in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = serving(&message);
            let _ = serving(&framed(&message));
        }

        #[test]
        fn a_question_can_be_read_as_a_message(service in "[a-z.]{0,300}") {
            prop_assert_eq!(serving(&question(&service)), Some(0));
        }
    }
}
