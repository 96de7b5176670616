//! What a backend of the demo answers: who it is, and whether it knows the visitor.

use std::collections::HashMap;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::Full;

/// The cookie of the application; the one that keeps the visitor here is the balancer's, and is
/// not seen here.
const VISITOR: &str = "demo-visitor";
/// Visitors remembered; then the memory begins anew.
const MOST: usize = 10_000;

/// What one backend keeps in its memory, as real applications do, and why sessions are kept on it.
#[derive(Debug, Default)]
pub(super) struct Memory {
    answered: u64,
    visits: HashMap<u64, u64>,
}

impl Memory {
    /// Answers one request.
    pub(super) fn answer(&mut self, name: &str, headers: &HeaderMap) -> Response<Full<Bytes>> {
        self.answered += 1;
        let known = visitor(headers).and_then(|visitor| self.visits.get_mut(&visitor));
        let (you, new) = if let Some(visits) = known {
            *visits += 1;
            (format!("It knows you: this is your visit {visits} here."), None)
        } else {
            if self.visits.len() >= MOST {
                self.visits.clear();
            }
            let visitor = fastrand::u64(..);
            self.visits.insert(visitor, 1);
            ("It did not know you before; come again with a cookie jar.".to_owned(), Some(visitor))
        };
        let answered = self.answered;
        let lines = [
            format!("Hello from backend {name}."),
            format!("It has answered {answered} requests since the demo began."),
            you,
        ];
        let (content_type, body) = if wants_html(headers) {
            let paragraphs: Vec<String> = lines.iter().map(|line| format!("<p>{line}\n")).collect();
            let head = "<!doctype html><meta charset=\"utf-8\"><title>Ostler's demo</title>\n";
            ("text/html; charset=utf-8", head.to_owned() + &paragraphs.concat())
        } else {
            ("text/plain; charset=utf-8", lines.join("\n") + "\n")
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Ok(name) = HeaderValue::from_str(name) {
            headers.insert("x-backend", name);
        }
        if let Some(visitor) = new {
            let cookie = format!("{VISITOR}={visitor:016x}; Path=/; HttpOnly; SameSite=Lax");
            if let Ok(cookie) = HeaderValue::from_str(&cookie) {
                headers.insert(SET_COOKIE, cookie);
            }
        }
        response
    }
}

fn visitor(headers: &HeaderMap) -> Option<u64> {
    let cookies = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|value| value.split(';')).find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == VISITOR).then(|| u64::from_str_radix(value, 16).ok()).flatten()
    })
}

fn wants_html(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visitor_is_known_by_the_backend_it_was_at() {
        let (mut here, mut there) = (Memory::default(), Memory::default());
        let first = here.answer("one", &HeaderMap::new());
        assert_eq!(first.headers()["x-backend"], "one");
        let cookie = first.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, format!("a=b; {cookie}").parse().unwrap());
        assert!(here.answer("one", &headers).headers().get(SET_COOKIE).is_none());
        assert!(there.answer("two", &headers).headers().get(SET_COOKIE).is_some());
    }

    #[test]
    fn a_browser_gets_html_and_curl_gets_text() {
        let mut headers = HeaderMap::new();
        let of = |headers: &HeaderMap| {
            Memory::default().answer("one", headers).headers()[CONTENT_TYPE].clone()
        };
        assert!(of(&headers).to_str().unwrap().starts_with("text/plain"));
        headers.insert(ACCEPT, HeaderValue::from_static("text/html,*/*;q=0.8"));
        assert!(of(&headers).to_str().unwrap().starts_with("text/html"));
    }
}
