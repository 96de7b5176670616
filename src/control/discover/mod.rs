//! Names that stand for backends: asked again by their TTL, off the workers, their last good
//! answers kept.

mod answer;
mod book;
mod keep;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::lookup::{Lookup, after_failures};
use crate::admin::facts::{Discovered, lock};
use crate::backend::Standing;
use crate::config::model::{AddressHost, Discover, Model};
use crate::snapshot::Snapshot;
use crate::task;
pub(super) use answer::{Answer, Target};
pub(super) use book::{Book, Source};
pub(super) use keep::Keep;

/// What is known of each source by now. The loader reads it, the tasks write it.
#[derive(Debug, Default)]
pub(super) struct Answers {
    all: Mutex<HashMap<Source, Told>>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Told {
    /// The last good one.
    good: Option<Answer>,
    at: Option<Timestamp>,
    /// Why the last question had no good answer.
    problem: Option<String>,
}

impl Answers {
    /// Brings a book up to date (`now`: Unix seconds). Doing it again changes nothing.
    pub(super) fn enter(&self, book: &mut Book, model: &Model, now: u32) {
        let all = lock(&self.all);
        for source in Source::all(model) {
            if let Some(answer) = all.get(&source).and_then(|told| told.good.as_ref()) {
                book.take(&source, answer, model, now);
            }
        }
    }

    fn good(&self, source: &Source) -> Option<Answer> {
        lock(&self.all).get(source).and_then(|told| told.good.clone())
    }

    fn arrive(&self, source: &Source, outcome: Result<Answer, String>) {
        let mut all = lock(&self.all);
        let told = all.entry(source.clone()).or_default();
        match outcome {
            Ok(answer) => {
                *told = Told { good: Some(answer), at: Some(Timestamp::now()), problem: None };
            }
            Err(problem) => told.problem = Some(problem),
        }
        drop(all);
        self.arrived.notify_waiters();
    }
}

/// Asks about the sources of the configuration in force: one task each.
#[derive(Debug)]
pub(super) struct Discovery {
    lookup: Arc<Lookup>,
    answers: Arc<Answers>,
    running: BTreeMap<Source, AbortOnDropHandle<()>>,
}

impl Discovery {
    /// One that asks about nothing yet.
    pub(super) fn new(lookup: Arc<Lookup>, answers: Arc<Answers>) -> Self {
        Self { lookup, answers, running: BTreeMap::new() }
    }

    /// Starts to ask about what is new, beside what is asked already: the configuration may hold
    /// soon. Waits for a first word on each, good or not, until the deadline.
    pub(super) async fn prepare(&mut self, model: &Model, deadline: Instant) {
        let sources = Source::all(model);
        for source in &sources {
            self.start(source);
        }
        loop {
            let arrived = self.answers.arrived.notified();
            let mut arrived = std::pin::pin!(arrived);
            arrived.as_mut().enable();
            let waits = {
                let all = lock(&self.answers.all);
                sources.iter().any(|source| !all.contains_key(source))
            };
            if !waits || timeout_at(deadline, arrived).await.is_err() {
                return;
            }
        }
    }

    /// This configuration holds: what it does not ask about is not asked any more.
    pub(super) fn follow(&mut self, model: &Model) {
        let sources = Source::all(model);
        for source in &sources {
            self.start(source);
        }
        let wanted: HashSet<&Source> = sources.iter().collect();
        self.running.retain(|source, _| wanted.contains(source));
        lock(&self.answers.all).retain(|source, _| wanted.contains(source));
    }

    fn start(&mut self, source: &Source) {
        let new = || {
            let task = Task {
                lookup: Arc::clone(&self.lookup),
                answers: Arc::clone(&self.answers),
                source: source.clone(),
            };
            AbortOnDropHandle::new(task::spawn("discover", task.run()))
        };
        if !self.running.contains_key(source) {
            self.running.insert(source.clone(), new());
        }
    }

    /// For status: what is known of each source.
    pub(super) fn told(&self, book: &Book) -> Vec<Discovered> {
        let all = lock(&self.answers.all);
        let told = |source: &Source| {
            let told = all.get(source);
            let (there, leaving) = book.count(source);
            Discovered {
                pool: source.pool.to_string(),
                name: source.name().to_string(),
                backends: there,
                leaving,
                left_out: told.and_then(|told| told.good.as_ref()).map_or(0, Answer::left_out),
                answered: told.and_then(|told| told.at),
                problem: told.and_then(|told| told.problem.clone()),
            }
        };
        self.running.keys().map(told).collect()
    }
}

/// Asks about one source for as long as it is wanted.
struct Task {
    lookup: Arc<Lookup>,
    answers: Arc<Answers>,
    source: Source,
}

impl Task {
    async fn run(self) {
        let mut failures = 0_u32;
        loop {
            let before = self.answers.good(&self.source);
            let pause = match ask(&self.lookup, &self.source, before.as_ref()).await {
                Ok((answer, pause)) => {
                    self.answered(failures, before.as_ref(), &answer);
                    failures = 0;
                    self.answers.arrive(&self.source, Ok(answer));
                    pause
                }
                Err(problem) => {
                    if failures == 0 {
                        let (pool, name) = (&*self.source.pool, &*self.source.name());
                        let kept = before.map_or(0, |answer| answer.targets().len());
                        tracing::warn!(pool, name, problem, kept, "a name has no good answer");
                    }
                    failures = failures.saturating_add(1);
                    self.answers.arrive(&self.source, Err(problem));
                    after_failures(failures)
                }
            };
            sleep(pause).await;
        }
    }

    fn answered(&self, failures: u32, before: Option<&Answer>, answer: &Answer) {
        let (pool, name) = (&*self.source.pool, &*self.source.name());
        if failures > 0 {
            tracing::info!(pool, name, failures, "a name has a good answer again");
        }
        let left_out = answer.left_out();
        if left_out > 0 && before.is_none_or(|before| before.left_out() == 0) {
            tracing::warn!(pool, name, left_out, "an answer has more backends than are taken");
        }
    }
}

/// Asks once. The answer, and how long it holds.
async fn ask(
    lookup: &Lookup,
    source: &Source,
    before: Option<&Answer>,
) -> Result<(Answer, Duration), String> {
    match source.discover {
        Discover::Dns => lookup.each_address(&source.host, source.port, before).await,
        Discover::Srv => lookup.each_host(&source.host, before).await,
    }
}

/// Those that leave and are still wanted, by pool and address: until nobody is bound to them and
/// nothing runs, or nobody can be served there any more, or their time is over for longer than
/// `grace` (seconds).
pub(super) fn wanted(snapshot: &Snapshot, now: u32, grace: u32) -> HashSet<(Arc<str>, SocketAddr)> {
    let mut wanted = HashSet::new();
    for pool in &snapshot.pools {
        for member in pool.members.iter().filter(|one| one.backend.leaving().is_some()) {
            let backend = &member.backend;
            let useless = matches!(backend.standing(), Standing::Down | Standing::Maint);
            let over = backend.state.drain.is_over(now.saturating_sub(grace));
            let AddressHost::Ip(ip) = backend.address.host else { continue };
            if !useless && !over && !pool.is_drained(member, now) {
                wanted.insert((Arc::clone(&pool.name), SocketAddr::new(ip, backend.address.port)));
            }
        }
    }
    wanted
}

/// The addresses of a name, as these name servers tell it now.
///
/// # Errors
/// Why there are none.
pub async fn addresses(servers: &[SocketAddr], host: &str) -> Result<Vec<IpAddr>, String> {
    let lookup = Lookup::default();
    lookup.ask(servers);
    lookup.addresses(host).await.map(|(addresses, _)| addresses)
}

/// Pool and name of a source, and why it has no backends.
pub type Unanswered = (Arc<str>, Arc<str>, String);

/// The configuration with the backends that DNS tells now, and what it tells nothing about.
pub async fn expanded(model: &Model) -> (Model, Vec<Unanswered>) {
    let lookup = Lookup::default();
    lookup.ask(&model.runtime.resolvers);
    let mut book = Book::default();
    book.follow(model, 0);
    let mut failed = Vec::new();
    for source in Source::all(model) {
        match ask(&lookup, &source, None).await {
            Ok((answer, _)) => book.take(&source, &answer, model, 0),
            Err(problem) => failed.push((Arc::clone(&source.pool), source.name(), problem)),
        }
    }
    (book.expand(model), failed)
}
