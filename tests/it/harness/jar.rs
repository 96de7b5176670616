//! A visitor: a cookie jar that comes back with what it was given.

use std::collections::BTreeMap;

use super::{Answer, Connection, Door};

/// Cookies by name. Names, values and ends are honoured; attributes are for the stories to read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Jar {
    cookies: BTreeMap<String, String>,
}

impl Jar {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// GET on a connection of its own.
    pub(crate) async fn get(&mut self, door: &Door, path: &str) -> Answer {
        self.get_on(&mut door.connect().await, path).await
    }

    /// GET on a kept connection.
    pub(crate) async fn get_on(&mut self, connection: &mut Connection, path: &str) -> Answer {
        let request = connection.door().request("GET", path);
        self.send_on(connection, request, "").await
    }

    /// Any request on a kept connection.
    pub(crate) async fn send_on(
        &mut self,
        connection: &mut Connection,
        mut request: http::request::Builder,
        body: &str,
    ) -> Answer {
        if !self.cookies.is_empty() {
            request = request.header("cookie", self.line());
        }
        let answer = connection.send(request, body).await;
        self.take(&answer);
        answer
    }

    /// The names of the backends that answer `count` requests, each on its own connection.
    pub(crate) async fn visits(&mut self, door: &Door, count: usize) -> Vec<String> {
        let mut names = Vec::new();
        for _ in 0..count {
            names.push(self.get(door, "/visit").await.name());
        }
        names
    }

    /// The `Cookie` field it sends.
    pub(crate) fn line(&self) -> String {
        let pairs: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("; ")
    }

    /// Keeps what an answer sets.
    pub(crate) fn take(&mut self, answer: &Answer) {
        for field in answer.set_cookies() {
            let (pair, attributes) = field.split_once(';').unwrap_or((field, ""));
            let (name, value) = pair.trim().split_once('=').unwrap();
            if attributes.to_ascii_lowercase().contains("max-age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    /// Puts a cookie in.
    pub(crate) fn put(&mut self, name: &str, value: &str) {
        self.cookies.insert(name.to_owned(), value.to_owned());
    }

    /// The value of a cookie.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.cookies.get(name).map(String::as_str)
    }

    /// Ostler's cookie: its name and value.
    pub(crate) fn token(&self) -> (String, String) {
        let ours = self.cookies.iter().find(|(name, _)| name.contains("ostler-"));
        let (name, value) = ours.unwrap_or_else(|| panic!("no token in {:?}", self.cookies));
        (name.clone(), value.clone())
    }
}
