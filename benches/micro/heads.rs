//! What becomes of heads: the check below hyper, and the rewriting of requests and answers.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use criterion::{BatchSize, Criterion, Throughput};
use http::StatusCode;
use http::header::{HeaderName, HeaderValue};
use hyper::body::Incoming;
use hyper::rt::Read as _;
use ostler::http::forward::{self, Outbound, Way};
use ostler::http::header::seen::Seen;
use ostler::http::header::{forwarded, hop};
use ostler::http::record::Record;
use ostler::http::respond::{self, Shape};
use ostler::http::{Peer, admit};
use ostler::net::fields::Fields;
use ostler::net::message::RequestHead;
use ostler::net::wire::{HeadLimits, Waits, Wire, read_answer};
use ostler::snapshot::choice::Choice;
use ostler::snapshot::{Listener, Route};
use ostler::sticky::Issue;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::world;

const LIMITS: HeadLimits = HeadLimits { size: 32 * 1024, fields: 100, target: 32 * 1024 };
/// Heads that are made ready at once, so that making them is not timed and they stay in the cache.
const READY: BatchSize = BatchSize::NumIterations(32);

/// A peer that says the same again at every read, and hears nothing.
struct Echo<'a>(&'a [u8]);

impl AsyncRead for Echo<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        buffer.put_slice(self.0);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Echo<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Reads once, as hyper does. Gives the number of bytes.
fn read(wire: &mut Wire<Echo<'_>>, space: &mut [u8]) -> usize {
    let mut buffer = hyper::rt::ReadBuf::new(space);
    let mut context = Context::from_waker(Waker::noop());
    let _ = Pin::new(wire).poll_read(&mut context, buffer.unfilled());
    buffer.filled().len()
}

/// One read of a head through the wire. `untouched` is the wire of HTTP/2, which looks at nothing:
/// what the others take more is the check.
pub(super) fn wire(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wire");
    let mut space = vec![0; 16 * 1024];
    let request = world::request_head();
    let short = "GET / HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: curl/8.5.0\r\n\
                 Accept: */*\r\n\r\n";
    let answer = format!("{}{}", world::answer_head(), "x".repeat(1024));
    for (name, text) in [("request", &*request), ("request_short", short)] {
        group.throughput(Throughput::Bytes(text.len().try_into().unwrap_or(0)));
        let mut client = Wire::client(Echo(text.as_bytes()), LIMITS, Waits::default());
        assert_eq!(read(&mut client, &mut space), text.len());
        assert_eq!(client.handle().heads(), 1);
        group.bench_function(name, |bencher| bencher.iter(|| read(&mut client, &mut space)));
    }
    group.throughput(Throughput::Bytes(answer.len().try_into().unwrap_or(0)));
    let answer = bytes::Bytes::from(answer);
    group.bench_function("answer", |bencher| {
        bencher.iter(|| read_answer(&answer, &LIMITS, &mut Fields::new()).expect("a good one"));
    });
    group.throughput(Throughput::Bytes(request.len().try_into().unwrap_or(0)));
    let mut framed = Wire::framed(Echo(request.as_bytes()), Waits::default());
    group.bench_function("untouched", |bencher| bencher.iter(|| read(&mut framed, &mut space)));
    group.finish();
}

pub(super) fn rewrite(criterion: &mut Criterion) {
    requests(criterion);
    answers(criterion);
}

/// Where a request of the bench comes from and goes to.
struct Road<'a> {
    peer: &'a Arc<Peer>,
    listener: &'a Listener,
    route: &'a Route,
}

impl Road<'_> {
    /// All that an exchange does to a request's head before a backend is chosen, but for the
    /// session.
    fn travel(&self, head: &mut RequestHead, body: Incoming, record: &mut Record) -> Outbound {
        let &Self { peer, listener, route } = self;
        // As it is before anybody was asked about the request.
        (record.request_id, record.trace) = (None, None);
        let seen = Seen::of(&head.headers);
        let ip = peer.address.ip();
        let client = forwarded::client(&head.headers, ip, true, &listener.trusted);
        let admitted = admit::check(head, seen, peer, listener).expect("a head without fault");
        let sticky = route.pools().next().and_then(|pool| pool.sticky.as_deref());
        forward::hide_cookies(&mut head.headers, sticky);
        let way = Way { admitted: &admitted, seen, route, listener, peer, client };
        forward::prepare(head, Some(body), way, record)
    }
}

fn requests(criterion: &mut Criterion) {
    let (snapshot, stranger) = world::worker();
    let proxy = world::peer("10.0.0.1:40000");
    let listener = snapshot.listeners.first().expect("the one listener");
    let route = snapshot.routes.first().expect("the one route");
    let head = RequestHead::from(world::requests(1).remove(0).into_parts().0);
    let mut group = criterion.benchmark_group("rewrite_request");
    group.bench_function("strip_hop_by_hop", |bencher| {
        let strip = |headers: &mut Fields| hop::strip(headers, Seen::of(headers));
        bencher.iter_batched_ref(|| head.headers.clone(), strip, READY);
    });
    // A stranger's forwarding fields are replaced, a trusted proxy's are continued.
    for (name, peer) in [("from_stranger", &stranger), ("from_proxy", &proxy)] {
        let mut head = head.clone();
        let chain = HeaderValue::from_static("198.51.100.7");
        head.headers.insert(HeaderName::from_static("x-forwarded-for"), chain);
        let road = Road { peer, listener, route };
        let mut record = Record::begin(snapshot.clone(), peer.clone(), 0, &head);
        let mut bodies = Vec::new();
        let mut ready = || {
            if bodies.is_empty() {
                bodies = world::requests(256);
            }
            let body = bodies.pop().expect("just made").into_body();
            (head.clone(), body)
        };
        group.bench_function(name, |bencher| {
            // What is left of the head is given back, to be dropped outside the time.
            let travel = |(mut head, body)| (road.travel(&mut head, body, &mut record), head);
            bencher.iter_batched(&mut ready, travel, READY);
        });
    }
    group.finish();
}

/// What `respond::build` does to an answer's head; the answer as such needs a connection.
fn answers(criterion: &mut Criterion) {
    let (snapshot, _) = world::worker();
    let pool = world::pool(&snapshot);
    let sticky = world::stickiness(&snapshot);
    let token = world::token(&snapshot);
    let headers: Fields = world::answer_head()
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| {
            let name = HeaderName::try_from(name).expect("a name");
            (name, HeaderValue::try_from(value).expect("a value"))
        })
        .collect();
    let mut group = criterion.benchmark_group("rewrite_answer");
    for (name, issue) in [("kept", Issue::Nothing), ("bound", Issue::Bind(token))] {
        let choice = Choice::new(0, issue, None, None);
        let shape = Shape {
            pool,
            sticky: Some(sticky),
            choice: &choice,
            issue,
            joined: false,
            moved_from: None,
            preflight: false,
            https: true,
            now: world::NOW,
            body: None,
            left: None,
        };
        group.bench_function(name, |bencher| {
            let build = |headers: &mut Fields| {
                let seen = Seen::of(headers);
                let idle = hop::keep_alive_timeout(headers);
                hop::strip(headers, seen);
                (idle, respond::bind(headers, StatusCode::OK, sticky, &shape))
            };
            bencher.iter_batched_ref(|| headers.clone(), build, READY);
        });
    }
    group.finish();
}
