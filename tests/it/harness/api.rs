//! The API on the socket, without the binary's own client.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::{Proxy, soon};

impl Proxy {
    /// One request under `/api/v1/`: its status, and its document.
    pub(crate) async fn api(&self, method: &str, page: &str, body: &str) -> (u16, Value) {
        let mut stream = UnixStream::connect(self.path("admin.sock")).await.unwrap();
        let length = body.len();
        let request = format!(
            "{method} /api/v1/{page} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        soon("an answer of the API", stream.read_to_string(&mut text)).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_default())
    }

    /// What `ostler sessions` says of one backend.
    pub(crate) async fn sessions_of(&self, pool: &str, backend: &str) -> Value {
        let (status, page) = self.api("GET", &format!("sessions/{pool}"), "").await;
        assert_eq!(status, 200, "{page}");
        let backends = page["pools"][0]["backends"].as_array().unwrap();
        let found = backends.iter().find(|one| one["id"] == backend);
        found.unwrap_or_else(|| panic!("no {backend} in {page}")).clone()
    }

    /// Live sessions of a backend, by the metrics.
    pub(crate) async fn live(&self, backend: &str) -> usize {
        let label = format!("backend=\"{backend}\"");
        whole(self.metric("ostler_backend_sessions", &[&label]).await)
    }

    /// Sessions moved so far for this cause; `""`: for any.
    pub(crate) async fn moved(&self, cause: &str) -> usize {
        let label = format!("cause=\"{cause}");
        whole(self.metric("ostler_sessions_moved_total", &[&label]).await)
    }

    /// How many wait for a place in a pool.
    pub(crate) async fn waiting(&self, pool: &str) -> usize {
        whole(self.metric("ostler_queue_length", &[&format!("pool=\"{pool}\"")]).await)
    }
}

fn whole(sample: f64) -> usize {
    // The sum of no samples is a negative nought.
    format!("{:.0}", sample.abs()).parse().unwrap()
}
