//! Exchanges over a socket: what is read however it is cut, and what becomes of a broken request.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::net::fields::Fields;
use crate::net::message::RequestHead;
use crate::net::wire::Waits;

/// What a body says at one poll: `None` is no part yet.
type Step = Option<Result<Frame<Bytes>, &'static str>>;

/// A body that says what it is told to. Behind a mistake it says that it has ended, as a body of
/// hyper's does.
#[derive(Debug, Default)]
struct Script {
    steps: VecDeque<Step>,
    exact: Option<u64>,
    /// What is not there yet comes when somebody else has a turn; else never.
    wakes: bool,
    /// It is not over after that, and breaks when this is set.
    breaks: Option<Arc<AtomicBool>>,
}

impl hyper::body::Body for Script {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        let this = self.get_mut();
        match this.steps.pop_front() {
            Some(Some(frame)) => Poll::Ready(Some(frame)),
            Some(None) => {
                if this.wakes {
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
            None => match &this.breaks {
                Some(breaks) if breaks.load(Ordering::Relaxed) => {
                    this.breaks = None;
                    Poll::Ready(Some(Err("broken")))
                }
                Some(_) => Poll::Pending,
                None => Poll::Ready(None),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty() && self.breaks.is_none()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.exact.map_or_else(Default::default, hyper::body::SizeHint::with_exact)
    }
}

/// A connection and its other end.
fn pair() -> (Http1<Script>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    near.set_nonblocking(true).unwrap();
    far.set_nodelay(true).unwrap();
    let near = tokio::net::TcpStream::from_std(near).unwrap();
    (Http1::new(Wire::backend(Stream::Tcp(near), Waits::default())), far)
}

fn request(method: Method, body: Script) -> Request<Script> {
    Request { head: RequestHead { method, ..RequestHead::default() }, body }
}

fn data(text: &'static [u8]) -> Frame<Bytes> {
    Frame::data(Bytes::from_static(text))
}

/// All that has come at the other end, which nothing comes to any more.
fn written(http: Http1<Script>, mut far: TcpStream) -> String {
    drop(http);
    let mut bytes = Vec::new();
    far.read_to_end(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// A request that breaks in the very moment in which this comes.
async fn broken_beside(answer: &[u8]) -> (Http1<Script>, TcpStream) {
    let (mut http, mut far) = pair();
    let steps = [Some(Ok(data(b"ab")))].into();
    let breaks = Arc::new(AtomicBool::new(false));
    let body = Script { steps, breaks: Some(Arc::clone(&breaks)), ..Script::default() };
    http.begin(request(Method::POST, body));
    poll_fn(|cx| {
        assert!(http.poll_answer(cx).is_pending());
        far.set_nonblocking(true).unwrap();
        let came = far.peek(&mut [0; 1024]).is_ok();
        far.set_nonblocking(false).unwrap();
        if came { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    far.write_all(answer).unwrap();
    let mut heard = false;
    let answered = poll_fn(|cx| {
        // The socket wakes this task when it has come, and nothing else does.
        breaks.store(heard, Ordering::Relaxed);
        if std::mem::replace(&mut heard, true) { http.poll_answer(cx) } else { Poll::Pending }
    });
    assert_eq!(answered.await.unwrap().status(), 200);
    (http, far)
}

#[tokio::test]
async fn a_request_that_breaks_as_its_answer_comes_is_not_told_to_be_whole() {
    let (mut http, far) = broken_beside(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok").await;
    let part = poll_fn(|cx| http.poll_body(cx)).await.unwrap().unwrap();
    assert_eq!(part.into_data().unwrap(), "ok", "what there is goes first");
    let error = poll_fn(|cx| http.poll_body(cx)).await.unwrap().unwrap_err();
    assert!(matches!(error, AnswerError::Body(_)), "{error:?}");
    assert!(!http.is_complete() && !http.is_reusable());
    let text = written(http, far);
    assert!(text.ends_with("\r\n\r\n2\r\nab\r\n"), "{text:?}");
}

#[tokio::test]
async fn an_answer_that_is_whole_beside_a_broken_request_is_passed_on_and_ends_the_connection() {
    let (mut http, far) = broken_beside(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let part = poll_fn(|cx| http.poll_body(cx)).await.unwrap().unwrap();
    assert_eq!(part.into_data().unwrap(), "ok");
    assert!(http.is_complete() && !http.is_reusable());
    let (none, _) = broken_beside(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert!(none.is_complete() && !none.is_reusable());
    assert!(written(http, far).ends_with("\r\n\r\n2\r\nab\r\n"));
}

#[tokio::test]
async fn little_that_comes_holds_little_memory() {
    let (mut http, mut far) = pair();
    http.begin(request(Method::GET, Script::default()));
    far.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").unwrap();
    assert!(poll_fn(|cx| http.poll_answer(cx)).await.is_ok());
    far.write_all(b"little").unwrap();
    let part = poll_fn(|cx| http.poll_body(cx)).await.unwrap().unwrap();
    let room = part.into_data().unwrap().try_into_mut().unwrap();
    assert_eq!(room, "little");
    assert!(room.capacity() < 1024, "{}", room.capacity());
}

#[tokio::test]
async fn a_change_of_protocol_waits_for_the_whole_request() {
    let (mut http, mut far) = pair();
    let mut steps = VecDeque::from([const { None }; 9]);
    steps.push_front(Some(Ok(data(b"ab"))));
    http.begin(request(Method::POST, Script { steps, ..Script::default() }));
    far.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").unwrap();
    let error = poll_fn(|cx| http.poll_answer(cx)).await.unwrap_err();
    assert!(matches!(error, AnswerError::Refused(_)), "{error:?}");
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framed {
    Length,
    Chunks,
    Open,
    /// To HEAD, with a length.
    Head,
    NoContent,
}

/// An answer of a backend, and what is to be made of it.
#[derive(Debug, Clone)]
struct Case {
    framed: Framed,
    interim: usize,
    pieces: Vec<Vec<u8>>,
    closes: bool,
    behind: Vec<u8>,
    /// Of all the bytes, where it breaks off.
    ends: Option<prop::sample::Index>,
    cut: usize,
}

impl Case {
    /// What the backend says, and how much of that belongs to its answer.
    fn text(&self) -> (Vec<u8>, usize) {
        let body = self.pieces.concat();
        let length = body.len();
        let mut text = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".repeat(self.interim);
        let close = if self.closes { "Connection: close\r\n" } else { "" };
        let (status, framing) = match self.framed {
            Framed::Length | Framed::Head => (200, format!("Content-Length: {length}\r\n")),
            Framed::Chunks => (200, "Transfer-Encoding: chunked\r\n".to_owned()),
            Framed::Open => (200, String::new()),
            Framed::NoContent => (204, String::new()),
        };
        text.extend_from_slice(format!("HTTP/1.1 {status} X\r\n{close}{framing}\r\n").as_bytes());
        match self.framed {
            Framed::Length | Framed::Open => text.extend_from_slice(&body),
            Framed::Chunks => {
                for piece in &self.pieces {
                    text.extend_from_slice(format!("{:x};a\r\n", piece.len()).as_bytes());
                    text.extend_from_slice(piece);
                    text.extend_from_slice(b"\r\n");
                }
                text.extend_from_slice(b"0\r\n\r\n");
            }
            Framed::Head | Framed::NoContent => {}
        }
        let length = text.len();
        text.extend_from_slice(&self.behind);
        (text, length)
    }

    fn end(&self, text: &[u8]) -> usize {
        self.ends.map_or(text.len(), |end| end.index(text.len()))
    }

    /// What is read of it; an error, or whether the connection could be used again.
    async fn read(&self) -> (Vec<u8>, Result<bool, AnswerError>) {
        let (text, length) = self.text();
        let end = self.end(&text);
        let (text, shuts) = (&text[..end], end < length || self.framed == Framed::Open);
        let (mut http, mut far) = pair();
        let method = if self.framed == Framed::Head { Method::HEAD } else { Method::GET };
        http.begin(request(method, Script::default()));
        let mut pieces = text.chunks(self.cut);
        // Whenever there is nothing to be read something comes, or the end.
        let mut more = || match pieces.next() {
            Some(piece) => far.write_all(piece).unwrap(),
            None if shuts => far.shutdown(Shutdown::Write).unwrap(),
            None => {}
        };
        let answered = poll_fn(|cx| {
            let answered = http.poll_answer(cx);
            if answered.is_pending() {
                more();
            }
            answered
        });
        if let Err(error) = answered.await {
            return (Vec::new(), Err(error));
        }
        let mut body = Vec::new();
        while !http.is_complete() {
            let part = poll_fn(|cx| {
                let part = http.poll_body(cx);
                if part.is_pending() {
                    more();
                }
                part
            });
            match part.await {
                Some(Ok(part)) => body.extend_from_slice(&part.into_data().unwrap()),
                Some(Err(error)) => {
                    assert!(!http.is_complete() && !http.is_reusable());
                    return (body, Err(error));
                }
                None => assert!(http.is_complete()),
            }
        }
        for piece in pieces {
            far.write_all(piece).unwrap();
        }
        if !http.is_reusable() {
            return (body, Ok(false));
        }
        http.wire.handle().doubt(true);
        let stirred = poll_fn(|cx| Poll::Ready(http.is_stirred(cx))).await;
        (body, Ok(!stirred))
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let framed = prop_oneof![
        Just(Framed::Length),
        Just(Framed::Chunks),
        Just(Framed::Open),
        Just(Framed::Head),
        Just(Framed::NoContent),
    ];
    (
        (framed, 0..3_usize, vec(vec(any::<u8>(), 1..300), 0..6), any::<bool>()),
        (prop_oneof![Just(Vec::new()), vec(any::<u8>(), 1..4)]),
        proptest::option::of(any::<prop::sample::Index>()),
        prop_oneof![1..9_usize, 1..3000_usize],
    )
        .prop_map(|((framed, interim, pieces, closes), behind, ends, cut)| Case {
            framed,
            interim,
            pieces,
            closes,
            behind,
            ends,
            cut,
        })
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn an_answer_is_read_as_it_was_written_or_not_at_all(case in cases()) {
        let (text, length) = case.text();
        let (body, outcome) = block_on(case.read());
        let whole = case.pieces.concat();
        let end = case.end(&text);
        let expected = match case.framed {
            Framed::Head | Framed::NoContent => Vec::new(),
            Framed::Open => [&whole[..], &case.behind].concat(),
            Framed::Length | Framed::Chunks => whole,
        };
        prop_assert!(expected.starts_with(&body), "{:?}", body);
        match outcome {
            Ok(reusable) => {
                let cut = case.framed == Framed::Open && case.ends.is_some();
                prop_assert!(cut || body == expected, "{:?}", body);
                prop_assert!(cut || end >= length);
                let clean = case.framed != Framed::Open && !case.closes && end == length;
                // One that has come whole goes on, unless something was said behind it.
                prop_assert_eq!(reusable, clean);
            }
            Err(error) => prop_assert!(end < length, "{:?}", error),
        }
    }

    #[test]
    fn a_body_is_written_as_it_was_given(
        pieces in vec(proptest::option::of(vec(any::<u8>(), 0..300)), 1..9),
        exact in any::<bool>(),
        trailers in any::<bool>(),
    ) {
        let body = pieces.iter().flatten().flatten().copied().collect::<Vec<u8>>();
        let text = block_on(async {
            let (mut http, mut far) = pair();
            let given = |piece: &Vec<u8>| Ok(Frame::data(Bytes::copy_from_slice(piece)));
            let mut steps: VecDeque<Step> =
                pieces.iter().map(|piece| piece.as_ref().map(given)).collect();
            if trailers {
                let mut fields = http::HeaderMap::new();
                fields.insert("x-sum", http::HeaderValue::from_static("1"));
                steps.push_back(Some(Ok(Frame::trailers(fields))));
            }
            let exact = exact.then_some(body.len() as u64);
            let body = Script { steps, exact, wakes: true, breaks: None };
            let mut request = request(Method::POST, body);
            request.head.headers = Fields::of(&[("trailer", "x-sum")]);
            http.begin(request);
            poll_fn(|cx| {
                assert!(http.poll_answer(cx).is_pending());
                if http.request.is_complete() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            drop(http);
            let mut text = Vec::new();
            far.read_to_end(&mut text).unwrap();
            text
        });
        let end = text.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let (head, rest) = text.split_at(end);
        let head = String::from_utf8(head.to_vec()).unwrap();
        if exact {
            prop_assert_eq!(head.contains("content-length"), !body.is_empty());
            prop_assert!(!head.contains("transfer-encoding") && rest == body);
            return Ok(());
        }
        prop_assert!(head.contains("transfer-encoding: chunked") && !head.contains("-length"));
        let (mut chunked, mut there) = (Chunked::default(), BytesMut::from(rest));
        let (mut read, mut fields) = (Vec::new(), 0);
        loop {
            match chunked.next(&mut there).unwrap() {
                Part::Data(data) => read.extend_from_slice(&data),
                Part::Trailers(map) => fields = map.len(),
                Part::End => break,
                other => panic!("{other:?}"),
            }
        }
        prop_assert!(there.is_empty() && read == body);
        prop_assert_eq!(fields, usize::from(trailers));
    }
}
