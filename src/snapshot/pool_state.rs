//! What changes about a pool while configurations come and go: its sessions and its queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

use crate::backend::Queue;
use crate::backend::outlier::Quota;
use crate::sticky::count::Sessions;
use crate::telemetry::counters::{PerWorker, PoolCounters};

use super::Purse;

/// Kept by the registry under the pool's name.
#[derive(Debug)]
pub struct PoolState {
    /// Who was seen where within `idle`.
    pub sessions: Sessions,
    /// Whether it learns what the backends make; otherwise it counts.
    pub learns: bool,
    /// Who waits for a place at a backend.
    pub queue: Arc<Queue>,
    /// How many backends may be ejected at once.
    pub quota: Quota,
    /// What pays for repetitions of requests.
    pub retries: Purse,
    /// What pays for second attempts beside a first one.
    pub hedges: Purse,
    /// Sessions that may still be moved in this period to even out the pool.
    moves: AtomicU32,
    /// The tier in force: a lower one may be held back.
    tier: AtomicU8,
    /// Its quorum is lost.
    short: AtomicBool,
}

impl PoolState {
    /// Of a pool that has served nobody yet.
    pub fn new(
        sessions: Sessions,
        learns: bool,
        queue: Arc<Queue>,
        counters: &PerWorker<PoolCounters>,
    ) -> Self {
        let workers = counters.iter().count();
        Self {
            sessions,
            learns,
            queue,
            quota: Quota::default(),
            retries: Purse::new(workers, counters.sum(|it| it.earned.get())),
            hedges: Purse::new(workers, counters.sum(|it| it.hedges_earned.get())),
            moves: AtomicU32::new(0),
            tier: AtomicU8::new(0),
            short: AtomicBool::new(false),
        }
    }

    /// Whether its quorum is lost.
    pub fn is_short(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }

    /// Says whether its quorum is lost, and returns what was said before; control thread only.
    pub fn set_short(&self, short: bool) -> bool {
        self.short.swap(short, Ordering::Relaxed)
    }

    /// The tier that was in force when the control thread looked last.
    pub fn tier(&self) -> u8 {
        self.tier.load(Ordering::Relaxed)
    }

    /// Puts a tier into force; control thread only.
    pub fn set_tier(&self, tier: u8) {
        self.tier.store(tier, Ordering::Relaxed);
    }

    /// Allows so many moves in the period that begins.
    pub fn allow_moves(&self, moves: u32) {
        self.moves.store(moves, Ordering::Relaxed);
    }

    /// Whether a session may still be moved in this period.
    pub fn may_move(&self) -> bool {
        self.moves.load(Ordering::Relaxed) > 0
    }

    /// Takes one of the moves of this period, if one is left: before its request is sent, or those
    /// that run at the same time would be more than may be.
    pub fn take_move(&self) -> bool {
        let one_less = |moves: u32| moves.checked_sub(1);
        self.moves.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }

    /// Gives one back that has moved nobody.
    pub fn give_move_back(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
    }
}
