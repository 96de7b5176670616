//! What changes about a backend while configurations come and go: padded atomics.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;

use crate::config::model::AdminState;

/// What the active checks say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
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
    verdict: AtomicU8,
    mark: AtomicU8,
    mark_weight: AtomicU32,
    resolved: AtomicBool,
    addresses: ArcSwap<Vec<SocketAddr>>,
    last_check: Mutex<Option<CheckReport>>,
}

impl Default for BackendState {
    fn default() -> Self {
        Self {
            in_flight: Padded::default(),
            verdict: AtomicU8::new(0),
            mark: AtomicU8::new(NO_MARK),
            mark_weight: AtomicU32::new(NO_WEIGHT),
            resolved: AtomicBool::new(false),
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

    /// Requests in flight over all workers.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.0.load(Ordering::Relaxed)
    }

    /// Counts one request until the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.0.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
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
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.0.fetch_sub(1, Ordering::Relaxed);
    }
}
