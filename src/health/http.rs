//! A check by HTTP/1.1: one request over a connection of its own, and what is expected of it.

use std::ops::RangeInclusive;

use ::http::header::{CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT};
use ::http::{HeaderMap, Method, Request, Response, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use memchr::memmem;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::AbortOnDropHandle;

use crate::backend::OwnWord;
use crate::snapshot::BodyTest;
use crate::task;
use crate::telemetry::chain;

/// Bytes of an answer's body that are read: enough for any report, not for a download.
const MAX_BODY: usize = 64 << 10;
/// Where a backend says something about itself.
const OWN_STATE: HeaderName = HeaderName::from_static("x-ostler-state");
/// How the backend's log knows a check.
const AGENT: &str = concat!("ostler/", env!("CARGO_PKG_VERSION"), " (health check)");

/// What is asked.
pub(super) fn request(
    method: &str,
    path: &str,
    host: &str,
    fields: &[(String, String)],
) -> Result<Request<Empty<Bytes>>, String> {
    let mut request = Request::new(Empty::new());
    *request.method_mut() = Method::from_bytes(method.as_bytes()).map_err(|_| wrong("method"))?;
    *request.uri_mut() = path.parse::<Uri>().map_err(|_| wrong("path"))?;
    let host = HeaderValue::try_from(host).map_err(|_| wrong("host"))?;
    let headers = request.headers_mut();
    headers.insert(HOST, host);
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    add(headers, fields)?;
    Ok(request)
}

/// The fields of the file, and who asks where they do not say it.
pub(super) fn add(headers: &mut HeaderMap, fields: &[(String, String)]) -> Result<(), String> {
    for (name, value) in fields {
        let name = HeaderName::try_from(name).map_err(|_| wrong("headers"))?;
        headers.append(name, HeaderValue::try_from(value).map_err(|_| wrong("headers"))?);
    }
    headers.entry(USER_AGENT).or_insert_with(|| HeaderValue::from_static(AGENT));
    Ok(())
}

pub(super) fn wrong(what: &str) -> String {
    format!("the check's {what} cannot be sent")
}

/// What came back.
pub(super) struct Answer {
    status: u16,
    /// What the backend says about itself; none: something that is not understood.
    word: Option<OwnWord>,
    /// Its beginning.
    body: Vec<u8>,
}

impl Answer {
    /// What the backend says about itself. What is not understood is nothing said.
    pub(super) fn word(&self) -> OwnWord {
        self.word.unwrap_or_default()
    }

    /// Its beginning.
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Whether it is what was expected, in words.
    pub(super) fn judge(
        &self,
        expect: &[RangeInclusive<u16>],
        expect_body: Option<&BodyTest>,
    ) -> Result<String, String> {
        let seen = format!("HTTP {}{}", self.status, note(self.word));
        if !expect.iter().any(|range| range.contains(&self.status)) {
            return Err(seen);
        }
        match expect_body {
            Some(BodyTest::Text(text)) if memmem::find(&self.body, text.as_bytes()).is_none() => {
                Err(format!("{seen}, without {text:?} in its body"))
            }
            Some(BodyTest::Pattern(pattern)) if !pattern.0.is_match(&self.body) => {
                Err(format!("{seen}, and `{}` does not match its body", pattern.0.as_str()))
            }
            _ => Ok(seen),
        }
    }
}

/// What an operator should know of an own word that says nothing.
pub(super) fn note(word: Option<OwnWord>) -> &'static str {
    if word.is_some() { "" } else { ", its X-Ostler-State is not understood" }
}

/// One request over a connection of its own; the answer, once it is complete.
pub(super) async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| chain(&error))?;
    let _driver = AbortOnDropHandle::new(task::spawn("check connection", async {
        // Whoever waits for the answer is told why it failed.
        let _ = connection.await;
    }));
    let response = sender.send_request(request).await.map_err(|error| chain(&error))?;
    read(response).await
}

/// The beginning of an answer, and what the backend says of itself.
pub(super) async fn read(response: Response<Incoming>) -> Result<Answer, String> {
    let status = response.status().as_u16();
    let word = own_word(response.headers());
    let mut incoming = response.into_body();
    let mut body = Vec::new();
    while body.len() < MAX_BODY
        && let Some(frame) = incoming.frame().await
    {
        let frame = frame.map_err(|error| format!("HTTP {status}, then {}", chain(&error)))?;
        if let Some(data) = frame.data_ref() {
            let room = MAX_BODY - body.len();
            body.extend(data.iter().take(room));
        }
    }
    Ok(Answer { status, word, body })
}

/// Several fields are as one with commas (RFC 9110 §5.3).
pub(super) fn own_word(headers: &HeaderMap) -> Option<OwnWord> {
    let said: Vec<_> = headers.get_all(OWN_STATE).iter().map(HeaderValue::to_str).collect();
    if said.is_empty() {
        return Some(OwnWord::default());
    }
    let said: Result<Vec<_>, _> = said.into_iter().collect();
    OwnWord::parse(&said.ok()?.join(","))
}

#[cfg(test)]
mod tests {
    use regex::bytes::Regex;

    use super::*;
    use crate::snapshot::BodyPattern;

    fn judged(body: &[u8], expected: &BodyTest) -> Result<String, String> {
        let word = Some(OwnWord::default());
        Answer { status: 200, word, body: body.to_vec() }.judge(&[200..=299], Some(expected))
    }

    #[test]
    fn a_pattern_may_match_anywhere_and_bodies_may_be_bytes() {
        let pattern = |text| BodyTest::Pattern(BodyPattern(Regex::new(text).unwrap()));
        assert!(judged(b"\xff status: ok", &pattern("status: (ok|busy)")).is_ok());
        let why = judged(b"status: down", &pattern("^ok")).unwrap_err();
        assert_eq!(why, "HTTP 200, and `^ok` does not match its body");
        assert!(judged(b"\xff ok", &BodyTest::Text("ok".to_owned())).is_ok());
        assert!(judged(b"", &BodyTest::Text("ok".to_owned())).is_err());
    }

    #[test]
    fn an_own_word_is_read_from_one_field_or_several() {
        let read = |fields: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in fields {
                headers.append(OWN_STATE, HeaderValue::from_static(value));
            }
            own_word(&headers).map(|word| word.to_string())
        };
        assert_eq!(read(&[]).unwrap(), "");
        assert_eq!(read(&["drain"]).unwrap(), "drain");
        assert_eq!(read(&["weight=5%", "ready"]).unwrap(), "ready, weight=5%");
        assert_eq!(read(&["drain", "ready"]), None);
        assert_eq!(read(&["busy"]), None);
        let answer = Answer { status: 200, word: None, body: Vec::new() };
        let seen = answer.judge(&[200..=200], None).unwrap();
        assert_eq!(seen, "HTTP 200, its X-Ostler-State is not understood");
        assert!(answer.word().is_empty());
    }

    #[test]
    fn the_file_may_say_who_asks() {
        let fields = [("User-Agent".to_owned(), "watcher".to_owned())];
        let request = request("GET", "/", "a", &fields).unwrap();
        assert_eq!(request.headers().get_all(USER_AGENT).iter().count(), 1);
        assert_eq!(request.headers()[USER_AGENT], "watcher");
        let request = super::request("GET", "/", "a", &[]).unwrap();
        assert_eq!(request.headers()[USER_AGENT], AGENT);
    }
}
