//! What the benches stand in: configurations, a worker on this thread, peers, heads.

use std::fmt::Write as _;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Waker};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ostler::config::model::SecretKey;
use ostler::config::{FixedEnvironment, Loaded, parse};
use ostler::http::local::{self, Held, Setup};
use ostler::http::{Peer, Verifier};
use ostler::net::proxy_header::Ends;
use ostler::net::wire::Handle;
use ostler::snapshot::compile::{Compiled, Inputs, compile};
use ostler::snapshot::registry::Registry;
use ostler::snapshot::{Current, Pool, Snapshot};
use ostler::sticky::{Stickiness, Token};
use ostler::telemetry::{ClientProtocol, PerWorker};
use ostler::tls::server::Resumption;
use tokio::io::AsyncWriteExt as _;

/// Unix seconds at which all of this happens.
pub(super) const NOW: u32 = 1_800_000_000;
/// What a visitor's browser keeps beside our cookie.
pub(super) const OTHER_COOKIES: &str =
    "theme=dark; lang=en; _ga=GA1.2.1234567890.1234567890; cart=42";
/// Blocks of every counter; this thread writes the last ones.
const WORKERS: usize = 2;

const LISTENER: &str =
    "[listeners.web]\nbind = [\"127.0.0.1:0\"]\ntrusted_proxies = [\"10.0.0.0/8\"]\n";

/// One route to one sticky pool.
pub(super) fn one_pool(backends: usize) -> String {
    let mut text = format!(
        "{LISTENER}[[routes]]\nname = \"shop\"\nhosts = [\"shop.example.com\"]\n\
         path = \"/api\"\npool = \"shop\"\n[pools.shop]\nsticky.by = \"cookie\"\nbackends = [\n"
    );
    for index in 0..backends {
        let (high, low) = (index / 250, index % 250 + 1);
        writeln!(text, "{{ id = \"backend-{index}\", address = \"10.1.{high}.{low}:80\" }},")
            .expect("writing to a string");
    }
    text + "]\n"
}

/// A hundred paths to a host, and ten routes to a sticky pool of two, up to a hundred pools.
pub(super) fn routes(count: usize) -> String {
    let pools = (count / 10).clamp(1, 100);
    let mut text = LISTENER.to_owned();
    for index in 0..count {
        let (host, path, pool) = (index / 100, index % 100, index % pools);
        write!(
            text,
            "[[routes]]\nname = \"route-{index}\"\nhosts = [\"shop{host}.example.com\"]\n\
             path = \"/api/v{path}\"\npool = \"pool-{pool}\"\n"
        )
        .expect("writing to a string");
    }
    for pool in 0..pools {
        write!(
            text,
            "[pools.pool-{pool}]\nsticky.by = \"cookie\"\nhealth.http = \"/healthz\"\n\
             backends = [{{ id = \"a\", address = \"10.1.{pool}.1:80\" }}, \
             {{ id = \"b\", address = \"10.1.{pool}.2:80\" }}]\n"
        )
        .expect("writing to a string");
    }
    text
}

/// A text to the model; nothing outside the text is read.
pub(super) fn loaded(text: &str) -> Loaded {
    parse(text, Path::new("/etc/ostler/ostler.toml"), &FixedEnvironment::default())
        .unwrap_or_else(|report| panic!("{}", report.render(false)))
}

/// An empty one.
pub(super) fn registry() -> Registry {
    Registry::new(WORKERS, Resumption::new().expect("randomness for tickets"))
}

/// The model to a snapshot, against what the registry knows.
pub(super) fn compiled(loaded: &Loaded, registry: &mut Registry) -> Compiled {
    let mut report = loaded.report();
    let inputs = Inputs {
        model: &loaded.model,
        made_keys: &[SecretKey([7; 32])],
        generation: 1,
        ghosts: &[],
        again: None,
    };
    compile(inputs, registry, &mut report).unwrap_or_else(|| panic!("{}", report.render(false)))
}

/// A text to the snapshot of a fresh process.
pub(super) fn snapshot(text: &str) -> Arc<Snapshot> {
    compiled(&loaded(text), &mut registry()).snapshot
}

/// Makes this thread a worker over [`one_pool`] of three, without an access log; gives what its
/// exchanges read, and a visitor who is nobody's proxy. Benches all run on one thread.
pub(super) fn worker() -> (Held, Arc<Peer>) {
    static WORKER: OnceLock<(Held, Arc<Peer>)> = OnceLock::new();
    let make = || {
        let setup = Setup {
            worker: WORKERS - 1,
            current: Arc::new(Current::new(snapshot(&one_pool(3)))),
            counters: Arc::new(PerWorker::new(WORKERS)),
            log: None,
            verifier: Arc::new(Verifier::new().expect("randomness")),
            seed: 7,
            node: Arc::from("lb-1"),
            pseudonym: HeaderValue::from_static("ostler-0123456789abcdef"),
        };
        local::install(setup);
        (local::snapshot(), peer("203.0.113.9:40000"))
    };
    WORKER.get_or_init(make).clone()
}

/// Somebody who has connected from this address.
pub(super) fn peer(address: &str) -> Arc<Peer> {
    let address = address.parse().expect("an address with a port");
    let handle = Arc::new(Handle::default());
    Arc::new(Peer::new(Ends::from(address), 0, ClientProtocol::Http1, None, handle, Box::new(())))
}

/// The pool of [`one_pool`].
pub(super) fn pool(snapshot: &Snapshot) -> &Arc<Pool> {
    snapshot.pools.first().expect("the one pool")
}

/// How that pool keeps its visitors.
pub(super) fn stickiness(snapshot: &Snapshot) -> &Stickiness {
    pool(snapshot).sticky.as_ref().expect("a sticky pool")
}

/// A session on the first backend of that pool, begun just now.
pub(super) fn token(snapshot: &Snapshot) -> Token {
    let pool = pool(snapshot);
    let home = pool.members.first().expect("a pool with backends").backend.name;
    Token::begin(9, pool.hash, home, NOW)
}

/// A visitor's `Cookie` field, ours behind all others.
pub(super) fn cookie(snapshot: &Snapshot) -> String {
    let ours = stickiness(snapshot).set_cookie(&token(snapshot), true, [7; 12]);
    let ours = String::from_utf8(ours).expect("cookies are ASCII");
    format!("{OTHER_COOKIES}; {}", ours.split(';').next().unwrap_or_default())
}

/// What a browser sends with our cookie in it.
pub(super) fn request_head() -> String {
    let (snapshot, _) = worker();
    let cookie = cookie(&snapshot);
    format!(
        "GET /api/v1/items/12345?page=2&order=price HTTP/1.1\r\n\
         Host: shop.example.com\r\n\
         Connection: keep-alive\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
         Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
         Accept-Language: en-GB,en;q=0.5\r\n\
         Accept-Encoding: gzip, deflate, br, zstd\r\n\
         Referer: https://shop.example.com/api/v1/items\r\n\
         Cookie: {cookie}\r\n\
         Upgrade-Insecure-Requests: 1\r\n\
         Sec-Fetch-Dest: document\r\n\
         Sec-Fetch-Mode: navigate\r\n\
         Sec-Fetch-Site: same-origin\r\n\
         Sec-Fetch-User: ?1\r\n\r\n"
    )
}

/// What an application answers.
pub(super) fn answer_head() -> String {
    "HTTP/1.1 200 OK\r\n\
     Server: nginx/1.22.1\r\n\
     Date: Fri, 15 Jan 2027 08:00:00 GMT\r\n\
     Content-Type: text/html; charset=utf-8\r\n\
     Content-Length: 1024\r\n\
     Connection: keep-alive\r\n\
     Keep-Alive: timeout=15\r\n\
     Vary: Accept-Encoding\r\n\
     Cache-Control: no-cache\r\n\
     ETag: \"5f3c7a1b-400\"\r\n\
     X-Content-Type-Options: nosniff\r\n\
     Strict-Transport-Security: max-age=31536000\r\n\r\n"
        .to_owned()
}

/// So many requests as hyper reads them: nobody else can make an `Incoming`.
pub(super) fn requests(count: usize) -> Vec<Request<Incoming>> {
    let text = request_head().repeat(count);
    let seen = Arc::new(Mutex::new(Vec::with_capacity(count)));
    let into = Arc::clone(&seen);
    let service = service_fn(move |request: Request<Incoming>| {
        into.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        std::future::ready(Ok::<_, http::Error>(Response::new(Empty::<Bytes>::new())))
    });
    // The pipe holds all requests or all answers, so nobody ever waits and no runtime is needed.
    let (mut client, server) = tokio::io::duplex(text.len() + count * 1024);
    let mut context = Context::from_waker(Waker::noop());
    assert!(pin!(client.write_all(text.as_bytes())).poll(&mut context).is_ready());
    assert!(pin!(client.shutdown()).poll(&mut context).is_ready());
    let mut serving = pin!(
        hyper::server::conn::http1::Builder::new()
            .pipeline_flush(true)
            .serve_connection(TokioIo::new(server), service)
    );
    // hyper gives up its turn now and then, which wakes nobody here.
    let ended = (0..100_000).any(|_| serving.as_mut().poll(&mut context).is_ready());
    assert!(ended, "hyper has come to the end");
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(seen.len(), count, "hyper has read every request");
    std::mem::take(&mut *seen)
}
