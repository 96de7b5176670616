//! Active checks: one for all backends that are asked the same at the same place.

mod blind;
mod conversation;
mod counts;
mod group;
mod grpc;
mod handshake;
mod http;
mod http2;
mod layers;
mod probe;
mod rhythm;
mod tap;
mod threshold;

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use self::group::{Checked, Group, Target};
use crate::backend::{BackendState, OwnWord, Verdict};
use crate::event::Sender;
use crate::snapshot::{Health, Initial, Snapshot};
use crate::task;
pub use blind::Blindness;
pub use conversation::Step;
pub use counts::{CheckCounts, CheckedName, Checks};
use layers::Layers;
pub use probe::{Outcome, Probe};
use rhythm::{Before, Pace};
pub use threshold::{Count, Threshold};

/// Probes under way at once: each holds a socket, and the start asks for all of them together.
const MOST_AT_ONCE: usize = 256;
/// How often a first check looks whether its backend's name has been resolved.
const RESOLVE_POLL: Duration = Duration::from_millis(10);

/// Runs the probes. Lives on the control thread; dropping it stops them.
#[derive(Debug)]
pub struct Supervisor {
    events: Sender,
    checks: Arc<Checks>,
    permits: Arc<Semaphore>,
    verdicts: Arc<Notify>,
    running: HashMap<Target, Running>,
    /// The process has just begun and serves nobody yet.
    at_start: bool,
}

#[derive(Debug)]
struct Running {
    group: Arc<Group>,
    /// Stops the task when dropped.
    _task: AbortOnDropHandle<()>,
}

impl Supervisor {
    /// One without probes, which reports verdicts as events and counts into `checks`.
    pub fn new(events: Sender, checks: Arc<Checks>) -> Self {
        Self {
            events,
            checks,
            permits: Arc::new(Semaphore::new(MOST_AT_ONCE)),
            verdicts: Arc::new(Notify::new()),
            running: HashMap::new(),
            at_start: true,
        }
    }

    /// Starts what is new, keeps what is the same with its rhythm and its counts, stops the rest.
    ///
    /// # Panics
    /// When called outside a tokio runtime.
    #[expect(clippy::mutable_key_type, reason = "a pattern is hashed and compared by its text")]
    pub fn follow(&mut self, snapshot: &Snapshot) {
        let mut before = std::mem::take(&mut self.running);
        let mut known: HashMap<*const BackendState, Duration> = HashMap::new();
        for (target, running) in &before {
            for member in running.group.members() {
                known.insert(Arc::as_ptr(&member.state), target.health.interval);
            }
        }
        let mut names = HashSet::new();
        for (target, (probe, members)) in targets(snapshot) {
            let interval = |checked: &Checked| known.get(&Arc::as_ptr(&checked.state)).copied();
            let known_here: Vec<Checked> =
                members.iter().filter(|checked| interval(checked).is_some()).cloned().collect();
            for checked in &members {
                let Checked { name, state, initial } = checked;
                if interval(checked).is_none() {
                    // Checks were off: what was known before that is not known any more.
                    state.set_verdict(*initial);
                    match initial {
                        Verdict::Up if self.at_start => state.found_up(unix()),
                        Verdict::Up => state.came_up(unix()),
                        Verdict::Down | Verdict::Unchecked => {}
                    }
                    state.own_word.set(OwnWord::default());
                }
                names.insert(name.clone());
            }
            let running = before.remove(&target);
            let running = running.unwrap_or_else(|| {
                let interval = members.iter().filter_map(interval).max();
                self.start(&target, probe, (&known_here, interval), &members)
            });
            running.group.set_members(members);
            self.running.insert(target, running);
        }
        self.checks.retain(|name| names.contains(name));
        let groups = self.running.iter().map(|(target, running)| {
            let members = running.group.members();
            let pools = members.into_iter().map(|member| member.name.0).collect();
            (
                running.group.id(),
                pools,
                target.health.interval * target.health.full_every + target.health.timeout,
            )
        });
        self.checks.blindness.follow(snapshot.blind_guard, groups);
    }

    /// Who comes up from now on has just begun, for all that anybody knows.
    pub fn serving(&mut self) {
        self.at_start = false;
    }

    /// Starts the check of these `members`, some of whom are `known` already by checks at another
    /// interval.
    fn start(
        &self,
        target: &Target,
        probe: Probe,
        (known, interval): (&[Checked], Option<Duration>),
        members: &[Checked],
    ) -> Running {
        let mut initials = members.iter().map(|checked| checked.initial);
        let initial = initials.next().unwrap_or(Verdict::Unchecked);
        // Where pools want different things, the first check decides for all.
        let agreed = initials.all(|other| other == initial);
        let initial = if agreed { initial } else { Verdict::Unchecked };
        let group = Arc::new(Group::new(known, initial, self.at_start));
        let unknown = |checked: &Checked| checked.state.verdict() == Verdict::Unchecked;
        let down = known.is_empty() && initial == Verdict::Down;
        let task = Task {
            spread: !down && !members.iter().any(unknown),
            before: interval,
            probe,
            health: target.health.clone(),
            group: Arc::clone(&group),
            events: self.events.clone(),
            checks: Arc::clone(&self.checks),
            permits: Arc::clone(&self.permits),
            verdicts: Arc::clone(&self.verdicts),
        };
        let task = AbortOnDropHandle::new(task::spawn("health check", task.run()));
        Running { group, _task: task }
    }

    /// Ends when each checked backend has a verdict, at the latest at the deadline. Says whether
    /// all have one.
    pub fn first_verdicts(&self, deadline: Instant) -> impl Future<Output = bool> + use<> {
        let mut waiting: Vec<Checked> =
            self.running.values().flat_map(|running| running.group.members()).collect();
        let verdicts = Arc::clone(&self.verdicts);
        async move {
            loop {
                let mut told = pin!(verdicts.notified());
                told.as_mut().enable();
                waiting.retain(|checked| checked.state.verdict() == Verdict::Unchecked);
                if waiting.is_empty() {
                    return true;
                }
                if timeout_at(deadline, told).await.is_err() {
                    return false;
                }
            }
        }
    }
}

/// Whom the checks of this snapshot ask, and for which backends.
#[expect(clippy::mutable_key_type, reason = "a pattern is hashed and compared by its text")]
fn targets(snapshot: &Snapshot) -> HashMap<Target, (Probe, Vec<Checked>)> {
    let mut targets = HashMap::new();
    for pool in &snapshot.pools {
        let Some(health) = &pool.health else { continue };
        let initial = match health.initial {
            Initial::Checking => Verdict::Unchecked,
            Initial::Up => Verdict::Up,
            Initial::Down => Verdict::Down,
        };
        // Who asks the same shares a check, whatever the answer means before it is there.
        let health = &Health { initial: Initial::default(), ..health.clone() };
        for member in &pool.members {
            let backend = &member.backend;
            // Without TLS nobody asks by what name an address was found.
            let found = backend.found.as_ref().filter(|_| pool.tls.is_some());
            let target = Target {
                address: backend.address.clone(),
                host: found.map(|found| Arc::clone(&found.host)),
                carriage: pool.carriage().to_owned(),
                header: Probe::header(pool, health),
                health: health.clone(),
            };
            let (_, members): &mut (Probe, Vec<Checked>) = targets
                .entry(target)
                .or_insert_with(|| (Probe::of(pool, health, backend), Vec::new()));
            members.push(Checked {
                name: (Arc::clone(&backend.pool), Arc::clone(&backend.id)),
                state: Arc::clone(&backend.state),
                initial,
            });
        }
    }
    targets
}

/// Unix seconds.
fn unix() -> u32 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u32::try_from(now.as_secs()).unwrap_or(u32::MAX)
}

/// One check, again and again.
struct Task {
    /// Whether the first check has time: all is known that keeps visitors away or lets them in.
    spread: bool,
    /// The interval of the checks before these, where there were any.
    before: Option<Duration>,
    probe: Probe,
    health: Health,
    group: Arc<Group>,
    events: Sender,
    checks: Arc<Checks>,
    permits: Arc<Semaphore>,
    verdicts: Arc<Notify>,
}

impl Task {
    async fn run(self) {
        self.resolved().await;
        // The first is at once where nothing is known yet, and the second anywhere in the interval.
        // Else the first is: a reload may have brought many.
        let phase = fastrand::f64();
        let mut spread = Some(phase);
        if self.spread {
            let before = self.group.since_last().zip(self.before);
            let before = before.map(|(since, interval)| Before { since, interval });
            sleep(rhythm::first(self.health.interval, before, phase)).await;
            spread = None;
        }
        let mut layers = Layers::new(self.health.full_every);
        let mut last = None;
        loop {
            let begun = Instant::now();
            let pace = self.check(layers.is_full(last, self.group.speaks())).await;
            last = Some(pace);
            let pause = rhythm::pause(&self.health, pace, fastrand::f64());
            let next = begun + spread.take().map_or(pause, |phase| pause.mul_f64(phase));
            self.until(next).await;
        }
    }

    /// Sleeps, and tells those who join meanwhile.
    async fn until(&self, next: Instant) {
        loop {
            tokio::select! {
                () = sleep_until(next) => return,
                () = self.group.joined() => self.tell().await,
                () = self.checks.blindness.turned() => {
                    self.group.look_again(&self.checks);
                    self.tell().await;
                }
            }
        }
    }

    /// Waits for a name's first answer, which is under way at a start: without it the first check
    /// would fail for no fault of the backend.
    async fn resolved(&self) {
        let deadline = Instant::now() + self.health.timeout;
        while self.group.addresses().is_empty() && Instant::now() < deadline {
            sleep(RESOLVE_POLL).await;
        }
    }

    /// Checks once, in full or only by connecting, and says how closely to look from now on.
    async fn check(&self, full: bool) -> Pace {
        // It is never closed; were it, going on without a permit would be better than no check.
        let permit = self.permits.acquire().await.ok();
        let begun = Instant::now();
        let addresses = self.group.addresses();
        let check = async {
            if full {
                self.probe.check(&addresses).await
            } else {
                self.probe.knock(&addresses).await
            }
        };
        let outcome = task::catch(check).await;
        let outcome = outcome
            .unwrap_or_else(|panicked| Outcome { result: Err(panicked.to_string()), word: None });
        drop(permit);
        let threshold = Threshold { rise: self.health.rise, fall: self.health.fall };
        let took = (begun.elapsed(), full);
        let pace = self.group.observe(threshold, outcome, took, &self.checks);
        self.tell().await;
        pace
    }

    async fn tell(&self) {
        let news = self.group.news();
        if !news.is_empty() {
            self.verdicts.notify_waiters();
        }
        for event in news {
            // Nobody listens any more when the process ends.
            let _ = self.events.send(event).await;
        }
    }
}
