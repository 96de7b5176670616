//! How an origin answers: HTTP/1.1 by hand, so that it sees every byte and may send any.

use std::io::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use xxhash_rust::xxh3::Xxh3;

use super::origin::{After, Fault, Seen, Shared};

/// Byte `offset` of every large body, so that both ends can check it without the other.
pub(crate) fn pattern(offset: u64, buffer: &mut [u8]) {
    for (index, byte) in (offset..).zip(buffer) {
        *byte = ((index * 31) ^ (index >> 8) ^ (index >> 16)).to_le_bytes()[0];
    }
}

/// The hash of the first `length` bytes of the pattern.
pub(crate) fn pattern_hash(length: u64) -> u64 {
    let mut hash = Xxh3::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut offset = 0;
    while offset < length {
        let size = usize::try_from(length - offset).unwrap().min(buffer.len());
        pattern(offset, &mut buffer[..size]);
        hash.update(&buffer[..size]);
        offset += u64::try_from(size).unwrap();
    }
    hash.digest()
}

/// What says that a handshake was understood.
fn accept(seen: &Seen) -> String {
    derive_accept_key(seen.one("sec-websocket-key").unwrap_or_default().as_bytes())
}

/// Serves one connection until either side ends it.
pub(super) async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let mut wire = Wire { stream, buffer: Vec::new(), shared };
    while let Ok(true) = wire.exchange().await {}
}

struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    shared: Arc<Shared>,
}

impl Wire {
    /// One request and its answer; false when the connection is over.
    async fn exchange(&mut self) -> Result<bool> {
        let Some(seen) = self.head().await? else { return Ok(false) };
        if seen.target == "/healthz" {
            let odd = self.shared.checks.fetch_add(1, Ordering::Relaxed) % 2 == 1;
            let flaps = odd && self.shared.flapping.load(Ordering::Relaxed);
            let healthy = self.shared.healthy.load(Ordering::Relaxed) && !flaps;
            let word = self.shared.own_word.lock().unwrap().clone();
            let word = word.map_or_else(String::new, |word| format!("x-ostler-state: {word}\r\n"));
            self.send(if healthy { 200 } else { 503 }, &word, b"checked").await?;
            return Ok(true);
        }
        let count = {
            let mut all = self.shared.seen.lock().unwrap();
            all.push(seen.clone());
            all.len()
        };
        let fault = self.shared.fault.lock().unwrap().clone();
        match fault {
            Fault::ResetAfterHead => self.reset(),
            Fault::ResetEachOther if count % 2 == 1 => self.reset(),
            Fault::None | Fault::ResetEachOther => self.answer(&seen).await,
            Fault::Late(late) => {
                tokio::time::sleep(late).await;
                self.answer(&seen).await
            }
            Fault::Slots(slots, work) => {
                let inside = self.shared.inside.fetch_add(1, Ordering::Relaxed) + 1;
                self.shared.most_inside.fetch_max(inside, Ordering::Relaxed);
                let slot = slots.acquire().await;
                tokio::time::sleep(work).await;
                drop(slot);
                self.shared.inside.fetch_sub(1, Ordering::Relaxed);
                self.answer(&seen).await
            }
            Fault::HangInHead => self.hold().await,
            Fault::Status(status) => {
                self.drain(&seen).await?;
                self.send(status, "", b"as told").await?;
                Ok(true)
            }
            Fault::Bytes(bytes, after) => {
                self.stream.write_all(&bytes).await?;
                match after {
                    After::Reset => self.reset(),
                    After::Hold => self.hold().await,
                    After::Close => {
                        self.stream.shutdown().await?;
                        Ok(false)
                    }
                }
            }
        }
    }

    async fn answer(&mut self, seen: &Seen) -> Result<bool> {
        let (path, _) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
        let mut parts = path.trim_start_matches('/').split('/');
        let word = parts.next().unwrap_or_default();
        let number = parts.next().and_then(|text| text.parse::<u64>().ok());
        match (word, number) {
            ("gate", _) => {
                self.gate().await?;
                self.echo(seen).await?;
            }
            ("gated-upload", _) => {
                self.gate().await?;
                self.sink(seen).await?;
            }
            ("gated-body", _) => {
                self.stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst")
                    .await?;
                self.gate().await?;
                self.stream.write_all(b"after").await?;
            }
            ("sink", _) => self.sink(seen).await?,
            ("big", Some(length)) => self.big(length).await?,
            ("abort", Some(length)) => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", length + 1000);
                self.stream.write_all(head.as_bytes()).await?;
                self.body(length).await?;
                return self.reset();
            }
            ("status", Some(status)) => {
                self.drain(seen).await?;
                let body: &[u8] = if [204, 304].contains(&status) { b"" } else { b"as told" };
                self.send(u16::try_from(status).unwrap(), "", body).await?;
            }
            ("cacheable", _) => {
                self.send(200, "cache-control: public, max-age=600\r\n", b"asset").await?;
            }
            ("login", _) => {
                // What an application invents for its visitor, as a cookie and as a field.
                let serial = self.shared.serial.fetch_add(1, Ordering::Relaxed);
                let id = format!("{}-{serial}", self.shared.name);
                let fields = format!(
                    "content-type: application/json\r\nmcp-session-id: {id}\r\n\
                     set-cookie: JSESSIONID={id}; Path=/\r\n"
                );
                let body = json!({ "name": self.shared.name }).to_string();
                self.send(200, &fields, body.as_bytes()).await?;
            }
            ("close", _) => {
                self.send(200, "connection: close\r\n", b"the last").await?;
                return Ok(false);
            }
            ("websocket", _) => return self.websocket(seen).await,
            ("tunnel", _) => return self.tunnel(&accept(seen)).await,
            ("broken", _) => {
                self.switch(&accept(seen)).await?;
                self.more().await?;
                return self.reset();
            }
            ("misheard", _) => return self.tunnel(&derive_accept_key(b"another")).await,
            _ => self.echo(seen).await?,
        }
        Ok(true)
    }

    async fn head(&mut self) -> Result<Option<Seen>> {
        let end = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            if !self.more().await? {
                return Ok(None);
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.trim_end().split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
        let mut word = || words.next().unwrap_or_default();
        let (method, target, version) = (word(), word(), word());
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Ok(Some(Seen { method, target, version, head: head.clone(), headers }))
    }

    async fn more(&mut self) -> Result<bool> {
        let mut chunk = vec![0; 64 * 1024];
        let count = self.stream.read(&mut chunk).await?;
        self.buffer.extend_from_slice(&chunk[..count]);
        Ok(count > 0)
    }

    /// Takes at most `limit` bytes of what has come; an end is an error here.
    async fn take(&mut self, limit: u64) -> Result<Vec<u8>> {
        if self.buffer.is_empty() && !self.more().await? {
            self.shared.cancelled.fetch_add(1, Ordering::Relaxed);
            return Err(Error::other("the request was cut short"));
        }
        let size = usize::try_from(limit).unwrap_or(usize::MAX).min(self.buffer.len());
        Ok(self.buffer.drain(..size).collect())
    }

    async fn line(&mut self) -> Result<String> {
        let end = loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                break end;
            }
            if !self.more().await? {
                self.shared.cancelled.fetch_add(1, Ordering::Relaxed);
                return Err(Error::other("the request was cut short"));
            }
        };
        let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
        Ok(String::from_utf8_lossy(&line[..end]).into_owned())
    }

    /// Reads the body to its end: its length, its hash, and its trailers.
    async fn drain(&mut self, seen: &Seen) -> Result<(u64, u64, Vec<String>)> {
        let mut hash = Xxh3::new();
        let (mut total, mut trailers) = (0, Vec::new());
        let chunked = seen.all("transfer-encoding").contains(&"chunked");
        loop {
            let mut left = if chunked {
                let line = self.line().await?;
                u64::from_str_radix(line.trim(), 16).map_err(Error::other)?
            } else {
                seen.one("content-length").map_or(0, |length| length.parse().unwrap())
            };
            let last = !chunked || left == 0;
            while left > 0 {
                let part = self.take(left).await?;
                let size = u64::try_from(part.len()).unwrap();
                self.shared.consumed.fetch_add(size, Ordering::Relaxed);
                hash.update(&part);
                total += size;
                left -= size;
            }
            if !last {
                self.line().await?;
                continue;
            }
            if chunked {
                loop {
                    let line = self.line().await?;
                    if line.is_empty() {
                        break;
                    }
                    trailers.push(line);
                }
            }
            return Ok((total, hash.digest(), trailers));
        }
    }

    async fn send(&mut self, status: u16, fields: &str, body: &[u8]) -> Result<()> {
        let mut bytes = format!("HTTP/1.1 {status} As Told\r\n{fields}").into_bytes();
        if ![204, 304].contains(&status) {
            bytes.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body);
        self.stream.write_all(&bytes).await
    }

    /// The head as JSON; a HEAD request gets the head of it.
    async fn echo(&mut self, seen: &Seen) -> Result<()> {
        let (length, ..) = self.drain(seen).await?;
        let serial = self.shared.serial.fetch_add(1, Ordering::Relaxed);
        let body = json!({
            "name": self.shared.name, "serial": serial, "method": seen.method,
            "target": seen.target, "version": seen.version, "headers": seen.headers,
            "length": length,
        });
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.stream.write_all(head.as_bytes()).await?;
        if seen.method == "HEAD" { Ok(()) } else { self.stream.write_all(body.as_bytes()).await }
    }

    async fn sink(&mut self, seen: &Seen) -> Result<()> {
        let (length, hash, trailers) = self.drain(seen).await?;
        let body = json!({
            "name": self.shared.name, "length": length, "hash": hash, "trailers": trailers,
        });
        self.send(200, "content-type: application/json\r\n", body.to_string().as_bytes()).await
    }

    async fn big(&mut self, length: u64) -> Result<()> {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
        self.stream.write_all(head.as_bytes()).await?;
        self.body(length).await
    }

    async fn body(&mut self, length: u64) -> Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        let mut offset = 0;
        while offset < length {
            let size = usize::try_from(length - offset).unwrap().min(buffer.len());
            pattern(offset, &mut buffer[..size]);
            if let Err(error) = self.stream.write_all(&buffer[..size]).await {
                self.shared.cancelled.fetch_add(1, Ordering::Relaxed);
                return Err(error);
            }
            offset += u64::try_from(size).unwrap();
            self.shared.produced.store(offset, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Waits for the gate, or for the other side to give up.
    async fn gate(&mut self) -> Result<()> {
        let mut gate = self.shared.gate.subscribe();
        let mut byte = [0];
        let left = async {
            // A body that waits in the socket is no departure: only an end or an error is.
            loop {
                match self.stream.peek(&mut byte).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
                }
            }
        };
        tokio::select! {
            _ = gate.wait_for(|open| *open) => Ok(()),
            () = left => {
                self.shared.cancelled.fetch_add(1, Ordering::Relaxed);
                Err(Error::other("the client left"))
            }
        }
    }

    async fn hold(&mut self) -> Result<bool> {
        while self.more().await? {}
        self.shared.cancelled.fetch_add(1, Ordering::Relaxed);
        Ok(false)
    }

    fn reset(&mut self) -> Result<bool> {
        socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO))?;
        Ok(false)
    }

    async fn websocket(&mut self, seen: &Seen) -> Result<bool> {
        self.switch(&accept(seen)).await?;
        let mut socket =
            WebSocketStream::from_raw_socket(&mut self.stream, Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            if !message.is_close() && socket.send(message).await.is_err() {
                break;
            }
        }
        Ok(false)
    }

    /// After its 101: echoes to the client's end, and only then says its last word.
    async fn tunnel(&mut self, accept: &str) -> Result<bool> {
        self.switch(accept).await?;
        loop {
            let bytes = std::mem::take(&mut self.buffer);
            self.stream.write_all(&bytes).await?;
            if !self.more().await? {
                break;
            }
        }
        self.stream.write_all(b"and goodbye").await?;
        self.stream.shutdown().await?;
        Ok(false)
    }

    async fn switch(&mut self, accept: &str) -> Result<()> {
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-accept: {accept}\r\n\r\n"
        );
        self.stream.write_all(head.as_bytes()).await
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
