//! Once a second, and at every verdict: which pools have too few backends for new visitors.

use crate::backend::quorum::is_lost;
use crate::snapshot::{Pool, Snapshot};

/// Looks at every pool.
pub(super) fn look(snapshot: &Snapshot) {
    for pool in &snapshot.pools {
        let Some(quorum) = &pool.quorum else {
            pool.state.set_short(false);
            continue;
        };
        let usable = pool.usable();
        let lost = is_lost(pool.state.is_short(), usable, quorum);
        if pool.state.set_short(lost) != lost {
            let spare = snapshot.pools.get(quorum.pool).map_or("", |spare| &*spare.name);
            tell(pool, usable, spare, lost);
        }
    }
}

fn tell(pool: &Pool, usable: usize, spare: &str, lost: bool) {
    let pool = &*pool.name;
    if lost {
        tracing::warn!(
            event = "quorum_lost",
            pool,
            usable,
            spare,
            "pool has too few backends: new visitors go to another pool"
        );
    } else {
        tracing::info!(event = "quorum_back", pool, usable, "pool takes new visitors again");
    }
}
