//! Active checks: one probe per checked backend, following the snapshot.

mod counts;
mod probe;
mod threshold;

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use crate::backend::{BackendState, CheckReport, Verdict};
use crate::event::{Event, Sender};
use crate::snapshot::{Health, Snapshot};
use crate::task;
pub use counts::{CheckCounts, CheckedName, Checks};
pub use probe::Probe;
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
    running: HashMap<CheckedName, Running>,
}

#[derive(Debug)]
struct Running {
    state: Arc<BackendState>,
    health: Health,
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
        }
    }

    /// Starts what is new, keeps what is the same with its rhythm and its counts, stops the rest.
    ///
    /// # Panics
    /// When called outside a tokio runtime.
    pub fn follow(&mut self, snapshot: &Snapshot) {
        let mut before = std::mem::take(&mut self.running);
        let known: HashSet<*const BackendState> =
            before.values().map(|running| Arc::as_ptr(&running.state)).collect();
        for pool in &snapshot.pools {
            let Some(health) = &pool.health else { continue };
            for member in &pool.members {
                let backend = &member.backend;
                let name = (Arc::clone(&backend.pool), Arc::clone(&backend.id));
                let kept = before.remove(&name).filter(|running| {
                    running.health == *health && Arc::ptr_eq(&running.state, &backend.state)
                });
                let running = kept.unwrap_or_else(|| {
                    if !known.contains(&Arc::as_ptr(&backend.state)) {
                        // Checks were off: what was known before that is not known any more.
                        backend.state.set_verdict(Verdict::Unchecked);
                    }
                    let task = Task {
                        name: name.clone(),
                        probe: Probe::new(pool, health, backend.address.to_string()),
                        health: health.clone(),
                        state: Arc::clone(&backend.state),
                        events: self.events.clone(),
                        checks: Arc::clone(&self.checks),
                        permits: Arc::clone(&self.permits),
                        verdicts: Arc::clone(&self.verdicts),
                    };
                    Running {
                        state: Arc::clone(&backend.state),
                        health: health.clone(),
                        _task: AbortOnDropHandle::new(task::spawn("health check", task.run())),
                    }
                });
                self.running.insert(name, running);
            }
        }
        self.checks.retain(|name| self.running.contains_key(name));
    }

    /// Ends when each checked backend has a verdict, at the latest at the deadline. Says whether
    /// all have one.
    pub fn first_verdicts(&self, deadline: Instant) -> impl Future<Output = bool> + use<> {
        let mut waiting: Vec<Arc<BackendState>> =
            self.running.values().map(|running| Arc::clone(&running.state)).collect();
        let verdicts = Arc::clone(&self.verdicts);
        async move {
            loop {
                let mut told = pin!(verdicts.notified());
                told.as_mut().enable();
                waiting.retain(|state| state.verdict() == Verdict::Unchecked);
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

/// The checks of one backend.
struct Task {
    name: CheckedName,
    probe: Probe,
    health: Health,
    state: Arc<BackendState>,
    events: Sender,
    checks: Arc<Checks>,
    permits: Arc<Semaphore>,
    verdicts: Arc<Notify>,
}

impl Task {
    async fn run(self) {
        let threshold = Threshold { rise: self.health.rise, fall: self.health.fall };
        let mut count = Count::new(self.state.verdict());
        self.resolved().await;
        self.check(threshold, &mut count).await;
        // After a start or a reload that brought many, they are spread over the interval.
        let mut next = Instant::now() + self.health.interval.mul_f64(fastrand::f64());
        loop {
            sleep_until(next).await;
            next = Instant::now() + self.health.interval.mul_f64(0.9 + 0.2 * fastrand::f64());
            self.check(threshold, &mut count).await;
        }
    }

    /// Waits for a name's first answer, which is under way at a start: without it the first check
    /// would fail for no fault of the backend.
    async fn resolved(&self) {
        let deadline = Instant::now() + self.health.timeout;
        while !self.state.resolved() && Instant::now() < deadline {
            sleep(RESOLVE_POLL).await;
        }
    }

    async fn check(&self, threshold: Threshold, count: &mut Count) {
        // It is never closed; were it, going on without a permit would be better than no check.
        let permit = self.permits.acquire().await.ok();
        let begun = Instant::now();
        let addresses = self.state.addresses();
        let result = task::catch(self.probe.check(&addresses)).await;
        let result = result.unwrap_or_else(|panicked| Err(panicked.to_string()));
        let took = begun.elapsed();
        drop(permit);
        let passed = result.is_ok();
        let (Ok(detail) | Err(detail)) = result;
        let before = count.verdict();
        let verdict = count.observe(threshold, passed);
        let (at, in_a_row) = (SystemTime::now(), count.in_a_row());
        let report = CheckReport { at, passed, detail: detail.clone(), took, in_a_row };
        self.state.set_last_check(report);
        self.checks.count(&self.name, passed, took);
        if verdict == before {
            return;
        }
        if verdict == Verdict::Up {
            let now = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
            self.state.came_up(u32::try_from(now).unwrap_or(u32::MAX));
        }
        self.state.set_verdict(verdict);
        self.verdicts.notify_waiters();
        let (pool, backend) = (self.name.0.to_string(), self.name.1.to_string());
        let up = verdict == Verdict::Up;
        // Nobody listens any more when the process ends.
        let _ = self.events.send(Event::Verdict { pool, backend, up, detail }).await;
    }
}
