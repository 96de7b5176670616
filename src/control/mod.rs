//! The control thread: one match over everything that can make the process change course.

mod apply;
mod audit;
mod certificates;
mod change;
mod claim;
mod concurrency;
mod discover;
mod lookup;
mod maintenance;
mod marks;
mod memory;
mod next_start;
mod outliers;
mod quorums;
mod rediscover;
mod reload;
mod remains;
mod resolve;
mod sessions;
mod signal;
mod state;
mod stop;
mod systemd;
#[cfg(test)]
mod tests;
mod tiers;
mod verdict;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::admin::facts::{Facts, Phase, lock};
use crate::config::Loaded;
use crate::event::{Event, Refusal, Sender};
use crate::health::Supervisor;
use crate::snapshot::Snapshot;
use audit::Audit;
use certificates::Certificates;
use change::Shapes;
use claim::Claim;
use discover::Discovery;
pub use discover::{Unanswered, addresses, expanded};
use lookup::Lookup;
use maintenance::Maintenance;
use marks::Marks;
use memory::Memory;
pub use next_start::look as look_at_next_start;
use outliers::Outliers;
pub use reload::{Candidate, ListenerSockets, Loader, Origin};
use resolve::Resolver;
use sessions::Keeper;
pub use state::StateDir;
use stop::Stop;
pub use stop::{Drain, Ended};
use tiers::Tiers;
use watch::Watcher;

/// At start, listeners open when each checked backend has a verdict, at the latest after this; a
/// reload waits as long where it would leave a pool that serves with unchecked backends only.
const FIRST_VERDICTS: Duration = Duration::from_secs(2);
/// Files are looked at so often even where no watch told of a change; what left is let go of.
const LOOK: Duration = Duration::from_secs(10);
/// Tables of sessions are given room so often, where many come at once.
const PULSE: Duration = Duration::from_millis(250);
/// In so many pulses sessions are swept, and drains, ghosts and maintenance looked at: a second.
const PULSES_PER_BEAT: u32 = 4;
/// Sleeping for longer than this is the same as for ever.
const FOREVER: Duration = Duration::from_hours(24);

/// What the control thread is made of.
pub struct Parts<S: ListenerSockets> {
    /// What admin reads; `current` holds the snapshot of `first`, `phase` is `Starting`.
    pub facts: Arc<Facts>,
    /// The loader that made `first`.
    pub loader: Loader,
    /// The first configuration.
    pub first: Candidate<S::Prepared>,
    /// The sockets that `first` was prepared with.
    pub sockets: S,
    /// Ends the traffic at the end.
    pub drain: Box<dyn Drain + Send>,
    /// The sending end of what `run` receives.
    pub events: Sender,
}

/// Everything slow, periodic or rare, on one thread.
pub struct Control<S: ListenerSockets> {
    facts: Arc<Facts>,
    loader: Loader,
    sockets: S,
    drain: Box<dyn Drain + Send>,
    events: Sender,
    /// Until the listeners open.
    first: Option<S::Prepared>,
    /// Snapshots that were in force, until nobody else holds them. Whoever lets go of one last has
    /// all of it to free, ten thousand routes it may be, and that is to be no worker.
    replaced: Vec<Arc<Snapshot>>,
    shapes: Shapes,
    /// What the process has started with: some keys hold as they were then.
    started: Arc<Loaded>,
    /// Hash of the file that the watch has tried last.
    tried: Option<u64>,
    certificates: Certificates,
    /// On the state folder.
    claim: Claim,
    marks: Marks,
    maintenance: Maintenance,
    memory: Memory,
    sessions: Keeper,
    outliers: Outliers,
    tiers: Tiers,
    audit: Audit,
    supervisor: Supervisor,
    resolver: Resolver,
    lookup: Arc<Lookup>,
    discovery: Discovery,
    watcher: Option<Watcher>,
    stop: Stop,
}

impl<S: ListenerSockets> Control<S> {
    /// Puts the first configuration into force, marks included; nothing is accepted yet.
    pub fn new(parts: Parts<S>) -> Self {
        let Parts { facts, mut loader, first, sockets, drain, events } = parts;
        let Candidate { shapes, loaded, compiled, prepared, book } = first;
        let (lookup, answers) = (Arc::<Lookup>::default(), Arc::clone(&loader.answers));
        lookup.ask(&loaded.model.runtime.resolvers);
        let claim = Claim::on(&loader.state, &facts.state_dir_rival);
        let audit = Audit::new(loader.state.clone());
        let mut marks = Marks::load(loader.state.clone(), audit.clone(), Arc::clone(&facts));
        let mut sessions = Keeper::load(loader.state.clone());
        sessions.follow(&compiled.snapshot, unix());
        marks.apply(None, &compiled.snapshot);
        Keeper::rename(&compiled.snapshot);
        Keeper::track(&compiled.snapshot);
        // Unless this is on the disk, a kill in the first seconds would leave nothing.
        sessions.save(&compiled.snapshot, false, unix());
        compiled.publish_certificates();
        lock(&loader.registry).adopt(&compiled.snapshot, std::time::Instant::now());
        loader.applied(&compiled.snapshot, book);
        apply::log_warnings(&loaded);
        let started = Arc::new(loaded);
        *lock(&facts.loaded) = Arc::clone(&started);
        let supervisor = Supervisor::new(events.clone(), Arc::clone(&facts.checks));
        Self {
            facts,
            loader,
            sockets,
            drain,
            events,
            first: Some(prepared),
            replaced: Vec::new(),
            shapes,
            started,
            tried: None,
            certificates: Certificates::default(),
            claim,
            marks,
            maintenance: Maintenance::default(),
            memory: Memory::default(),
            sessions,
            outliers: Outliers::new(),
            tiers: Tiers::new(),
            audit,
            supervisor,
            resolver: Resolver::new(Arc::clone(&lookup)),
            discovery: Discovery::new(Arc::clone(&lookup), Arc::clone(&answers)),
            lookup,
            watcher: None,
            stop: Stop::No,
        }
    }

    /// Runs until the process is to end: checks, opens the listeners, follows events.
    ///
    /// # Panics
    /// When called outside a tokio runtime with IO and time.
    pub async fn run(mut self, events: mpsc::Receiver<Event>) -> Ended {
        let ended = self.serve(events).await;
        let snapshot = self.facts.current.load();
        // Where somebody is cut off, workers may still serve others for a moment.
        self.sessions.save(&snapshot, ended == Ended::Drained, unix());
        ended
    }

    async fn serve(&mut self, mut events: mpsc::Receiver<Event>) -> Ended {
        if let Err(error) = signal::listen(&self.events) {
            tracing::error!(%error, "signals are not heard");
        }
        let snapshot = self.facts.current.load();
        self.resolver.follow(&snapshot);
        self.supervisor.follow(&snapshot);
        drop(snapshot);
        self.settled();
        let deadline = Instant::now() + FIRST_VERDICTS;
        self.discover(deadline).await;
        let verdicts = self.supervisor.first_verdicts(deadline);
        let mut verdicts = Box::pin(verdicts);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        look.reset();
        let mut pulse = interval(PULSE);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut pulses, began) = (0, Instant::now());
        loop {
            if let Some(ended) = self.step() {
                return ended;
            }
            let next = self.next();
            let starting = self.facts.phase.get() == Phase::Starting;
            tokio::select! {
                event = events.recv() => {
                    // We hold a sender ourselves: the channel does not close.
                    if let Some(event) = event
                        && let Some(ended) = self.on(event).await
                    {
                        return ended;
                    }
                }
                all = &mut verdicts, if starting => {
                    if !all {
                        tracing::warn!("some backends have not answered their first check yet");
                    }
                    self.open();
                }
                _ = look.tick() => self.look().await,
                _ = pulse.tick() => {
                    let snapshot = self.facts.current.load();
                    Keeper::pulse(&snapshot, unix());
                    concurrency::look(&snapshot, began.elapsed());
                    drop(snapshot);
                    pulses += 1;
                    if pulses == PULSES_PER_BEAT {
                        pulses = 0;
                        self.beat().await;
                    }
                }
                () = sleep_until(next) => {
                    let snapshot = self.facts.current.load();
                    self.marks.expire(&snapshot);
                }
            }
        }
    }

    /// The one match.
    async fn on(&mut self, event: Event) -> Option<Ended> {
        match event {
            Event::Reload { actor, reply } => {
                let result = self.reload(&actor).await;
                answer(reply, result);
            }
            Event::FileChanged => self.file_changed().await,
            Event::CertificatesChanged => self.certificates_changed(),
            Event::Mark { change, actor, reply } => {
                let snapshot = self.facts.current.load();
                let result = self.marks.change(&change, &actor, &snapshot);
                answer(Some(reply), result);
            }
            Event::Failback { wish, actor, reply } => {
                answer(Some(reply), self.failback(&wish, &actor));
            }
            Event::Verdict { pool, backend, up, detail } => {
                self.verdict(&pool, &backend, up, &detail);
            }
            Event::OwnWord { pool, backend, word } => {
                // Who waits for a place may have another choice now, or none.
                if let Some(pool) = self.facts.current.load().pool(&pool) {
                    pool.state.queue.call_all();
                }
                tracing::info!(pool, backend, word, "backend says this about itself");
            }
            Event::ReopenLogs => {
                if let Some(log) = &self.facts.access_log {
                    log.reopen();
                }
            }
            Event::Stop { actor, reply } => {
                if self.stop != Stop::No {
                    answer(reply, Ok(json!({ "phase": "stopping", "at_once": true })));
                    self.audit.record(&actor, "stop", "at once", None);
                    return Some(Ended::AtOnce { open: self.drain.open() });
                }
                self.begin_stop(&actor);
                answer(reply, Ok(self.stop_told()));
            }
        }
        None
    }

    /// Opens the listeners, once, and never in a process that was told to stop before.
    fn open(&mut self) {
        if self.facts.phase.get() != Phase::Starting {
            return;
        }
        let Some(prepared) = self.first.take() else { return };
        let bound = self.sockets.commit(prepared);
        for listener in &bound {
            tracing::info!(listener = listener.name, address = %listener.address, "listening");
        }
        *lock(&self.facts.bound) = bound;
        self.facts.phase.set(Phase::Serving);
        self.supervisor.serving();
        systemd::ready();
    }

    /// Sessions, ghosts, names, the folder of maintenance, and what is not in force any more.
    async fn beat(&mut self) {
        self.let_go();
        let (snapshot, now) = (self.facts.current.load(), unix());
        self.sessions.tick(&snapshot, now);
        self.outliers.tick(&snapshot);
        self.usable();
        let ended = self.loader.remains.end(&snapshot, now);
        for (ghost, why) in &ended {
            tracing::info!(ghost, why, "a ghost has ended");
        }
        let loaded = self.facts.loaded();
        let folder = loaded.model.admin.maintenance_dir.as_ref().map(|folder| &*folder.value);
        self.maintenance.look(folder, &mut self.marks, &snapshot);
        drop(snapshot);
        if !ended.is_empty() {
            self.go_on_without_ghosts().await;
        }
        self.rediscover().await;
    }

    /// Frees what was in force, where nobody reads it any more.
    fn let_go(&mut self) {
        self.replaced.retain(|replaced| Arc::strong_count(replaced) > 1);
    }

    /// What has to be done now and then, whatever happens.
    async fn look(&mut self) {
        lock(&self.loader.registry).sweep(std::time::Instant::now());
        self.claim.look(&self.facts.state_dir_rival);
        self.file_changed().await;
        self.certificates_changed();
    }

    /// Watches the files of the configuration in force, as it wants them to be watched.
    fn follow_files(&mut self) {
        let loaded = self.facts.loaded();
        let runtime = &loaded.model.runtime;
        let file = self.loader.origin.file().filter(|_| runtime.watch_file);
        let watched = runtime.watch_certificates;
        let certificates = if watched { certificates::files(&loaded.model) } else { Vec::new() };
        if self.watcher.is_none() && (file.is_some() || !certificates.is_empty()) {
            match Watcher::new(self.events.clone()) {
                Ok(watcher) => self.watcher = Some(watcher),
                Err(error) => tracing::warn!(%error, "files are not watched, but looked at"),
            }
        }
        if let Some(watcher) = &mut self.watcher {
            watcher.follow(file, &certificates);
        }
    }
}

/// Unix seconds.
fn unix() -> u32 {
    u32::try_from(Timestamp::now().as_second()).unwrap_or(0)
}

/// A refusal with a status and one line that says what to do.
fn refused(status: u16, title: impl Into<String>) -> Refusal {
    let members = serde_json::Map::new();
    Refusal { status, title: title.into(), detail: String::new(), members }
}

/// Whoever asked may have gone.
fn answer(reply: Option<crate::event::Reply>, result: Result<Value, Refusal>) {
    if let Some(reply) = reply {
        let _ = reply.send(result);
    }
}
