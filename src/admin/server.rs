//! A small HTTP/1 server for few clients: bounded in connections, sizes and time.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::Answer;
use super::socket;
use crate::event::Actor;
use crate::task;
use crate::telemetry::chain;

/// A request head must be complete by then, an idle connection gives way.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// No connection lives longer: one that takes no answer must not hold its place for ever.
const LIFETIME: Duration = Duration::from_mins(10);
/// After that, and at the end of the process, a running answer has so long.
const GRACE: Duration = Duration::from_secs(2);
/// Bytes of a request head.
const HEAD: usize = 16 << 10;
/// Fields of a request head.
const FIELDS: usize = 64;
/// When the system has no descriptor left, so long until we look again.
const PAUSE: Duration = Duration::from_millis(100);

/// A socket that is accepted on, and what is known of who connects.
pub(super) trait Listen {
    /// One connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// Who is at its other end.
    type Peer: Clone + Send + 'static;
    /// What a connection still needs before it can be served. It holds up nobody else.
    type Opening: Future<Output = io::Result<(Self::Stream, Self::Peer)>> + Send + 'static;

    /// Waits for the next one.
    fn next(&self) -> impl Future<Output = io::Result<Self::Opening>> + Send;
}

impl Listen for TcpListener {
    type Stream = TcpStream;
    type Peer = ();
    type Opening = Ready<io::Result<(TcpStream, ())>>;

    async fn next(&self) -> io::Result<Self::Opening> {
        self.accept().await.map(|(stream, _)| ready(Ok((stream, ()))))
    }
}

impl Listen for UnixListener {
    type Stream = UnixStream;
    type Peer = Actor;
    type Opening = Ready<io::Result<(UnixStream, Actor)>>;

    async fn next(&self) -> io::Result<Self::Opening> {
        let (stream, _) = self.accept().await?;
        let actor = socket::peer(&stream);
        Ok(ready(Ok((stream, actor))))
    }
}

/// Accepts at most so many connections at once until `closing` is cancelled, then lets running
/// answers go out.
pub(super) async fn serve<L, P, F>(most: usize, closing: &CancellationToken, listener: &L, page: P)
where
    L: Listen,
    P: Fn(Request<Incoming>, L::Peer) -> F + Clone + Send + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(most));
    let tracker = TaskTracker::new();
    let accepting = async {
        // Nobody closes the semaphore.
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            match listener.next().await {
                Ok(opening) => {
                    let (page, closing) = (page.clone(), closing.clone());
                    let held = async move {
                        match closing.run_until_cancelled(opening).await {
                            Some(Ok((stream, peer))) => {
                                let page = move |request| page(request, peer.clone());
                                connection(stream, page, closing).await;
                            }
                            Some(Err(error)) => {
                                tracing::debug!(
                                    error = chain(&error),
                                    "an admin connection failed"
                                );
                            }
                            None => {}
                        }
                        drop(place);
                    };
                    drop(task::spawn("admin-connection", tracker.track_future(held)));
                }
                Err(error) => {
                    tracing::warn!(%error, "an admin connection cannot be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    };
    let _: Option<()> = closing.run_until_cancelled(accepting).await;
    tracker.close();
    tracker.wait().await;
}

async fn connection<S, P, F>(stream: S, page: P, closing: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    P: Fn(Request<Incoming>) -> F + Send + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let service = service_fn(move |request| {
        let answer = page(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEAD)
        .max_headers(FIELDS);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = over(&closing) => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(GRACE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = chain(&error), "an admin connection ended early");
    }
}

async fn over(closing: &CancellationToken) {
    // A timeout without an error is the lifetime's end; both mean the same here.
    let _ = tokio::time::timeout(LIFETIME, closing.cancelled()).await;
}
