//! A stream that remembers the first bytes of both ways, where somebody wants to see them.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::conversation::{self, Notes};

/// Bytes of each way that are kept.
const MOST: usize = 16 << 10;

/// The stream.
pub(super) struct Tapped<S> {
    stream: S,
    heard: Option<Arc<Mutex<Heard>>>,
}

/// What went by, for whoever asks when it is over.
#[derive(Debug)]
pub(super) struct Tap(Option<Arc<Mutex<Heard>>>);

#[derive(Debug, Default)]
struct Heard {
    sent: Way,
    received: Way,
}

#[derive(Debug, Default)]
struct Way {
    begun: Option<Instant>,
    bytes: Vec<u8>,
}

impl Way {
    fn hear(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.begun.get_or_insert_with(Instant::now);
            let room = MOST - self.bytes.len();
            self.bytes.extend(bytes.iter().take(room));
        }
    }
}

impl<S> Tapped<S> {
    /// Remembers where `wanted`, and costs one branch where not.
    pub(super) fn new(stream: S, wanted: bool) -> (Self, Tap) {
        let heard = wanted.then(Arc::default);
        (Self { stream, heard: heard.clone() }, Tap(heard))
    }

    fn hear(&self, way: impl FnOnce(&mut Heard)) {
        if let Some(heard) = &self.heard {
            way(&mut heard.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

impl Tap {
    /// Takes down the heads of both ways.
    pub(super) fn tell(&self, notes: &mut Notes) {
        let Some(heard) = &self.0 else { return };
        let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        for (step, way) in [("sent", &heard.sent), ("received", &heard.received)] {
            if let Some(begun) = way.begun {
                notes.note_at(begun, step, || conversation::head(&way.bytes));
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tapped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let new = buffer.filled().get(before..).unwrap_or_default();
        self.hear(|heard| heard.received.hear(new));
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tapped<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(length)) = written {
            self.hear(|heard| heard.sent.hear(bytes.get(..length).unwrap_or_default()));
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[test]
    fn the_first_bytes_of_both_ways_are_remembered() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (ours, mut theirs) = duplex(64 << 10);
            let (mut stream, tap) = Tapped::new(ours, true);
            stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            theirs.write_all(&vec![b'x'; 20_000]).await.unwrap();
            drop(theirs);
            stream.read_to_end(&mut Vec::new()).await.unwrap();
            let mut notes = Notes::begin();
            tap.tell(&mut notes);
            let steps = notes.into_steps();
            assert_eq!(
                (steps[0].step.as_str(), steps[0].text.as_str()),
                ("sent", "GET / HTTP/1.1")
            );
            assert_eq!(tap.0.unwrap().lock().unwrap().received.bytes.len(), MOST);
        });
    }
}
