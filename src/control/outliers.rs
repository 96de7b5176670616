//! Once a second: how backends do with real traffic, what they weigh for it, and who is ejected.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::backend::Standing;
use crate::backend::outlier::{Ejection, Meter, News, Seen, Weights};
use crate::snapshot::{Member, Pool, Snapshot};

/// What is known of each pool's backends, by the pool's name: a reload must not begin anew.
#[derive(Debug)]
pub(super) struct Outliers {
    began: Instant,
    pools: HashMap<Arc<str>, Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    ejection: Ejection,
    weights: Weights,
    meter: Meter,
}

impl Outliers {
    /// Nothing is known yet.
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), pools: HashMap::new() }
    }

    /// Looks at every pool.
    pub(super) fn tick(&mut self, snapshot: &Snapshot) {
        let now = self.began.elapsed();
        self.pools.retain(|name, _| snapshot.pool(name).is_some());
        for pool in &snapshot.pools {
            let watched = self.pools.entry(Arc::clone(&pool.name)).or_default();
            let held = pool.state.quota.held();
            let seen: Vec<Seen> =
                pool.members.iter().map(|it| look(pool, it, &mut watched.meter, now)).collect();
            watched.meter.retain(|name| seen.iter().any(|seen| seen.name == name));
            let factors = watched.weights.tick(&seen);
            for (member, factor) in pool.members.iter().zip(factors) {
                member.backend.state.outcomes.set_factor(factor);
            }
            let plan = watched.ejection.tick(now, pool.ejection.as_ref(), held, &seen);
            let outcomes = pool.members.iter().map(|member| &member.backend.state.outcomes);
            plan.apply(outcomes, &pool.state.quota);
            tell(pool, &plan.news);
        }
    }
}

fn look(pool: &Pool, member: &Member, meter: &mut Meter, now: Duration) -> Seen {
    let backend = &member.backend;
    let unreachable = backend.state.outcomes.is_unreachable();
    Seen {
        unreachable,
        // Nobody else is asked about.
        passed: if unreachable && backend.checked { passed(pool, member, now) } else { None },
        name: backend.name,
        usable: backend.standing() == Standing::Open,
        phase: backend.state.outcomes.phase(),
        counts: meter.read(backend.name, member.tally.iter()),
    }
}

/// When the last check began, if that has passed, and by the way that visitors go: a port of its
/// own may be another process, and one that only connects says nothing of TLS.
fn passed(pool: &Pool, member: &Member, now: Duration) -> Option<Duration> {
    pool.health.as_ref().filter(|health| health.port.is_none())?;
    let check = member.backend.state.last_check()?;
    if !check.passed || (pool.tls.is_some() && !check.full) {
        return None;
    }
    let began = check.at.checked_sub(check.took)?;
    now.checked_sub(SystemTime::now().duration_since(began).ok()?)
}

fn tell(pool: &Pool, news: &[Option<News>]) {
    for (member, news) in pool.members.iter().zip(news) {
        let (pool, backend) = (&*pool.name, &*member.backend.id);
        match news {
            Some(News::Ejected { cause, time }) => {
                tracing::warn!(
                    event = "ejected",
                    pool,
                    backend,
                    cause = cause.as_str(),
                    ?time,
                    "backend is ejected"
                );
            }
            Some(News::Tried) => {
                tracing::info!(event = "trial", pool, backend, "ejected backend is tried again");
            }
            Some(News::Returned) => {
                tracing::info!(event = "returned", pool, backend, "ejected backend is back");
            }
            None => {}
        }
    }
    if news.iter().any(Option::is_some) {
        // Who waits for a place may have another choice now.
        pool.state.queue.call_all();
    }
}
