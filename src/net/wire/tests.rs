//! The wire under a real hyper server.

use std::sync::Mutex;
use std::task::Waker;

use http_body_util::Empty;
use hyper::service::service_fn;
use hyper::{Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

const LIMITS: HeadLimits = HeadLimits { size: 4096, fields: 20, target: 2048 };

/// What a client gets that sends these pieces, and what the service saw of each request.
async fn exchange(pieces: &[&[u8]]) -> (String, Vec<(String, Option<Refusal>)>) {
    let (mut client, server) = tokio::io::duplex(64 * 1024);
    let wire = Wire::client(server, LIMITS, Waits::default());
    let handle = Arc::clone(wire.handle());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let mut log = log.lock().unwrap();
        let refused = handle.refused(log.len() as u64);
        log.push((request.uri().to_string(), refused));
        let status = if refused.is_some() { 400 } else { 200 };
        let answer = Response::builder().status(status).body(Empty::<bytes::Bytes>::new());
        std::future::ready(answer)
    });
    let serve = async move {
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(wire, service).await;
    };
    let talk = async {
        for piece in pieces {
            client.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        client.shutdown().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let ((), answer) = tokio::join!(serve, talk);
    let seen = seen.lock().unwrap().clone();
    (answer, seen)
}

#[tokio::test]
async fn a_head_in_pieces_is_one_request() {
    let (answer, seen) = exchange(&[b"GE", b"T /a HTTP/1.1\r\nHo", b"st: x\r\n\r", b"\n"]).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(seen, [("/a".to_owned(), None)]);
}

#[tokio::test]
async fn a_refused_head_behind_a_good_one_is_answered_in_its_turn() {
    let bytes =
        b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\nHost: x\n\nGET /c HTTP/1.1\r\n\r\n";
    let (answer, seen) = exchange(&[bytes]).await;
    let statuses: Vec<&str> = answer.split("HTTP/1.1 ").skip(1).map(|part| &part[..3]).collect();
    assert_eq!(statuses, ["200", "400"]);
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0], ("/a".to_owned(), None));
    assert_eq!(seen[1].1, Some(Refusal::LineEnd));
}

#[tokio::test]
async fn a_body_passes_untouched() {
    let bytes = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\nGET /b\n\n\n\r\n\
        GET /c HTTP/1.1\r\nHost: x\r\n\r\n";
    let (_, seen) = exchange(&[bytes]).await;
    assert_eq!(seen.iter().map(|(uri, _)| uri.as_str()).collect::<Vec<_>>(), ["/a", "/c"]);
}

#[test]
fn an_earlier_pipelined_exchange_does_not_decide_about_a_later_handshake() {
    let handle = Handle::default();
    handle.note(2);
    handle.hold();
    handle.done(0);
    assert!(!handle.releasing(), "the first of two is done");
    handle.done(0);
    assert_eq!(handle.take_release(), Some(false), "the handshake brought no tunnel");
}

#[test]
fn one_of_many_answers_has_one_part_on_its_way() {
    let handle = Handle::default();
    handle.framed();
    let ready = |given| handle.poll_unblocked(given, Waker::noop()).is_ready();
    (0..8).for_each(|_| handle.begun());
    assert!(!handle.is_crowded());
    handle.begun();
    assert!(handle.is_crowded());
    let given = Some(handle.flushes());
    assert!(ready(None) && !ready(given));
    handle.flushed();
    assert!(ready(given));
    handle.set_blocked(1);
    assert!(!ready(None) && !ready(given));
    handle.set_unblocked();
    assert!(ready(given));
}
