//! Applying a candidate, or telling all its mistakes and changing nothing.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::change::{Change, Shapes};
use super::discover::Book;
use super::reload::{Candidate, ListenerSockets};
use super::{Control, FIRST_VERDICTS, memory, next_start, refused};
use crate::admin::facts::{Phase, lock};
use crate::backend::Standing;
use crate::config::{Loaded, Report};
use crate::event::{Actor, Refusal};
use crate::snapshot::Snapshot;
use crate::snapshot::compile::Compiled;

/// The configuration that was applied last, for somebody to go back to.
const LAST_GOOD: &str = "last-good.toml";
/// How often a swap that is held back looks whether it can go on.
const VERDICT_POLL: Duration = Duration::from_millis(5);

impl<S: ListenerSockets> Control<S> {
    /// Reads the file again and applies it, for somebody who asked.
    pub(super) async fn reload(&mut self, actor: &Actor) -> Result<Value, Refusal> {
        if self.facts.phase.get() == Phase::Stopping {
            return Err(refused(409, "the process is stopping"));
        }
        self.tried = None;
        let loaded = match self.loader.origin.read() {
            Ok(loaded) => loaded,
            Err(report) => return Err(self.failed(actor, &report)),
        };
        self.take(loaded, actor).await
    }

    /// The file was written: applies it if it is not what is in force, and not what was tried.
    pub(super) async fn file_changed(&mut self) {
        let watched = self.facts.loaded().model.runtime.watch_file;
        if !watched || self.facts.phase.get() == Phase::Stopping {
            return;
        }
        // A file that cannot be read is being replaced, or will be found by the next look.
        let Some(Some(hash)) = self.facts.file.hash() else { return };
        let running = self.facts.loaded();
        if hash == running.source.hash || self.tried == Some(hash) {
            return;
        }
        self.tried = Some(hash);
        let actor = Actor("file watch".to_owned());
        match self.loader.origin.read() {
            Ok(loaded) if loaded.source.len < running.source.len / 2 => {
                let (is, was) = (loaded.source.len, running.source.len);
                tracing::warn!(
                    is,
                    was,
                    "the file is less than half as long as the one in force: run `ostler reload` \
                     if this is meant"
                );
            }
            Ok(loaded) => {
                // Told to the log.
                let _ = self.take(loaded, &actor).await;
            }
            Err(report) => {
                let _ = self.failed(&actor, &report);
            }
        }
    }

    async fn take(&mut self, mut loaded: Loaded, actor: &Actor) -> Result<Value, Refusal> {
        let running = self.facts.loaded();
        let shapes = Shapes::of(&loaded.model);
        if loaded.source.hash == running.source.hash && shapes == self.shapes {
            self.succeeded(actor, false);
            return Ok(self.told(None, &loaded));
        }
        self.let_go();
        // What is being started is committed before anything else is.
        self.open();
        // New names are known before they are to serve.
        self.lookup.ask(&loaded.model.runtime.resolvers);
        self.discovery.prepare(&loaded.model, Instant::now() + FIRST_VERDICTS).await;
        let mut report = loaded.report();
        next_start::look(&loaded.model, Some(&self.started.model), &mut report);
        memory::look(&loaded.model, memory::used(), &mut report);
        // What is an error is refused with all that the loader finds.
        loaded.warnings = report.mistakes;
        let candidate = match self.loader.prepare_as(shapes, loaded, &mut self.sockets) {
            Ok(candidate) => candidate,
            Err(report) => {
                self.follow_names();
                return Err(self.failed(actor, &report));
            }
        };
        let models = (&self.started.model, &candidate.loaded.model);
        let change = Change::between(&self.shapes, &candidate.shapes, models);
        let left = left_bound(&self.facts.current.load(), candidate.snapshot());
        super::systemd::reloading();
        self.apply(candidate).await;
        super::systemd::ready();
        self.succeeded(actor, true);
        let loaded = self.facts.loaded();
        let generation = self.facts.current.load().generation;
        let subject = format!("generation {generation}: {}", change.summary());
        self.audit.record(actor, "reload", &subject, None);
        for key in &change.at_next_start {
            tracing::warn!("{key} takes effect at the next start");
        }
        log_warnings(&loaded);
        let mut told = self.told(Some(&change), &loaded);
        if let Some(lines) = told.get_mut("lines").and_then(Value::as_array_mut) {
            lines.extend(left.into_iter().map(Value::String));
        }
        Ok(told)
    }

    /// From here on nothing fails.
    async fn apply(&mut self, candidate: Candidate<S::Prepared>) {
        let Candidate { shapes, loaded, compiled, prepared, book } = candidate;
        self.swap(compiled, book, Some(loaded)).await;
        let bound = self.sockets.commit(prepared);
        *lock(&self.facts.bound) = bound;
        self.shapes = shapes;
        self.follow_names();
        self.settled();
    }

    /// Puts a snapshot into force in place of the one before: with another configuration, or with
    /// other backends of the same.
    pub(super) async fn swap(&mut self, compiled: Compiled, book: Book, loaded: Option<Loaded>) {
        let snapshot = Arc::clone(&compiled.snapshot);
        let old = self.facts.current.load();
        self.sessions.follow(&snapshot, super::unix());
        self.marks.apply(Some(&old), &snapshot);
        super::Keeper::track(&snapshot);
        came_up(&old, &snapshot);
        self.resolver.follow(&snapshot);
        self.supervisor.follow(&snapshot);
        let deadline = Instant::now() + FIRST_VERDICTS;
        while would_interrupt(&old, &snapshot) {
            if Instant::now() > deadline {
                tracing::warn!("some backends have not answered their first check yet");
                break;
            }
            sleep(VERDICT_POLL).await;
        }
        compiled.publish_certificates();
        lock(&self.loader.registry).adopt(&snapshot, std::time::Instant::now());
        self.loader.applied(&snapshot, book);
        if let Some(loaded) = loaded {
            *lock(&self.facts.loaded) = Arc::new(loaded);
        }
        self.facts.current.publish(Arc::clone(&snapshot));
        self.replaced.push(old);
        super::Keeper::rename(&snapshot);
        // Anew, by the file that holds now.
        self.marks.apply(None, &snapshot);
        snapshot.pools.iter().for_each(|pool| pool.state.queue.call_all());
    }

    /// What goes with every configuration that has come into force.
    pub(super) fn settled(&mut self) {
        let loaded = self.facts.loaded();
        self.memory.follow(loaded.model.runtime.memory.as_ref().map(|memory| memory.value));
        self.certificates.in_force(self.shapes.certificates());
        self.follow_files();
        // What was replaced before they were watched.
        self.certificates_changed();
        if self.loader.origin.file().is_some() {
            let kept = self.loader.state.replace(LAST_GOOD, loaded.source.text.as_bytes(), false);
            if let Err(error) = kept {
                tracing::warn!(%error, "the last good file cannot be kept");
            }
        }
    }

    fn succeeded(&self, actor: &Actor, applied: bool) {
        let now = Timestamp::now();
        let mut status = lock(&self.facts.reloads);
        status.succeeded += 1;
        status.last_success = true;
        status.last_problem = None;
        status.last_at = now;
        status.last_by.clone_from(&actor.0);
        if applied {
            status.applied_at = now;
            status.applied_by.clone_from(&actor.0);
        }
    }

    fn failed(&self, actor: &Actor, report: &Report) -> Refusal {
        let rendered = report.render(false);
        let count = report
            .mistakes
            .iter()
            .filter(|mistake| mistake.severity == crate::config::Severity::Error)
            .count();
        let plural = if count == 1 { "mistake" } else { "mistakes" };
        let title = format!("{} has {count} {plural}: nothing was changed", report.name);
        tracing::error!(who = actor.0, "{title}\n{rendered}");
        let mut status = lock(&self.facts.reloads);
        status.failed += 1;
        status.last_success = false;
        status.last_at = Timestamp::now();
        status.last_by.clone_from(&actor.0);
        status.last_problem = Some(rendered.clone());
        drop(status);
        let mut refusal = refused(422, title);
        refusal.detail = rendered;
        refusal.members.insert("mistakes".to_owned(), report.to_json());
        refusal
    }

    /// The answer to whoever asked; without a change, that there was none.
    fn told(&self, change: Option<&Change>, loaded: &Loaded) -> Value {
        let mut report = loaded.report();
        report.mistakes.clone_from(&loaded.warnings);
        json!({
            "result": if change.is_some() { "applied" } else { "unchanged" },
            "generation": self.facts.current.load().generation,
            "changes": change,
            "lines": match change.map(Change::lines) {
                None => vec!["nothing changed".to_owned()],
                Some(lines) if lines.is_empty() => {
                    vec!["applied: nothing that matters is different".to_owned()]
                }
                Some(lines) => lines,
            },
            "marks": self.facts.marks(),
            "warnings": report.to_json(),
            "warnings_text": report.render(false),
        })
    }
}

/// Whether a pool that serves now would have nobody until its new backends are checked, or their
/// names resolved.
fn would_interrupt(old: &Snapshot, new: &Snapshot) -> bool {
    new.pools.iter().any(|pool| {
        pool.usable() == 0
            && old.pool(&pool.name).is_some_and(|old| old.usable() > 0)
            && pool.members.iter().any(|member| {
                let backend = &member.backend;
                backend.standing() == Standing::Unchecked || !backend.state.resolved()
            })
    })
}

/// Backends that the file takes back into service are well from now on.
fn came_up(old: &Snapshot, new: &Snapshot) {
    for pool in &new.pools {
        let Some(before) = old.pool(&pool.name) else { continue };
        for member in &pool.members {
            let was = before.member(&member.backend.id).map(|member| member.backend.standing());
            let is = member.backend.standing();
            if is == Standing::Open && was.is_some_and(|was| was != Standing::Open) {
                member.backend.state.came_up(super::unix());
            }
        }
    }
}

/// Backends that leave the file while visitors are bound to them, one a line.
fn left_bound(old: &Snapshot, new: &Snapshot) -> Vec<String> {
    let now = super::unix();
    let mut lines = Vec::new();
    for pool in &old.pools {
        for member in pool.members.iter().filter(|member| !member.backend.ghost) {
            let Some(seat) = &member.seat else { continue };
            let tally = pool.state.sessions.tally(seat, now);
            let state = &member.backend.state;
            let id = &member.backend.id;
            let heir = new.pool(&pool.name).and_then(|pool| {
                let same = |heir: &&crate::snapshot::Member| {
                    Arc::ptr_eq(&heir.backend.state, state) || heir.backend.id == *id
                };
                pool.members.iter().find(same)
            });
            let becomes = match heir {
                Some(heir) if heir.backend.ghost => "it drains as a ghost",
                Some(_) => continue,
                None => "they move at their next request",
            };
            if tally.sessions > 0 {
                let about = if tally.exact { "" } else { "about " };
                let (name, id, count) = (&pool.name, &member.backend.id, tally.sessions);
                let word = if count == 1 { "session" } else { "sessions" };
                lines.push(format!(
                    "! backend {name}/{id} leaves with {about}{count} {word}: {becomes}"
                ));
            }
        }
    }
    lines
}

/// What is legal but surely wrong, for the log.
pub(super) fn log_warnings(loaded: &Loaded) {
    if !loaded.warnings.is_empty() {
        tracing::warn!("warnings about the configuration\n{}", loaded.report().render(false));
    }
}
