//! Once a second, and at every verdict: which tier of each pool is in force.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::backend::Standing;
use crate::backend::tier::{Hold, Turn};
use crate::event::Refusal;
use crate::snapshot::{Pool, Snapshot};

use super::refused;

/// The tier in force of each pool that has tiers, by the pool's name.
#[derive(Debug)]
pub(super) struct Tiers {
    began: Instant,
    pools: HashMap<Arc<str>, Hold>,
}

impl Tiers {
    /// The lowest everywhere.
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), pools: HashMap::new() }
    }

    /// Looks at every pool.
    pub(super) fn look(&mut self, snapshot: &Snapshot) {
        let now = self.began.elapsed();
        self.pools.retain(|name, _| snapshot.pool(name).is_some_and(|it| it.failback.is_some()));
        for pool in &snapshot.pools {
            let Some(failback) = pool.failback else { continue };
            let hold = self.pools.entry(Arc::clone(&pool.name)).or_default();
            let turn = hold.look(now, failback, usable(pool));
            put(pool, *hold, turn);
        }
    }

    /// An operator gives the lowest usable tier of a pool its visitors back.
    ///
    /// # Errors
    /// Why there is nothing to give back.
    pub(super) fn give_back(&mut self, name: &str, snapshot: &Snapshot) -> Result<Turn, Refusal> {
        let Some(pool) = snapshot.pool(name) else {
            return Err(refused(404, format!("there is no pool {name}")));
        };
        if pool.failback.is_none() {
            return Err(refused(409, format!("pool {name} has no tiers")));
        }
        let hold = self.pools.entry(Arc::clone(&pool.name)).or_default();
        let Some(turn) = hold.give_back(usable(pool)) else {
            let tier = hold.tier();
            return Err(refused(409, format!("pool {name}: no tier below tier {tier} is usable")));
        };
        put(pool, *hold, Some(turn));
        Ok(turn)
    }
}

fn usable(pool: &Pool) -> impl Iterator<Item = u8> + Clone {
    let backends = pool.members.iter().map(|member| &member.backend);
    backends.filter(|it| it.standing() == Standing::Open).map(|backend| backend.tier)
}

fn put(pool: &Pool, hold: Hold, turn: Option<Turn>) {
    pool.state.set_tier(hold.tier());
    let Some(Turn { from, to }) = turn else { return };
    let name = &*pool.name;
    if to > from {
        tracing::warn!(event = "tier", pool = name, from, to, "a higher tier of the pool serves");
    } else {
        tracing::info!(event = "tier", pool = name, from, to, "a lower tier of the pool is back");
    }
    // Who waits for a place may have another choice now.
    pool.state.queue.call_all();
}
