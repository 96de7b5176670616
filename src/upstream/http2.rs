//! HTTP/2 connections to backends: shared by the exchanges of a worker, a stream for each.
// Unlike one of HTTP/1.1 such a connection has a task of its own, for no exchange owns it. What is
// kept here is in a worker's thread like the rest; the few atomics are for the compiler.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::task::AtomicWaker;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;

use super::answered::{AnswerError, Answered, Unanswered};
use super::connection::Answer;
use super::dial::{DialError, Target, reach};
use super::idle::Keep;
use super::stream::Stream as Io;
use crate::config::defaults;
use crate::net::clock;
use crate::net::message::{Request, Response};
use crate::net::outgoing::Outgoing;
use crate::task;

/// A small window a stream and a large one a connection: a client that does not read holds little,
/// and many small frames of a backend that streams are no attack (`h2` counts them against the
/// connection's).
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// Streams of one connection, should the backend allow more: what one lost packet holds up.
const MOST_STREAMS: usize = 256;
/// What is buffered of one request's body.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams whose clients have left, and which the backend may still send frames for.
const RESET_STREAMS: usize = 1024;
/// How long they are remembered.
const RESET_FOR: Duration = Duration::from_secs(10);
/// A silent connection is asked whether it lives, also while it is idle: a dead one would take
/// every request that comes.
const PING: Duration = Duration::from_secs(10);
const PONG: Duration = Duration::from_secs(5);

/// What an exchange and the connection's task know of each other.
#[derive(Debug)]
struct State {
    streams: AtomicUsize,
    /// How many there may be.
    most: AtomicUsize,
    uses: AtomicU64,
    /// When the last stream ended, on the worker's clock.
    idle_since: AtomicU64,
    ended: AtomicBool,
}

/// A connection that a worker has open.
struct Shared<B: Outgoing> {
    sender: http2::SendRequest<B>,
    state: Arc<State>,
    /// On the worker's clock, milliseconds.
    opened: u64,
}

impl<B: Outgoing> Shared<B> {
    fn alive(&self) -> bool {
        !self.state.ended.load(Ordering::Relaxed) && !self.sender.is_closed()
    }

    fn old(&self, keep: Keep, now: u64) -> bool {
        keep.is_old(now.saturating_sub(self.opened))
    }

    fn streams(&self) -> usize {
        self.state.streams.load(Ordering::Relaxed)
    }

    fn has_room(&self) -> bool {
        self.streams() < self.state.most.load(Ordering::Relaxed)
    }

    /// Whether nobody uses it and it has been so for too long.
    fn idled(&self, longest: Duration, now: u64) -> bool {
        let since = now.saturating_sub(self.state.idle_since.load(Ordering::Relaxed));
        self.streams() == 0 && Duration::from_millis(since) >= longest
    }
}

/// One exchange's stream. Its drop gives the place back, and resets what is not complete.
#[derive(Debug)]
pub struct Stream<B: Outgoing> {
    sender: http2::SendRequest<B>,
    state: Arc<State>,
    reused: bool,
}

impl<B: Outgoing> Stream<B> {
    /// Whether its connection has carried an exchange before.
    pub fn reused(&self) -> bool {
        self.reused
    }

    /// Begins to send a request.
    pub(super) fn send(
        &mut self,
        mut request: Request<B>,
    ) -> impl Future<Output = Answer> + use<B> {
        request.head.headers.detach();
        self.sender.try_send_request(request.into()).map(|answer| match answer {
            Ok(response) => {
                Ok(Response::from(response).map(|body| Answered::Http2(Box::new(body))))
            }
            Err(mut error) => {
                let unsent = error.take_message().is_some();
                Err(Unanswered { error: error.into_error().into(), unsent })
            }
        })
    }
}

impl<B: Outgoing> Drop for Stream<B> {
    fn drop(&mut self) {
        if self.state.streams.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.state.idle_since.store(clock::now(), Ordering::Relaxed);
        }
    }
}

/// What comes of a connection that somebody opens: told to those who wait for it.
type Dialled = Result<(), Arc<DialError>>;

/// A connection is being opened by another exchange.
#[derive(Debug)]
pub struct Dialling(watch::Receiver<Option<Dialled>>);

impl Dialling {
    /// How it ended; nothing where whoever opened it has given up.
    pub async fn ended(mut self) -> Option<Dialled> {
        let told = self.0.wait_for(Option::is_some).await;
        told.ok().and_then(|told| told.clone())
    }
}

/// Whoever holds this opens a connection for all that wait.
#[derive(Debug)]
pub struct Promise(watch::Sender<Option<Dialled>>);

impl Promise {
    /// Tells those who wait how it ended.
    pub fn keep(self, dialled: Dialled) {
        self.0.send_replace(Some(dialled));
    }
}

/// What there is for a request.
#[derive(Debug)]
pub enum Found<B: Outgoing> {
    /// A stream of an open connection.
    Stream(Stream<B>),
    /// A connection that is being opened.
    Dialling(Dialling),
    /// Neither: the caller is to open one.
    Nothing(Promise),
}

/// An open connection, before the worker has it.
pub struct Opened<B: Outgoing>(Shared<B>);

impl<B: Outgoing> std::fmt::Debug for Opened<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Opened").field(&self.0.state).finish()
    }
}

/// One worker's HTTP/2 connections, by backend.
pub struct Streams<B: Outgoing> {
    slots: Vec<Line<B>>,
}

struct Line<B: Outgoing> {
    open: Vec<(Shared<B>, Keep)>,
    dialling: Option<watch::Receiver<Option<Dialled>>>,
}

impl<B: Outgoing> Default for Streams<B> {
    fn default() -> Self {
        Self { slots: Vec::new() }
    }
}

impl<B: Outgoing> std::fmt::Debug for Streams<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams").field("slots", &self.slots.len()).finish()
    }
}

impl<B: Outgoing> Streams<B> {
    /// A stream to this backend, of the connection that has the fewest; or what to do for one.
    /// Another connection is opened when all have as many streams as the backend allows.
    pub fn find(&mut self, slot: usize, now: u64) -> Found<B> {
        let Some(line) = self.line(slot) else {
            return Found::Nothing(Promise(watch::Sender::new(None)));
        };
        line.open.retain(|(shared, _)| shared.alive());
        let usable =
            |(shared, keep): &&(Shared<B>, Keep)| shared.has_room() && !shared.old(*keep, now);
        if let Some((shared, _)) = line.open.iter().filter(usable).min_by_key(|(s, _)| s.streams())
        {
            shared.state.streams.fetch_add(1, Ordering::Relaxed);
            let reused = shared.state.uses.fetch_add(1, Ordering::Relaxed) > 0;
            let (sender, state) = (shared.sender.clone(), Arc::clone(&shared.state));
            return Found::Stream(Stream { sender, state, reused });
        }
        if let Some(dialling) = &line.dialling
            && dialling.borrow().is_none()
            && dialling.has_changed().is_ok()
        {
            return Found::Dialling(Dialling(dialling.clone()));
        }
        let (promise, dialling) = watch::channel(None);
        line.dialling = Some(dialling);
        Found::Nothing(Promise(promise))
    }

    /// A connection to this backend has been opened.
    pub fn add(&mut self, slot: usize, opened: Opened<B>, keep: Keep) {
        if let Some(line) = self.line(slot) {
            line.open.push((opened.0, keep));
        }
    }

    /// Lets go of what has ended, idles for too long or is too old. Streams that are open go on.
    pub fn sweep(&mut self, now: u64) {
        for line in &mut self.slots {
            line.open.retain(|(shared, keep)| {
                shared.alive() && !shared.old(*keep, now) && !shared.idled(keep.idle(), now)
            });
        }
    }

    /// Lets go of what has been idle for so long, whatever its pool says.
    pub fn shrink(&mut self, longest: Duration, now: u64) {
        for line in &mut self.slots {
            line.open.retain(|(shared, _)| !shared.idled(longest, now));
        }
    }

    /// Idle connections to this backend.
    pub fn count_idle(&self, slot: usize) -> usize {
        let open = self.slots.get(slot).map_or(&[][..], |line| &line.open);
        open.iter().filter(|(shared, _)| shared.streams() == 0).count()
    }

    fn line(&mut self, slot: usize) -> Option<&mut Line<B>> {
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || Line { open: Vec::new(), dialling: None });
        }
        self.slots.get_mut(slot)
    }
}

/// Opens a connection, and has a task drive it until nobody holds it any more.
///
/// # Errors
/// Of the last address, when none of them served.
pub async fn dial<B: Outgoing>(target: Target<'_>) -> Result<Opened<B>, DialError> {
    let timeout = Some(target.timeout);
    clock::within(timeout, open(target)).await.unwrap_or(Err(DialError::Timeout))
}

/// Who waits for a connection to be open.
#[derive(Debug, Default)]
struct Opening {
    /// The future that reads and writes it has been started.
    started: AtomicBool,
    waker: AtomicWaker,
}

/// Starts what hyper wants to run for a connection, and wakes whoever waits for it to be open after
/// each step of the first, which reads the backend's settings: hyper tells nobody of them.
#[derive(Debug, Clone)]
struct Steps(Arc<Opening>);

impl<F> hyper::rt::Executor<F> for Steps
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        if self.0.started.swap(true, Ordering::Relaxed) {
            return hyper::rt::Executor::execute(&task::Executor, future);
        }
        let opening = Arc::clone(&self.0);
        task::spawn("backend connection", async move {
            let mut future = pin!(future);
            std::future::poll_fn(|cx| {
                let poll = future.as_mut().poll(cx);
                opening.waker.wake();
                poll
            })
            .await
        });
    }
}

async fn open<B: Outgoing>(target: Target<'_>) -> Result<Opened<B>, DialError> {
    let stream: Io = reach(&target).await?;
    let opening = Arc::new(Opening::default());
    let (sender, mut driver) = http2::Builder::new(Steps(Arc::clone(&opening)))
        // None before the backend has said how many: what is above its limit would wait for the
        // others instead of going by another connection.
        .initial_max_send_streams(0)
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(defaults::BACKEND_HEADER_SIZE).unwrap_or(u32::MAX))
        .max_concurrent_reset_streams(RESET_STREAMS)
        .reset_stream_duration(RESET_FOR)
        // Clients that leave make late frames of their streams: no fault of the backend's.
        .max_local_error_reset_streams(None)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| DialError::Refused(io::Error::other(error)))?;
    let gone = std::future::poll_fn(|cx| {
        opening.waker.register(cx.waker());
        match Pin::new(&mut driver).poll(cx) {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            Poll::Pending if driver.current_max_send_streams() > 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    });
    if let Some(ended) = gone.await {
        let why = ended.err().map_or_else(|| io::ErrorKind::UnexpectedEof.into(), io::Error::other);
        return Err(DialError::Refused(why));
    }
    let now = clock::now();
    let state = Arc::new(State {
        streams: AtomicUsize::new(0),
        most: AtomicUsize::new(driver.current_max_send_streams().min(MOST_STREAMS)),
        uses: AtomicU64::new(0),
        idle_since: AtomicU64::new(now),
        ended: AtomicBool::new(false),
    });
    let told = Arc::clone(&state);
    task::spawn("backend connection", async move {
        let mut driver = pin!(driver);
        // Whoever waits for an answer is told why there is none.
        let _ = std::future::poll_fn(|cx| {
            let poll = driver.as_mut().poll(cx);
            let most = driver.current_max_send_streams().min(MOST_STREAMS);
            told.most.store(most, Ordering::Relaxed);
            poll
        })
        .await;
        told.ended.store(true, Ordering::Relaxed);
    });
    Ok(Opened(Shared { sender, state, opened: now }))
}

/// Whether the backend has said that it did not process the stream whose request came to this end:
/// a refused one, or one above the last of a graceful GOAWAY (RFC 9113 §8.7).
pub fn unprocessed(error: &AnswerError) -> bool {
    let AnswerError::Http2(error) = error else { return false };
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<h2::Error>() {
            let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
            let leaving = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
            return error.is_remote() && (refused || leaving);
        }
        source = cause.source();
    }
    false
}
