//! What a change of a backend's verdict sets off: who waits looks again, tiers and quorums turn.

use serde_json::{Value, json};

use super::{Control, ListenerSockets, quorums};
use crate::admin::facts::Phase;
use crate::event::{Actor, Failback, Refusal};

impl<S: ListenerSockets> Control<S> {
    pub(super) fn verdict(&mut self, pool: &str, backend: &str, up: bool, detail: &str) {
        // Who waits for an answer or a place may have another choice now, or none.
        if !up {
            crate::net::clock::stir();
        }
        self.usable();
        if let Some(pool) = self.facts.current.load().pool(pool) {
            pool.state.queue.call_all();
        }
        if up {
            tracing::info!(pool, backend, detail, "backend is up");
            return;
        }
        tracing::warn!(pool, backend, detail, "backend is down");
        if self.facts.current.load().pool(pool).is_some_and(|pool| pool.usable() == 0) {
            tracing::error!(pool, "pool has no usable backend");
        }
    }

    /// Which tiers serve, and which pools have too few backends; before the first verdicts are in
    /// nobody knows.
    pub(super) fn usable(&mut self) {
        if self.facts.phase.get() != Phase::Starting {
            let snapshot = self.facts.current.load();
            self.tiers.look(&snapshot);
            quorums::look(&snapshot);
        }
    }

    pub(super) fn failback(&mut self, wish: &Failback, actor: &Actor) -> Result<Value, Refusal> {
        let turn = self.tiers.give_back(&wish.pool, &self.facts.current.load())?;
        let subject = format!("{}: tier {} to {}", wish.pool, turn.from, turn.to);
        self.audit.record(actor, "failback", &subject, wish.reason.as_deref());
        Ok(json!({ "pool": wish.pool, "from": turn.from, "to": turn.to }))
    }
}
