//! What a worker owns: its view of the snapshot, idle connections, positions, log buffer.
// All of it is in the worker's thread, so nothing here locks; functions, not references, because
// futures are `Send` and never hold any of it over an await.

use std::cell::{Cell, OnceCell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Cache};
use bytes::BytesMut;
use http::{HeaderValue, Version};

use crate::balance::Cursor;
use crate::net::pressure::{self, Level};
use crate::net::proxy_header::Ends;
use crate::net::{clock, fields, heap};
use crate::snapshot::{Current, Pool, Snapshot};
use crate::telemetry::access_log::{AccessLog, Entry, LineBuffer};
use crate::telemetry::counters::{PerWorker, WorkerCounters};
use crate::upstream::http2::{Found, Opened, Streams};
use crate::upstream::idle::Keep;
use crate::upstream::lease::Home;
use crate::upstream::{Connection, Idle};

use super::auth::Verifier;
use super::upload::RequestBody;

/// Idle connections are looked through once in so many ticks of the worker's clock: a second.
const TICKS_PER_SWEEP: u32 = 10;
/// While it is short, memory goes back to the system once in so many.
const TICKS_PER_RELIEF: u32 = 5;

/// Small field values are cut from buffers of this size (bytes): twenty exchanges to an allocation,
/// and not much more than its own values is kept by an exchange that lasts.
const VALUES: usize = 2048;

/// How long requests of a listener that has left are still served (milliseconds).
const LINGER: u64 = 30_000;

/// A hold on a snapshot for one exchange. The outer count is the worker's own, so that workers do
/// not fight over one cache line at every request.
pub type Held = Arc<Arc<Snapshot>>;

thread_local! {
    static LOCAL: OnceCell<Local> = const { OnceCell::new() };
}

struct Local {
    worker: usize,
    snapshot: RefCell<View>,
    idle: RefCell<Idle<RequestBody>>,
    streams: RefCell<Streams<RequestBody>>,
    cursors: RefCell<Vec<Option<Cursor>>>,
    random: RefCell<fastrand::Rng>,
    log: RefCell<LineBuffer>,
    verifier: Arc<Verifier>,
    counters: Arc<PerWorker<WorkerCounters>>,
    node: Arc<str>,
    pseudonym: HeaderValue,
    /// With the version before it: 1.0, 1.1, 2.0.
    vias: [HeaderValue; 3],
    values: RefCell<BytesMut>,
    ending: Cell<bool>,
}

struct View {
    cache: Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>,
    held: Held,
    /// The one before, while requests of listeners that left may still come in; and since when it
    /// is (milliseconds on the worker's clock).
    previous: Option<(Held, u64)>,
}

/// What a worker is made of.
pub struct Setup {
    /// Its number.
    pub worker: usize,
    /// The snapshot in force.
    pub current: Arc<Current>,
    /// Shared by all workers, a block each.
    pub counters: Arc<PerWorker<WorkerCounters>>,
    /// Absent: no access log.
    pub log: Option<AccessLog>,
    /// Tries passwords; shared by all workers.
    pub verifier: Arc<Verifier>,
    /// From the system's randomness.
    pub seed: u64,
    /// Name of this node, for the log.
    pub node: Arc<str>,
    /// What this process calls itself in `Via`, after the version.
    pub pseudonym: HeaderValue,
}

/// Makes this thread a worker; once.
pub fn install(setup: Setup) {
    let mut cache = Cache::new(setup.current.swap());
    let held = Arc::new(Arc::clone(cache.load()));
    let log = setup.log.map_or_else(LineBuffer::disabled, |log| log.writer());
    let local = Local {
        worker: setup.worker,
        snapshot: RefCell::new(View { cache, held, previous: None }),
        idle: RefCell::default(),
        streams: RefCell::default(),
        cursors: RefCell::default(),
        random: RefCell::new(fastrand::Rng::with_seed(setup.seed)),
        log: RefCell::new(log),
        verifier: setup.verifier,
        counters: setup.counters,
        node: setup.node,
        vias: ["1.0", "1.1", "2.0"].map(|version| via_value(version, &setup.pseudonym)),
        pseudonym: setup.pseudonym,
        values: RefCell::default(),
        ending: Cell::new(false),
    };
    LOCAL.with(|place| assert!(place.set(local).is_ok(), "a thread becomes a worker once"));
}

/// RFC 9110 §7.6.3.
fn via_value(version: &str, pseudonym: &HeaderValue) -> HeaderValue {
    let value = [version.as_bytes(), b" ", pseudonym.as_bytes()].concat();
    // Shared, so that a copy is no allocation.
    HeaderValue::from_maybe_shared(bytes::Bytes::from(value)).unwrap_or_else(|_| pseudonym.clone())
}

fn with<T>(act: impl FnOnce(&Local) -> T) -> T {
    #[expect(clippy::expect_used, reason = "a programming error, not an event")]
    LOCAL.with(|local| act(local.get().expect("only workers serve exchanges")))
}

/// This worker's number.
pub fn worker() -> usize {
    with(|local| local.worker)
}

/// The snapshot in force, for one exchange from start to end.
pub fn snapshot() -> Held {
    with(|local| local.snapshot.borrow_mut().latest())
}

/// The snapshot in force and the place of a listener in it; for one that has just left, the one
/// before, so that no request on its way is lost.
pub fn snapshot_for(listener: usize) -> Option<(Held, usize)> {
    let place = |held: &Held| held.listeners.iter().position(|one| one.slot == listener);
    with(|local| {
        let mut view = local.snapshot.borrow_mut();
        let latest = view.latest();
        if let Some(index) = place(&latest) {
            return Some((latest, index));
        }
        let (previous, _) = view.previous.as_ref()?;
        let index = place(previous)?;
        Some((Arc::clone(previous), index))
    })
}

impl View {
    /// Lets go of the previous snapshot a while after the swap.
    fn forget(&mut self) {
        let since = self.previous.as_ref().map(|(_, since)| *since);
        if since.is_some_and(|since| clock::now().saturating_sub(since) > LINGER) {
            self.previous = None;
        }
    }

    fn latest(&mut self) -> Held {
        let latest = self.cache.load();
        if !Arc::ptr_eq(latest, &self.held) {
            let latest = Arc::new(Arc::clone(latest));
            let previous = std::mem::replace(&mut self.held, latest);
            let left = previous.listeners.iter().any(|one| self.held.listener(one.slot).is_none());
            if left {
                self.previous = Some((previous, clock::now()));
            }
        }
        Arc::clone(&self.held)
    }
}

/// A random number; not for secrets.
pub fn random() -> u64 {
    let [random] = randoms();
    random
}

/// So many random numbers; not for secrets.
pub fn randoms<const N: usize>() -> [u64; N] {
    with(|local| {
        let mut random = local.random.borrow_mut();
        std::array::from_fn(|_| random.u64(..))
    })
}

/// A nonce for a token. AES-GCM-SIV forgives repetition, so speed decides.
pub fn nonce() -> [u8; 12] {
    let mut nonce = [0; 12];
    with(|local| local.random.borrow_mut().fill(&mut nonce));
    nonce
}

/// This worker's position in a pool.
pub fn position<T>(pool: &Pool, act: impl FnOnce(&mut Cursor) -> T) -> T {
    with(|local| {
        let mut cursors = local.cursors.borrow_mut();
        if cursors.len() <= pool.slot {
            cursors.resize_with(pool.slot + 1, || None);
        }
        #[expect(clippy::indexing_slicing, reason = "resized two lines above")]
        let cursor = cursors[pool.slot]
            .get_or_insert_with(|| Cursor::new(local.random.borrow_mut().u64(..)));
        act(cursor)
    })
}

/// An idle connection to a backend, which was told of these ends, if of any. `sure`: by a look at
/// its socket.
pub fn take_idle(
    slot: usize,
    told: Option<Ends>,
    sure: bool,
) -> Option<Box<Connection<RequestBody>>> {
    with(|local| local.idle.borrow_mut().take(slot, told, sure, clock::now()))
}

/// A stream to a backend that is spoken to in HTTP/2, or what to do for one.
pub fn find_stream(slot: usize) -> Found<RequestBody> {
    with(|local| local.streams.borrow_mut().find(slot, clock::now()))
}

/// Has a connection to such a backend for all of this worker.
pub fn add_streams(place: Place, opened: Opened<RequestBody>) {
    with(|local| local.streams.borrow_mut().add(place.slot, opened, place.keep));
}

/// Writes one line.
pub fn log(entry: &Entry<'_>) {
    with(|local| local.log.borrow_mut().write(entry));
}

/// Whether lines are wanted.
pub fn logs() -> bool {
    with(|local| local.log.borrow().enabled())
}

/// Tries passwords beside the workers.
pub fn verifier() -> Arc<Verifier> {
    with(|local| Arc::clone(&local.verifier))
}

/// Name of this node.
pub fn node() -> Arc<str> {
    with(|local| Arc::clone(&local.node))
}

/// What goes into `Via` for a message of this version.
pub fn via(version: Version) -> HeaderValue {
    let [http10, http11, http2] = [0, 1, 2];
    let index = match version {
        Version::HTTP_10 => http10,
        Version::HTTP_2 => http2,
        _ => http11,
    };
    with(|local| local.vias.get(index).unwrap_or(&local.pseudonym).clone())
}

/// Two texts of visible ASCII as values of fields, cut from a buffer of the worker's: hardly ever
/// an allocation.
pub fn values(first: &[u8], second: &[u8]) -> (HeaderValue, HeaderValue) {
    let (first, second) = with(|local| {
        let mut values = local.values.borrow_mut();
        let length = first.len() + second.len();
        if values.capacity() < length {
            // What was cut from the old one lives on as long as it is needed.
            *values = BytesMut::with_capacity(VALUES.max(length));
        }
        let mut cut = |text: &[u8]| {
            values.extend_from_slice(text);
            values.split().freeze()
        };
        (cut(first), cut(second))
    });
    (value(first), value(second))
}

#[inline(never)] // there are two in a request
fn value(text: bytes::Bytes) -> HeaderValue {
    let value = fields::visible(text);
    debug_assert!(value.is_some(), "made of visible ASCII");
    value.unwrap_or_else(|| HeaderValue::from_static(""))
}

/// What this process calls itself in `Via` (RFC 9110 §7.6.3).
pub fn pseudonym() -> HeaderValue {
    with(|local| local.pseudonym.clone())
}

/// This worker's own counters.
pub fn counters<T>(act: impl FnOnce(&WorkerCounters) -> T) -> T {
    with(|local| act(local.counters.get(local.worker)))
}

/// What a worker does at every tick of its clock: hands log lines to the writer, and now and then
/// closes old connections and lets go of an old snapshot.
pub fn housekeeping() -> impl FnMut() {
    let mut ticks = 0;
    move || {
        flush();
        relieve(ticks % TICKS_PER_RELIEF == 0);
        ticks += 1;
        if ticks == TICKS_PER_SWEEP {
            ticks = 0;
            sweep();
        }
    }
}

/// The worker ends: what it drops from now on is cut off by us, not by its client.
pub fn end() {
    with(|local| local.ending.set(true));
}

/// Whether the worker ends.
pub fn is_ending() -> bool {
    with(|local| local.ending.get())
}

/// Hands the last lines to the writer.
pub fn flush() {
    with(|local| local.log.borrow_mut().flush());
}

/// Idle connections to backends are the first that go when memory is short.
fn relieve(give_back: bool) {
    let level = pressure::level();
    if level == Level::Calm {
        return;
    }
    let longest = if level >= Level::Sessions { Duration::ZERO } else { pressure::IDLE };
    with(|local| {
        local.idle.borrow_mut().shrink(longest, clock::now());
        local.streams.borrow_mut().shrink(longest, clock::now());
    });
    if give_back {
        heap::give_back();
    }
}

fn sweep() {
    heap::give_back();
    let snapshot = snapshot();
    with(|local| {
        local.snapshot.borrow_mut().forget();
        let mut idle = local.idle.borrow_mut();
        idle.sweep(clock::now());
        let mut streams = local.streams.borrow_mut();
        streams.sweep(clock::now());
        for member in snapshot.pools.iter().flat_map(|pool| &pool.members) {
            let gauge = &member.counters.get(local.worker).idle;
            let count = idle.count(member.slot) + streams.count_idle(member.slot);
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            gauge.add(count - gauge.get());
        }
    });
}

/// Where a lent connection goes back to.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    slot: usize,
    keep: Keep,
}

impl Place {
    /// The idle connections of this backend.
    pub fn new(slot: usize, pool: &Pool) -> Self {
        Self { slot, keep: pool.keep }
    }
}

impl Home<RequestBody> for Place {
    fn give_back(&self, connection: Box<Connection<RequestBody>>) {
        idle(|idle| _ = idle.put(self.slot, connection, self.keep, clock::now()));
    }

    fn lost(&self, idled: u64) {
        idle(|idle| idle.lost(self.slot, idled, clock::now()));
    }
}

/// At the end of a worker its thread-local may be gone already.
fn idle(act: impl FnOnce(&mut Idle<RequestBody>)) {
    let _ = LOCAL.try_with(|local| {
        if let Some(Ok(mut idle)) = local.get().map(|local| local.idle.try_borrow_mut()) {
            act(&mut idle);
        }
    });
}
