//! What arrives of a message, however it is cut and whatever its size.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadBuf, duplex};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::net::pipe;
use crate::net::wire::{HeadLimits, Waits};

const LIMITS: HeadLimits = HeadLimits { size: 1024, fields: 8, target: 1024 };

/// Has these parts, and fails whoever asks it for more.
struct Parts(VecDeque<Bytes>);

impl Body for Parts {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        let part = self.get_mut().0.pop_front();
        Poll::Ready(Some(part.map(Frame::data).ok_or("its time is over")))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

/// A message with these parts on its way to a client that takes so much at once.
fn sending(
    parts: &[&[u8]],
    framing: Framing,
    room: usize,
) -> (Sending<Parts>, Wire<DuplexStream>, DuplexStream) {
    let (client, server) = duplex(room);
    let mut sending = Sending::default();
    sending.head().extend_from_slice(b"head;");
    let parts = parts.iter().map(|part| Bytes::copy_from_slice(part)).collect();
    sending.begin(Some(Parts(parts)), framing);
    (sending, Wire::client(server, LIMITS, Waits::default()), client)
}

#[tokio::test]
async fn the_end_goes_with_the_last_part_however_slowly_that_is_taken() {
    let large = vec![b'x'; 5000];
    for (framing, before, behind) in [
        (Framing::Chunked(None), "1388\r\n", "\r\n0\r\n\r\n"),
        (Framing::Length(5000), "", ""),
        (Framing::Close, "", ""),
    ] {
        let (mut sending, mut wire, mut client) = sending(&[&large], framing, 7);
        let send = async {
            poll_fn(|cx| sending.poll(&mut wire, cx)).await.unwrap();
            drop(wire);
        };
        let mut text = String::new();
        let ((), read) = tokio::join!(send, client.read_to_string(&mut text));
        read.unwrap();
        let x = "x".repeat(5000);
        assert_eq!(text, format!("head;{before}{x}{behind}"));
    }
}

#[tokio::test]
async fn small_parts_go_with_the_head_in_one_write() {
    let parts = [&b"one"[..], b"", b"two"];
    let framing = Framing::Chunked(None);
    let (mut sending, mut wire, mut client) = sending(&parts, framing, 4096);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(sending.poll(&mut wire, &mut cx), Poll::Ready(Ok(()))));
    let mut text = [0; 64];
    let read = client.read(&mut text).await.unwrap();
    assert_eq!(&text[..read], b"head;3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n");
}

#[tokio::test]
async fn heads_and_parts_of_any_size_arrive_and_have_an_end() {
    let lengths = [1, SMALL - 1, SMALL, SMALL + 1, GATHERED - 1, GATHERED, GATHERED + 1];
    for head in lengths {
        for part in lengths {
            for parts in [0, 1, 10] {
                for (room, framing) in [
                    (1 << 20, Framing::Length((parts * part) as u64)),
                    (1 << 20, Framing::Chunked(None)),
                    (700, Framing::Close),
                ] {
                    let body = vec![vec![b'x'; part]; parts];
                    let all: Vec<&[u8]> = body.iter().map(Vec::as_slice).collect();
                    let (mut sending, mut wire, mut client) = sending(&all, framing, room);
                    sending.head().extend_from_slice(&vec![b'h'; head]);
                    let (framing, body) = (
                        std::mem::replace(&mut sending.framing, Framing::Close),
                        sending.body.take(),
                    );
                    sending.begin(body.filter(|_| parts > 0), framing);
                    let send = async {
                        poll_fn(|cx| sending.poll(&mut wire, cx)).await.unwrap();
                        drop(wire);
                    };
                    let mut text = Vec::new();
                    let ((), read) = tokio::join!(send, client.read_to_end(&mut text));
                    read.unwrap();
                    assert!(text.starts_with(&vec![b'h'; head]), "{head} {part} {parts}");
                    let count = memchr::memchr_iter(b'x', &text).count();
                    assert_eq!(count, part * parts, "{head} {part} {parts}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_body_that_is_too_short_or_too_long_is_an_error() {
    let mut cx = Context::from_waker(Waker::noop());
    for length in [2, 4] {
        let (mut sending, mut wire, _client) = sending(&[b"one"], Framing::Length(length), 64);
        let Poll::Ready(Err(error)) = sending.poll(&mut wire, &mut cx) else {
            panic!("{length} bytes were told");
        };
        assert!(matches!(error, SendError::Length | SendError::Body(_)), "{error:?}");
        assert!(sending.poll(&mut wire, &mut cx).is_pending());
        assert!(!sending.is_complete());
    }
}

/// A body that comes on a socket: so much of it is left, and so many parts went by a pipe.
struct Comes(TcpStream, usize, Arc<AtomicUsize>);

impl Comes {
    fn poll_piped(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Option<Poll<Result<(), io::Error>>> {
        // The end of it has to be asked for as a frame.
        let most = self.1.checked_sub(5000).filter(|most| *most > 0)?;
        Some(pipe.poll_fill(&self.0, cx, most).map_ok(|came| {
            self.1 -= came;
            self.2.fetch_add(1, Ordering::Relaxed);
        }))
    }
}

impl Body for Comes {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        let mut room = [0; 10_000];
        let mut room = ReadBuf::new(&mut room);
        ready!(Pin::new(&mut this.0).poll_read(cx, &mut room))?;
        this.1 -= room.filled().len();
        Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(room.filled())))))
    }

    fn is_end_stream(&self) -> bool {
        self.1 == 0
    }
}

async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (near, listener.accept().await.unwrap().0)
}

#[tokio::test]
async fn a_long_body_arrives_byte_for_byte_by_a_pipe_and_where_there_is_none() {
    let all: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
    for pipes in [0, 1] {
        pipe::allow(pipes);
        let ((mut origin, body), (server, mut client)) = (sockets().await, sockets().await);
        let piped = Arc::new(AtomicUsize::new(0));
        let mut sending = Sending::default();
        sending.by_pipe(Comes::poll_piped);
        sending.head().extend_from_slice(b"head;");
        let length = Framing::Length(all.len() as u64);
        sending.begin(Some(Comes(body, all.len(), Arc::clone(&piped))), length);
        let mut wire = Wire::client(server, LIMITS, Waits::default()).piped();
        let send = async {
            poll_fn(|cx| sending.poll(&mut wire, cx)).await.unwrap();
            assert!(sending.is_complete());
            drop(wire);
        };
        let read = async {
            let mut text = Vec::new();
            let mut piece = vec![0; 70_000];
            loop {
                match client.read(&mut piece).await.unwrap() {
                    0 => break text,
                    length => text.extend_from_slice(&piece[..length]),
                }
            }
        };
        let ((), text, written) = tokio::join!(send, read, origin.write_all(&all));
        written.unwrap();
        assert!(text.starts_with(b"head;") && text[5..] == all, "{pipes}: {}", text.len());
        assert_eq!(piped.load(Ordering::Relaxed) > 0, pipes > 0);
    }
}
