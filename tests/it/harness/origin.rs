//! An origin of its own thread: it answers, remembers what it saw, and fails on demand.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use super::answers;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) version: String,
    /// The head as it came.
    pub(crate) head: String,
    /// In order of arrival, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
}

impl Seen {
    /// All values of one field.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let same = |field: &&(String, String)| field.0 == name;
        self.headers.iter().filter(same).map(|field| field.1.as_str()).collect()
    }

    /// The only value of a field; none where it is missing, a panic where it came twice.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(values.len() <= 1, "{name} came {} times: {values:?}", values.len());
        values.first().copied()
    }
}

/// What happens to a scripted connection when its bytes are out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// An orderly end.
    Close,
    /// A reset.
    Reset,
    /// Nothing more, for as long as the other side stays.
    Hold,
}

/// How requests are mistreated; health checks never are.
#[derive(Debug, Clone, Default)]
pub(crate) enum Fault {
    /// Answers as it should.
    #[default]
    None,
    /// Takes the head and resets the connection.
    ResetAfterHead,
    /// The same to each other request.
    ResetEachOther,
    /// Takes the head and never answers.
    HangInHead,
    /// Answers as it should, so much later.
    Late(Duration),
    /// Works on so many at once, for so long each; the others queue.
    Slots(Arc<Semaphore>, Duration),
    /// Answers with a status.
    Status(u16),
    /// Answers with these bytes, whatever was asked.
    Bytes(Vec<u8>, After),
}

pub(super) struct Shared {
    pub(super) name: String,
    pub(super) serial: AtomicU64,
    pub(super) seen: Mutex<Vec<Seen>>,
    pub(super) fault: Mutex<Fault>,
    pub(super) healthy: AtomicBool,
    pub(super) flapping: AtomicBool,
    /// What it says about itself on the answer to a check.
    pub(super) own_word: Mutex<Option<String>>,
    pub(super) checks: AtomicUsize,
    /// Exchanges whose client left before the end.
    pub(super) cancelled: AtomicUsize,
    /// Body bytes written and read so far.
    pub(super) produced: AtomicU64,
    pub(super) consumed: AtomicU64,
    pub(super) connections: AtomicUsize,
    /// Requests in `Fault::Slots`, and the most at once.
    pub(super) inside: AtomicUsize,
    pub(super) most_inside: AtomicUsize,
    /// Opens what waits on purpose (`/gate…`).
    pub(super) gate: watch::Sender<bool>,
}

/// One origin server on a port of its own.
pub(crate) struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
    running: Option<(watch::Sender<bool>, JoinHandle<()>)>,
}

impl Origin {
    /// Listens on port zero and serves.
    pub(crate) fn start(name: &str) -> Self {
        Self::start_on(name, StdListener::bind("127.0.0.1:0").unwrap())
    }

    /// So many of them, named by their addresses 127.0.0.1, 127.0.0.2, …, all on the same port.
    pub(crate) fn row(count: u8) -> Vec<Self> {
        for _ in 0..20 {
            let port = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let bind = |last| StdListener::bind(SocketAddr::from(([127, 0, 0, last], port)));
            let listeners: Result<Vec<_>, _> = (1..=count).map(bind).collect();
            let Ok(listeners) = listeners else { continue };
            let start = |listener: StdListener| {
                let name = listener.local_addr().unwrap().ip().to_string();
                Self::start_on(&name, listener)
            };
            return listeners.into_iter().map(start).collect();
        }
        panic!("no port is free on {count} addresses of this machine");
    }

    fn start_on(name: &str, listener: StdListener) -> Self {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            serial: AtomicU64::new(0),
            seen: Mutex::new(Vec::new()),
            fault: Mutex::new(Fault::None),
            healthy: AtomicBool::new(true),
            flapping: AtomicBool::new(false),
            own_word: Mutex::new(None),
            checks: AtomicUsize::new(0),
            cancelled: AtomicUsize::new(0),
            produced: AtomicU64::new(0),
            consumed: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
            inside: AtomicUsize::new(0),
            most_inside: AtomicUsize::new(0),
            gate: watch::Sender::new(false),
        });
        let address = listener.local_addr().unwrap();
        let mut origin = Self { address, shared, running: None };
        origin.serve(listener);
        origin
    }

    /// Three of them, named a, b and c.
    pub(crate) fn three() -> [Self; 3] {
        ["a", "b", "c"].map(Self::start)
    }

    fn serve(&mut self, listener: StdListener) {
        let (stop, mut stopped) = watch::channel(false);
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                listener.set_nonblocking(true).unwrap();
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = accept(listener, shared) => {}
                    _ = stopped.wait_for(|stop| *stop) => {}
                }
            });
            // Dropping the runtime drops every connection: to peers it is a killed process.
            runtime.shutdown_timeout(Duration::from_secs(1));
        });
        self.running = Some((stop, thread));
    }

    /// Where it listens, also while it is stopped.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its name, and its id in the pools made by the harness.
    pub(crate) fn name(&self) -> &str {
        &self.shared.name
    }

    /// Dies: connections end, new ones are refused.
    pub(crate) fn kill(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            stop.send_replace(true);
            thread.join().unwrap();
        }
    }

    /// Comes back where it was.
    pub(crate) fn revive(&mut self) {
        assert!(self.running.is_none(), "{} is alive", self.name());
        // Meanwhile somebody may have been given its port for a connection out.
        let end = Instant::now() + super::SOON;
        let listener = loop {
            match StdListener::bind(self.address) {
                Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < end => {
                    std::thread::park_timeout(Duration::from_millis(50));
                }
                bound => break bound.unwrap(),
            }
        };
        self.serve(listener);
    }

    /// Mistreats requests from now on.
    pub(crate) fn fault(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap() = fault;
    }

    /// Has so many slots from now on, in which a request takes so long.
    pub(crate) fn slots(&self, slots: usize, work: Duration) {
        self.fault(Fault::Slots(Arc::new(Semaphore::new(slots)), work));
    }

    /// The most requests that were in its slots or waited for one since this was last asked.
    pub(crate) fn most_inside(&self) -> usize {
        self.shared.most_inside.swap(0, Ordering::Relaxed)
    }

    /// Answers every request with these bytes, then closes.
    pub(crate) fn script(&self, bytes: &[u8]) {
        self.fault(Fault::Bytes(bytes.to_vec(), After::Close));
    }

    /// Makes `/healthz` pass or fail.
    pub(crate) fn healthy(&self, healthy: bool) {
        self.shared.healthy.store(healthy, Ordering::Relaxed);
    }

    /// Makes each other check fail.
    pub(crate) fn flapping(&self, flapping: bool) {
        self.shared.flapping.store(flapping, Ordering::Relaxed);
    }

    /// What its answers to checks say in `X-Ostler-State` from now on, if anything.
    pub(crate) fn says(&self, word: Option<&str>) {
        *self.shared.own_word.lock().unwrap() = word.map(str::to_owned);
    }

    /// Lets go what waits in `/gate…`.
    pub(crate) fn open_gate(&self) {
        self.shared.gate.send_replace(true);
    }

    /// Requests so far, health checks apart.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// The latest request.
    pub(crate) fn last(&self) -> Seen {
        self.seen().pop().unwrap_or_else(|| panic!("{} saw no request", self.name()))
    }

    /// How many requests.
    pub(crate) fn count(&self) -> usize {
        self.shared.seen.lock().unwrap().len()
    }

    /// Health checks so far.
    pub(crate) fn checks(&self) -> usize {
        self.shared.checks.load(Ordering::Relaxed)
    }

    /// Exchanges that the other side gave up.
    pub(crate) fn cancelled(&self) -> usize {
        self.shared.cancelled.load(Ordering::Relaxed)
    }

    /// Response body bytes made so far.
    pub(crate) fn produced(&self) -> u64 {
        self.shared.produced.load(Ordering::Relaxed)
    }

    /// Request body bytes taken so far.
    pub(crate) fn consumed(&self) -> u64 {
        self.shared.consumed.load(Ordering::Relaxed)
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        // Head and body are written apart: together they would wait for an acknowledgement.
        let _ = stream.set_nodelay(true);
        shared.connections.fetch_add(1, Ordering::Relaxed);
        super::spawn(answers::connection(stream, Arc::clone(&shared)));
    }
}
