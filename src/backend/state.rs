//! What changes about a backend while configurations come and go: padded atomics.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;

use super::concurrency::Concurrency;
use super::drain::Drain;
use super::latency::Latency;
use super::outlier::Outcomes;
use super::own_word::AtomicOwnWord;
use super::queue::Queue;
use crate::config::model::AdminState;

/// What the active checks say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// No check has passed or failed often enough.
    Unchecked,
    /// Passing.
    Up,
    /// Failing.
    Down,
}

/// How the last check went, for operators.
#[derive(Debug, Clone, serde::Serialize)]
pub struct CheckReport {
    /// When it ended.
    pub at: SystemTime,
    /// Whether it passed.
    pub passed: bool,
    /// Whether it has asked, TLS included; else it has only connected.
    #[serde(skip)]
    pub full: bool,
    /// `HTTP 200`, or why it failed.
    pub detail: String,
    /// How long it took.
    pub took: Duration,
    /// Results of this kind in a row.
    pub in_a_row: u32,
}

const NO_MARK: u8 = u8::MAX;
const NO_WEIGHT: u32 = u32::MAX;

/// A count that several workers write, alone on its cache lines (x86 prefetches them in pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded(AtomicU32);

/// Kept by the registry under pool and id for as long as some generation has the backend.
#[derive(Debug)]
pub struct BackendState {
    in_flight: Padded,
    /// Bound visitors that wait for a place here.
    waiting: AtomicU32,
    tunnels: AtomicU32,
    verdict: AtomicU8,
    mark: AtomicU8,
    mark_weight: AtomicU32,
    resolved: AtomicBool,
    /// More sessions than `max_sessions`, and not yet below three quarters of it again.
    crowded: AtomicBool,
    /// A ghost whose time is over.
    ended: AtomicBool,
    /// Unix seconds: since when it takes visitors, since when it warms up, and when a connect last
    /// failed.
    up_since: AtomicU32,
    cold_since: AtomicU32,
    failed_at: AtomicU32,
    /// What a drain asks for.
    pub drain: Drain,
    /// What real traffic says of it.
    pub outcomes: Outcomes,
    /// How long it takes to answer, as peak-ewma sees it.
    pub latency: Latency,
    /// How many requests at once it bears, where that is asked for.
    pub concurrency: Concurrency,
    /// What it says about itself on the answers to its checks.
    pub own_word: AtomicOwnWord,
    /// Who waits for a place in the pool.
    queue: OnceLock<Arc<Queue>>,
    addresses: ArcSwap<Vec<SocketAddr>>,
    last_check: Mutex<Option<CheckReport>>,
}

impl Default for BackendState {
    fn default() -> Self {
        Self {
            in_flight: Padded::default(),
            waiting: AtomicU32::new(0),
            tunnels: AtomicU32::new(0),
            verdict: AtomicU8::new(0),
            mark: AtomicU8::new(NO_MARK),
            mark_weight: AtomicU32::new(NO_WEIGHT),
            resolved: AtomicBool::new(false),
            crowded: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            up_since: AtomicU32::new(0),
            cold_since: AtomicU32::new(0),
            failed_at: AtomicU32::new(0),
            drain: Drain::default(),
            outcomes: Outcomes::default(),
            latency: Latency::default(),
            concurrency: Concurrency::default(),
            own_word: AtomicOwnWord::default(),
            queue: OnceLock::new(),
            addresses: ArcSwap::from_pointee(Vec::new()),
            last_check: Mutex::new(None),
        }
    }
}

impl BackendState {
    /// What the checks say.
    pub fn verdict(&self) -> Verdict {
        match self.verdict.load(Ordering::Relaxed) {
            0 => Verdict::Unchecked,
            1 => Verdict::Up,
            _ => Verdict::Down,
        }
    }

    /// Sets the verdict and returns the one before.
    pub fn set_verdict(&self, verdict: Verdict) -> Verdict {
        let code = match verdict {
            Verdict::Unchecked => 0,
            Verdict::Up => 1,
            Verdict::Down => 2,
        };
        match self.verdict.swap(code, Ordering::Relaxed) {
            0 => Verdict::Unchecked,
            1 => Verdict::Up,
            _ => Verdict::Down,
        }
    }

    /// The operator's live override of the state.
    pub fn marked_state(&self) -> Option<AdminState> {
        match self.mark.load(Ordering::Relaxed) {
            0 => Some(AdminState::Up),
            1 => Some(AdminState::Drain),
            2 => Some(AdminState::Maint),
            _ => None,
        }
    }

    /// The operator's live override of the weight.
    pub fn marked_weight(&self) -> Option<u32> {
        let weight = self.mark_weight.load(Ordering::Relaxed);
        (weight != NO_WEIGHT).then_some(weight)
    }

    /// Sets or lifts the overrides.
    pub fn set_mark(&self, state: Option<AdminState>, weight: Option<u32>) {
        let code = match state {
            Some(AdminState::Up) => 0,
            Some(AdminState::Drain) => 1,
            Some(AdminState::Maint) => 2,
            None => NO_MARK,
        };
        self.mark.store(code, Ordering::Relaxed);
        self.mark_weight.store(weight.unwrap_or(NO_WEIGHT), Ordering::Relaxed);
    }

    /// Whether there is an address to connect to.
    pub fn resolved(&self) -> bool {
        self.resolved.load(Ordering::Relaxed)
    }

    /// Where to connect to, in order of preference; empty while a name has no answer.
    pub fn addresses(&self) -> Arc<Vec<SocketAddr>> {
        self.addresses.load_full()
    }

    /// Replaces the addresses.
    pub fn set_addresses(&self, addresses: Vec<SocketAddr>) {
        let any = !addresses.is_empty();
        self.addresses.store(Arc::new(addresses));
        self.resolved.store(any, Ordering::Release);
    }

    /// How the last check went.
    pub fn last_check(&self) -> Option<CheckReport> {
        self.last_check.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records how a check went; control thread only.
    pub fn set_last_check(&self, report: CheckReport) {
        *self.last_check.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
    }

    /// Whether it has so many sessions that it takes nobody new: from `most` on until they are
    /// below three quarters of it. 0: never.
    pub fn is_crowded(&self, sessions: u64, most: u32) -> bool {
        if most == 0 {
            return false;
        }
        let most = u64::from(most);
        let was = self.crowded.load(Ordering::Relaxed);
        let is = if was { sessions * 4 >= most * 3 } else { sessions >= most };
        if is != was {
            self.crowded.store(is, Ordering::Relaxed);
        }
        is
    }

    /// A ghost ends: its check or a connect has failed, or its time is over. True where it had
    /// not ended before.
    pub fn end(&self) -> bool {
        !self.ended.swap(true, Ordering::Relaxed)
    }

    /// It is in the file again.
    pub fn revive(&self) {
        self.ended.store(false, Ordering::Relaxed);
    }

    /// Whether it is a ghost that has ended.
    pub fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// It takes visitors again, since now (Unix seconds), and is cold.
    pub fn came_up(&self, now: u32) {
        self.found_up(now);
        self.cold_since.store(now, Ordering::Relaxed);
        // What it was like before says nothing about it now.
        self.latency.forget();
    }

    /// It takes visitors since now (Unix seconds), and nobody knows for how long it has run: it is
    /// the process that has just begun, not the backend.
    pub fn found_up(&self, now: u32) {
        self.up_since.store(now, Ordering::Relaxed);
    }

    /// It is the same process as this one, in another pool.
    pub fn as_cold_as(&self, other: &Self) {
        self.cold_since.store(other.cold_since(), Ordering::Relaxed);
    }

    /// A connect to it has failed (Unix seconds).
    pub fn connect_failed(&self, now: u32) {
        self.failed_at.store(now, Ordering::Relaxed);
    }

    /// Since when it warms up, in Unix seconds; 0: it was up when the process began.
    pub fn cold_since(&self) -> u32 {
        self.cold_since.load(Ordering::Relaxed)
    }

    /// For how many seconds it has been well: since it came up and since a connect last failed.
    pub fn well_for(&self, now: u32) -> u32 {
        let since = self.up_since.load(Ordering::Relaxed);
        now.saturating_sub(since.max(self.failed_at.load(Ordering::Relaxed)))
    }

    /// The queue of its pool, for those whose turn comes when an exchange here ends.
    pub fn set_queue(&self, queue: &Arc<Queue>) {
        let _ = self.queue.set(Arc::clone(queue));
    }

    /// Requests in flight over all workers, tunnels too.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.0.load(Ordering::Relaxed)
    }

    /// Tunnels over all workers.
    pub fn tunnels(&self) -> u32 {
        self.tunnels.load(Ordering::Relaxed)
    }

    /// Whether one more may begin. `most`: 0 is no limit. A place that is kept for somebody who
    /// waits is free for whom it was kept only: for those who have been `called`.
    pub fn has_room(&self, most: u32, called: bool) -> bool {
        if most == 0 {
            return true;
        }
        let kept = if called { 0 } else { self.waiting.load(Ordering::SeqCst) };
        self.in_flight.0.load(Ordering::SeqCst).saturating_add(kept) < most
    }

    /// Counts one request until the guard is dropped; none where there are so many already.
    pub fn begin(self: &Arc<Self>, most: u32) -> Option<InFlight> {
        let one_more = |count: u32| (most == 0 || count < most).then(|| count.saturating_add(1));
        if most == 0 {
            self.in_flight.0.fetch_add(1, Ordering::Relaxed);
        } else {
            let order = Ordering::SeqCst;
            self.in_flight.0.fetch_update(order, order, one_more).ok()?;
        }
        Some(InFlight(Arc::clone(self)))
    }

    pub(super) fn waits(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn waits_no_more(&self) {
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One request in flight at a backend.
#[derive(Debug)]
pub struct InFlight(Arc<BackendState>);

impl InFlight {
    /// Whose it is.
    pub fn state(&self) -> &Arc<BackendState> {
        &self.0
    }

    /// It has become a tunnel.
    pub fn into_tunnel(self) -> Tunnel {
        self.0.tunnels.fetch_add(1, Ordering::Relaxed);
        Tunnel(self)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let left = self.0.in_flight.0.fetch_sub(1, Ordering::SeqCst).saturating_sub(1);
        // Where the limit has fallen below what is in flight, this leaves no place to anybody.
        let over = self.0.concurrency.limit().is_some_and(|limit| {
            left.saturating_sub(self.0.tunnels.load(Ordering::Relaxed)) >= limit
        });
        if let Some(queue) = self.0.queue.get().filter(|_| !over) {
            queue.freed(&self.0);
        }
    }
}

/// A tunnel to a backend, in flight for as long as it lasts.
#[derive(Debug)]
pub struct Tunnel(InFlight);

impl Tunnel {
    /// Whose it is.
    pub fn state(&self) -> &Arc<BackendState> {
        self.0.state()
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.0.0.tunnels.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_at_its_limit_takes_one_more_when_one_has_ended() {
        let state = Arc::new(BackendState::default());
        let first = state.begin(1).unwrap();
        assert!(!state.has_room(1, false) && state.begin(1).is_none());
        assert!(state.has_room(0, false) && state.begin(0).is_some());
        drop(first);
        assert!(state.has_room(1, false));
        state.waits();
        assert!(!state.has_room(1, false) && state.has_room(1, true));
        state.waits_no_more();
        let tunnel = state.begin(1).unwrap().into_tunnel();
        assert_eq!((state.tunnels(), state.in_flight()), (1, 1));
        drop(tunnel);
        assert_eq!((state.tunnels(), state.in_flight()), (0, 0));
    }

    #[test]
    fn a_crowded_backend_takes_nobody_new_until_a_quarter_has_left() {
        let state = BackendState::default();
        let crowded = [0, 99, 100, 99, 75, 74, 99, 100].map(|n| state.is_crowded(n, 100));
        assert_eq!(crowded, [false, false, true, true, true, false, false, true]);
        assert!(!state.is_crowded(u64::MAX / 8, 0));
    }

    #[test]
    fn a_failed_connect_counts_as_being_unwell() {
        let state = BackendState::default();
        state.came_up(100);
        assert_eq!(state.well_for(160), 60);
        state.connect_failed(150);
        assert_eq!(state.well_for(160), 10);
    }
}
