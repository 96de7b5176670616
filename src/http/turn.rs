//! The wait for a turn, where all backends that would do are at their limit.

use std::future::poll_fn;
use std::time::{Duration, Instant};

use crate::backend::{Backend, Ticket};
use crate::net::clock;
use crate::snapshot::Pool;

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// There may be a place: to be looked for again.
    Come,
    /// The queue's time is over.
    Late,
    /// So many wait already that one more may not.
    NoRoom,
}

/// One exchange's waiting. Its drop leaves the queue.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    ticket: Option<Ticket>,
    /// The backend it waits for, by index; none: any.
    at: Option<usize>,
    waited: Duration,
}

impl Waiting {
    /// Stands in the line for this backend, or for any; false where there is no room for one more.
    /// A place that became free before has called nobody: whoever stands looks once more, and has
    /// a place that it finds called, for others may stand before it.
    pub(super) fn stand(&mut self, pool: &Pool, at: Option<usize>) -> bool {
        match &self.ticket {
            Some(ticket) if self.at == at => ticket.again(),
            _ => {
                self.ticket = None;
                self.at = at;
                let wants = at.and_then(|at| pool.members.get(at)).map(|m| &m.backend.state);
                self.ticket = pool.state.queue.join(wants, pool.queue.size);
            }
        }
        self.ticket.is_some()
    }

    /// Waits to be called, for as long as the pool's queue allows over all its waits, and no longer
    /// than `left`.
    pub(super) async fn turn(&mut self, pool: &Pool, left: Option<Duration>) -> Turn {
        let Some(ticket) = &self.ticket else { return Turn::NoRoom };
        // Deadlines are late by up to a tick, and this one is a promise.
        let most = pool.queue.timeout;
        let most = most.saturating_sub(clock::TICK).max(most / 2);
        let limit = most.saturating_sub(self.waited);
        if limit.is_zero() {
            return Turn::Late;
        }
        let limit = left.map_or(limit, |left| left.min(limit));
        let began = Instant::now();
        let called = clock::within(Some(limit), poll_fn(|cx| ticket.poll_called(cx))).await;
        self.waited += began.elapsed();
        // A worker that was held up wakes late: whoever was called then has waited too long.
        let in_time = self.waited <= pool.queue.timeout;
        if called.is_some() && in_time { Turn::Come } else { Turn::Late }
    }

    /// Whether its turn may be there: places kept for those who wait are for it, too.
    pub(super) fn has_ticket(&self) -> bool {
        self.ticket.is_some()
    }

    /// A place was found at this backend. Where it has another one, the next is called.
    pub(super) fn done(&mut self, pool: &Pool, backend: &Backend) {
        if let Some(ticket) = self.ticket.take() {
            ticket.took(&backend.state);
            if backend.has_room(true) {
                pool.state.queue.freed(&backend.state);
            }
        }
    }

    /// Nothing is waited for any more.
    pub(super) fn leave(&mut self) {
        self.ticket = None;
    }

    /// Time spent in the queue.
    pub(super) fn waited(&self) -> Duration {
        self.waited
    }
}
