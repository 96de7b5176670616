//! The wait for a turn, where all backends that would do are at their limit.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::{Again, Backend, BackendState, Standing, Ticket};
use crate::net::clock;
use crate::snapshot::{Member, Pool};

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
    /// Waits for a turn at this backend, or at any, for as long as the pool's queue allows over
    /// all its waits, and no longer than `left`.
    pub(super) async fn turn(
        &mut self,
        pool: &Pool,
        at: Option<usize>,
        left: Option<Duration>,
    ) -> Turn {
        match &self.ticket {
            Some(ticket) if self.at == at => {
                if let Again::First { place } = ticket.again() {
                    if let Some(place) = place.filter(|place| has_room(pool, place)) {
                        pool.state.queue.declined(&place);
                    }
                    return Turn::Come;
                }
            }
            _ => {
                self.ticket = None;
                self.at = at;
                self.join(pool, at);
            }
        }
        let Some(ticket) = &self.ticket else { return Turn::NoRoom };
        let limit = pool.queue.timeout.saturating_sub(self.waited);
        let limit = left.map_or(limit, |left| left.min(limit));
        let began = Instant::now();
        let called = clock::within(Some(limit), poll_fn(|cx| ticket.poll_called(cx))).await;
        self.waited += began.elapsed();
        if called.is_some() { Turn::Come } else { Turn::Late }
    }

    fn join(&mut self, pool: &Pool, at: Option<usize>) {
        let wants = at.and_then(|at| pool.members.get(at));
        let queue = &pool.state.queue;
        self.ticket = queue.join(wants.map(|member| &member.backend.state), pool.queue.size);
        // A place that became free before it stood in the line may have called nobody.
        let open = |member: &&Member| member.backend.standing() == Standing::Open;
        let all = pool.members.iter().filter(|member| wants.is_none() && open(member));
        for member in wants.into_iter().chain(all) {
            if member.backend.has_room(true) {
                queue.freed(&member.backend.state);
            }
        }
    }

    /// Whether its turn may be there: places kept for those who wait are for it, too.
    pub(super) fn has_ticket(&self) -> bool {
        self.ticket.is_some()
    }

    /// A place was found at this backend. Where it has another one, or where there is one at the
    /// backend that it was called to, the next is called.
    pub(super) fn done(&mut self, pool: &Pool, backend: &Backend) {
        let Some(ticket) = self.ticket.take() else { return };
        let place = ticket.used().filter(|place| !Arc::ptr_eq(place, &backend.state));
        for state in place.iter().chain([&backend.state]) {
            if has_room(pool, state) {
                pool.state.queue.freed(state);
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

/// Whether one more request may begin at a backend of the pool.
fn has_room(pool: &Pool, state: &Arc<BackendState>) -> bool {
    let mut backends = pool.members.iter().map(|member| &member.backend);
    backends.any(|backend| Arc::ptr_eq(&backend.state, state) && backend.has_room(true))
}
