//! Operators' live overrides: set, lifted, kept on disk, applied to every generation.

mod decide;
mod note;

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::audit::Audit;
use super::state::StateDir;
use super::{refused, unix};
use crate::admin::facts::{Facts, Lifted, Mark, MarkWord, lock};
use crate::backend::{Backend, Standing};
use crate::config::defaults::MAX_WEIGHT;
use crate::event::{Actor, MarkAction, MarkChange, MarkTarget, Refusal};
use crate::snapshot::Snapshot;
pub(super) use decide::Named;
use decide::{merge, targets};

const FILE: &str = "marks.json";

/// The marks in force. `facts.marks` always shows what is here.
#[derive(Debug)]
pub(super) struct Marks {
    list: Vec<Mark>,
    state: StateDir,
    audit: Audit,
    facts: Arc<Facts>,
}

impl Marks {
    /// Reads what the state folder has. A file that cannot be read is set aside and told of: a
    /// balancer that does not start would be worse.
    pub(super) fn load(state: StateDir, audit: Audit, facts: Arc<Facts>) -> Self {
        let parsed = state.read(FILE).and_then(|text| match text {
            Some(text) => serde_json::from_str(&text).map_err(std::io::Error::from),
            None => Ok(Vec::new()),
        });
        let list = parsed.unwrap_or_else(|error| {
            let aside = state.set_aside(FILE).is_ok();
            tracing::error!(%error, aside, "marks.json cannot be used: no marks are in force");
            Vec::new()
        });
        Self { list, state, audit, facts }
    }

    /// Puts the marks into force on a generation's backends, before it is published. The mark of
    /// a backend that comes back under another id with its address follows it.
    pub(super) fn apply(&mut self, old: Option<&Snapshot>, new: &Snapshot) {
        let mut renamed = false;
        if let Some(old) = old {
            for mark in &mut self.list {
                if let Some(id) = decide::renamed(mark, old, new) {
                    let subject = format!("{}/{} is now {id}", mark.pool, mark.backend);
                    self.audit.record(&Actor("rename".to_owned()), "mark", &subject, None);
                    mark.backend = id;
                    renamed = true;
                }
            }
        }
        if renamed {
            self.keep_or_tell();
        }
        self.refresh(new);
    }

    /// Sets or lifts marks.
    ///
    /// # Errors
    /// Where a backend is unknown, where a pool would be left without a usable one, and where the
    /// marks cannot be kept; then nothing has changed.
    pub(super) fn change(
        &mut self,
        change: &MarkChange,
        actor: &Actor,
        snapshot: &Snapshot,
    ) -> Result<Value, Refusal> {
        let now = Timestamp::now();
        let until = match change.until.map(Timestamp::try_from).transpose() {
            Ok(until) if until.is_none_or(|until| until > now) => until,
            _ => return Err(refused(422, "the time at which the mark ends is not in the future")),
        };
        if let MarkAction::Weight(weight) = change.action
            && i64::from(weight) > MAX_WEIGHT
        {
            return Err(refused(422, format!("a weight is at most {MAX_WEIGHT}")));
        }
        let targets = targets(&change.target, snapshot, &self.list)?;
        if !change.force {
            decide::leaves_each_pool_usable(&targets, change.action, snapshot)
                .map_err(|refusal| decide::with_matches(refusal, &change.target, &targets))?;
        }
        let notes = note::wholly_down(&targets, change.action, snapshot);
        let new = |target: &Named, says: MarkWord| Mark {
            pool: target.pool.clone(),
            backend: target.backend.clone(),
            says,
            who: actor.0.clone(),
            when: now,
            why: change.reason.clone(),
            until,
            in_file: true,
            drain: match change.action {
                MarkAction::Drain(plan) => Some(decide::terms(&plan, now, target, snapshot)),
                _ => None,
            },
        };
        let before = self.list.clone();
        for target in &targets {
            merge(&mut self.list, target, change.action, new);
        }
        if let Err(error) = self.keep() {
            self.list = before;
            let mut refusal = refused(500, "the marks cannot be kept, so nothing was changed");
            refusal.detail = error.to_string();
            return Err(refusal);
        }
        self.refresh(snapshot);
        for target in &targets {
            // What has no mark is told to whoever asked, but nothing was changed.
            if change.action == MarkAction::Unmark && !before.iter().any(|mark| target.has(mark)) {
                continue;
            }
            let subject = format!("{}/{}: {}", target.pool, target.backend, word(change.action));
            self.audit.record(actor, "mark", &subject, change.reason.as_deref());
        }
        Ok(self.told(&targets, notes, snapshot))
    }

    /// Lifts marks whose time is over.
    pub(super) fn expire(&mut self, snapshot: &Snapshot) {
        let now = Timestamp::now();
        let over = |mark: &Mark| mark.until.is_some_and(|until| until <= now);
        let gone: Vec<Mark> = self.list.iter().filter(|mark| over(mark)).cloned().collect();
        if gone.is_empty() {
            return;
        }
        self.list.retain(|mark| !over(mark));
        self.keep_or_tell();
        self.refresh(snapshot);
        for mark in gone {
            self.facts.note_lifted(Lifted {
                pool: mark.pool.clone(),
                backend: mark.backend.clone(),
                who: "the end of its time".to_owned(),
                when: now,
            });
            let subject = format!("{}/{}: its mark has ended", mark.pool, mark.backend);
            self.audit.record(&Actor(mark.who), "unmark", &subject, mark.why.as_deref());
        }
    }

    /// The backends that are meant.
    ///
    /// # Errors
    /// Where there is none such.
    pub(super) fn targets(
        &self,
        target: &MarkTarget,
        snapshot: &Snapshot,
    ) -> Result<Vec<Named>, Refusal> {
        targets(target, snapshot, &self.list)
    }

    /// Backends whose state this one has marked.
    pub(super) fn named_by(&self, who: &str) -> Vec<Named> {
        let by = self.list.iter().filter(|mark| mark.who == who);
        let by = by.filter(|mark| matches!(mark.says, MarkWord::State(_)));
        by.map(|mark| Named { pool: mark.pool.clone(), backend: mark.backend.clone() }).collect()
    }

    /// Lifts what this one has marked of a backend's state.
    pub(super) fn lift_state(&mut self, named: &Named, actor: &Actor, snapshot: &Snapshot) {
        self.list.retain(|mark| {
            let meant = mark.pool == named.pool && mark.backend == named.backend;
            !(meant && mark.who == actor.0 && matches!(mark.says, MarkWord::State(_)))
        });
        self.keep_or_tell();
        self.refresh(snapshot);
        let subject = format!("{}/{}", named.pool, named.backend);
        self.audit.record(actor, "unmark", &subject, None);
        let Named { pool, backend } = named.clone();
        self.facts.note_lifted(Lifted {
            pool,
            backend,
            who: actor.0.clone(),
            when: Timestamp::now(),
        });
    }

    /// When the next mark ends.
    pub(super) fn next_end(&self) -> Option<Timestamp> {
        self.list.iter().filter_map(|mark| mark.until).min()
    }

    fn refresh(&mut self, snapshot: &Snapshot) {
        for mark in &mut self.list {
            let pool = snapshot.pool(&mark.pool);
            mark.in_file = pool.is_some_and(|pool| pool.member(&mark.backend).is_some());
        }
        let drain_timeout = self.facts.loaded().model.runtime.drain_timeout;
        let spread = u32::try_from(drain_timeout.as_millis()).unwrap_or(u32::MAX);
        for backend in snapshot.pools.iter().flat_map(|pool| &pool.members).map(|m| &m.backend) {
            let before = backend.standing();
            let (state, weight) = decide::in_force(&self.list, &backend.pool, &backend.id);
            let orders = decide::orders(&self.list, backend, spread);
            let orders = orders.or_else(|| decide::parting(backend, spread));
            backend.state.drain.set(orders);
            backend.state.set_mark(state, weight);
            if before != Standing::Open && backend.standing() == Standing::Open {
                backend.state.came_up(unix());
            }
        }
        snapshot.pools.iter().for_each(|pool| pool.state.queue.call_all());
        lock(&self.facts.marks).clone_from(&self.list);
    }

    fn keep(&self) -> std::io::Result<()> {
        let text = serde_json::to_vec_pretty(&self.list)?;
        self.state.replace(FILE, &text, true)
    }

    fn keep_or_tell(&self) {
        if let Err(error) = self.keep() {
            tracing::error!(%error, "the marks cannot be kept");
        }
    }

    fn told(&self, targets: &[Named], mut notes: Vec<String>, snapshot: &Snapshot) -> Value {
        let backend = |target: &Named| -> Option<Value> {
            let member = snapshot.pool(&target.pool)?.member(&target.backend)?;
            Some(backend_json(&member.backend))
        };
        let backends: Vec<Value> = targets.iter().filter_map(backend).collect();
        let mut told = json!({ "backends": backends, "marks": self.list });
        if self.state.path().is_none() {
            notes.push("there is no state_dir: marks will not survive a restart".to_owned());
        }
        if let Some(members) = told.as_object_mut().filter(|_| !notes.is_empty()) {
            members.insert("warnings".to_owned(), json!(notes));
        }
        told
    }
}

fn backend_json(backend: &Backend) -> Value {
    json!({
        "pool": &*backend.pool,
        "id": &*backend.id,
        "address": backend.address.to_string(),
        "state": backend.admin_state(),
        "state_in_file": backend.state_in_file,
        "weight": backend.effective_weight(),
        "weight_in_file": backend.weight,
        "in_flight": backend.state.in_flight(),
    })
}

fn word(action: MarkAction) -> String {
    match action {
        MarkAction::Ready => "ready".to_owned(),
        MarkAction::Drain(_) => "drain".to_owned(),
        MarkAction::Maint => "maint".to_owned(),
        MarkAction::Weight(weight) => format!("weight {weight}"),
        MarkAction::Unmark => "unmark".to_owned(),
    }
}
