//! A pool: its backends, its policy, how it keeps visitors, and what it does when they fail.

use std::sync::Arc;

use super::Compiler;
use crate::backend::name_hash;
use crate::backend::outlier::{Kind, Kinds, Terms};
use crate::backend::slow_start::Ramp;
use crate::balance::Maglev;
use crate::config::Report;
use crate::config::model::{self, OnRemove, PolicyKind, PoolConnections};
use crate::route::action::RespondPlan;
use crate::snapshot::pool::WhenAllDown;
use crate::snapshot::{Member, Pool};
use crate::tls::client::ClientTls;
use crate::upstream::idle::Keep;

impl Compiler<'_> {
    pub(super) fn pool(&mut self, index: usize, pool: &model::Pool) -> Option<Arc<Pool>> {
        let tls = match &pool.tls {
            None => None,
            Some(tls) => Some(self.client_tls(pool, tls)?),
        };
        let (counters, slot) = self.registry.pool(&pool.name);
        let state = self.pool_state(pool, &counters);
        let members = self.members(pool, tls.as_ref(), &state);
        let by_name = self.names(pool, &members);
        let hashing = (pool.policy == PolicyKind::Hash).then(|| {
            let entry = |m: &Member| (m.backend.name, m.backend.effective_weight());
            let table = Maglev::new(&members.iter().map(entry).collect::<Vec<_>>());
            (pool.hash_on.clone(), table)
        });
        let sticky = match &pool.sticky {
            None => None,
            Some(sticky) => {
                let name = format!("pools.{}", &*pool.name.value);
                Some(self.stickiness(&pool.name.place, sticky, &name)?)
            }
        };
        Some(Arc::new(Pool {
            index,
            name: Arc::clone(&pool.name.value),
            hash: name_hash(&pool.name),
            slot,
            policy: pool.policy.into(),
            members: members.into(),
            by_name: by_name.into(),
            sticky,
            limited: pool.concurrency.is_some()
                || pool.backends.iter().any(|backend| backend.max_requests > 0),
            concurrency: pool.concurrency,
            when_all_down: self.when_all_down(pool)?,
            failback: pool.backends.iter().any(|it| it.tier > 0).then_some(pool.failback),
            quorum: pool.quorum,
            ejection: pool.ejection.as_ref().map(terms),
            slow_start: pool.slow_start.and_then(Ramp::new),
            hashing,
            queue: pool.queue,
            on_remove: pool.sticky.as_ref().map_or(OnRemove::Move, |sticky| sticky.on_remove),
            rebalance: pool.sticky.as_ref().and_then(|sticky| sticky.rebalance),
            drain_deadline: pool.drain_deadline,
            state,
            tls,
            http2: pool.http2,
            keep: keep(&pool.connections, self.registry.workers()),
            send_proxy: pool.send_proxy,
            connections: pool.connections,
            health: pool.health.clone(),
            counters,
        }))
    }

    fn client_tls(&mut self, pool: &model::Pool, tls: &model::PoolTls) -> Option<Arc<ClientTls>> {
        if let Some(known) = self.registry.client_tls(&ClientTls::key_of(tls, pool.http2)) {
            return Some(Arc::clone(known));
        }
        match ClientTls::new(tls, pool.http2) {
            Ok(tls) => Some(Arc::new(tls)),
            Err(problem) => {
                wrong_tls(pool, tls, &problem, self.report);
                None
            }
        }
    }

    fn when_all_down(&mut self, pool: &model::Pool) -> Option<WhenAllDown> {
        Some(match &pool.when_all_down {
            model::WhenAllDown::Fail => WhenAllDown::Fail,
            model::WhenAllDown::TryAll => WhenAllDown::TryAll,
            model::WhenAllDown::Pool(index) => WhenAllDown::Pool(*index),
            model::WhenAllDown::Respond(respond) => match RespondPlan::new(respond) {
                Ok(plan) => WhenAllDown::Respond(plan),
                Err(error) => {
                    let message = format!("pools.{}.when_all_down: {error}", &*pool.name.value);
                    self.report.error(message, &pool.name.place);
                    return None;
                }
            },
        })
    }
}

/// TLS to a pool's backends that cannot be used.
pub(in crate::snapshot) fn wrong_tls(
    pool: &model::Pool,
    tls: &model::PoolTls,
    problem: &dyn std::fmt::Display,
    report: &mut Report,
) {
    let place = tls.ca.as_ref().map_or(&pool.name.place, |ca| &ca.place);
    report.error(format!("pools.{}.tls: {problem}", &*pool.name.value), place);
}

fn terms(ejection: &model::Ejection) -> Terms {
    let kinds = [
        (ejection.connect, Kind::Connect),
        (ejection.reset, Kind::Reset),
        (ejection.timeout, Kind::Timeout),
        (ejection.status_5xx, Kind::Status),
    ];
    let on = kinds.into_iter().filter(|(on, _)| *on);
    Terms {
        on: on.fold(Kinds::default(), |kinds, (_, kind)| kinds.with(kind)),
        consecutive: ejection.consecutive,
        base: ejection.base,
        max_ejected: ejection.max_ejected,
    }
}

/// The file's limit is for the process: each worker keeps its share, rounded up.
fn keep(connections: &PoolConnections, workers: usize) -> Keep {
    let share = connections.idle.div_ceil(workers.max(1));
    Keep::new(share, connections.idle_timeout, connections.max_age)
}
