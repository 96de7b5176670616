//! Four times a second: how many requests at once each backend of a pool that asks for it bears.

use std::time::Duration;

use crate::backend::concurrency::Load;
use crate::snapshot::{Member, Pool, Snapshot};

/// Looks at every pool. `now`: any clock that only goes forwards.
pub(super) fn look(snapshot: &Snapshot, now: Duration) {
    let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    for pool in &snapshot.pools {
        for member in &pool.members {
            match pool.concurrency {
                Some(bounds) => follow(pool, member, bounds, now),
                None if member.backend.state.concurrency.lift() => pool.state.queue.call_all(),
                None => {}
            }
        }
    }
}

fn follow(pool: &Pool, member: &Member, bounds: crate::config::model::Concurrency, now: u64) {
    let (backend, state) = (&member.backend, &member.backend.state);
    let in_flight = state.in_flight().saturating_sub(state.tunnels());
    let load = Load { in_flight, waiting: !pool.state.queue.is_empty() };
    let (limit, risen) = state.concurrency.look(bounds, load, now, backend.name);
    if risen {
        // Places have come up that nobody has left.
        let in_flight = state.in_flight().saturating_sub(state.tunnels());
        let places = limit.saturating_sub(in_flight).min(pool.state.queue.len());
        (0..places).for_each(|_| pool.state.queue.freed(state));
    }
}
