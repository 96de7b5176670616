//! One check and the backends that it speaks for.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

use super::counts::{CheckedName, Checks};
use super::threshold::{Count, Threshold};
use crate::backend::{BackendState, CheckReport, Verdict};
use crate::event::Event;
use crate::snapshot::{Address, Health};

/// Whom a check asks, and how: backends of which all this is equal share one check, however many
/// pools they are in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Target {
    /// As configured.
    pub(super) address: Address,
    /// What tells one pool's TLS from another's; none: no TLS.
    pub(super) tls: Option<String>,
    pub(super) health: Health,
}

/// A backend that is checked.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    pub(super) name: CheckedName,
    pub(super) state: Arc<BackendState>,
}

/// The backends of one check, and what it has found. Locked on the control thread alone, and
/// never for longer than it takes to write a verdict down.
#[derive(Debug)]
pub(super) struct Group {
    inner: Mutex<Inner>,
    /// Somebody has joined who is to be told of.
    joined: Notify,
}

#[derive(Debug)]
struct Inner {
    count: Count,
    last: Option<CheckReport>,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    checked: Checked,
    /// The verdict that was last told of it.
    told: Verdict,
}

impl Group {
    /// Of backends whose verdict is still good, where they have one. Where they differ, each keeps
    /// its own until the first check decides for all.
    pub(super) fn new(members: &[Checked]) -> Self {
        let mut verdicts = members.iter().map(|member| member.state.verdict());
        let first = verdicts.find(|verdict| *verdict != Verdict::Unchecked);
        let first = first.unwrap_or(Verdict::Unchecked);
        let agreed = verdicts.all(|verdict| verdict == first || verdict == Verdict::Unchecked);
        let verdict = if agreed { first } else { Verdict::Unchecked };
        let inner = Inner { count: Count::new(verdict), last: None, members: Vec::new() };
        Self { inner: Mutex::new(inner), joined: Notify::new() }
    }

    /// These are its backends now. Who is new here has the verdict of the others at once.
    pub(super) fn set_members(&self, members: Vec<Checked>) {
        let mut inner = self.lock();
        let before = std::mem::take(&mut inner.members);
        let verdict = inner.count.verdict();
        for checked in members {
            let same = |member: &&Member| Arc::ptr_eq(&member.checked.state, &checked.state);
            let told = if let Some(member) = before.iter().find(same) {
                member.told
            } else {
                if let Some(report) = &inner.last {
                    checked.state.set_last_check(report.clone());
                }
                give(&checked.state, verdict)
            };
            if told != verdict {
                self.joined.notify_one();
            }
            inner.members.push(Member { checked, told });
        }
    }

    /// Its backends.
    pub(super) fn members(&self) -> Vec<Checked> {
        self.lock().members.iter().map(|member| member.checked.clone()).collect()
    }

    /// Where the address leads; empty while a name has no answer.
    pub(super) fn addresses(&self) -> Arc<Vec<SocketAddr>> {
        let inner = self.lock();
        let resolved = inner.members.iter().find(|member| member.checked.state.resolved());
        resolved.map_or_else(Arc::default, |member| member.checked.state.addresses())
    }

    /// Takes in a result for all of them, and says whether it was another one than the verdict,
    /// so that it may turn.
    pub(super) fn observe(
        &self,
        threshold: Threshold,
        result: Result<String, String>,
        took: Duration,
        checks: &Checks,
    ) -> bool {
        let mut inner = self.lock();
        let passed = result.is_ok();
        let (Ok(detail) | Err(detail)) = result;
        let verdict = inner.count.observe(threshold, passed);
        let in_a_row = inner.count.in_a_row();
        let report = CheckReport { at: SystemTime::now(), passed, detail, took, in_a_row };
        for member in &inner.members {
            let Checked { name, state } = &member.checked;
            state.set_last_check(report.clone());
            checks.count(name, passed, took);
            give(state, verdict);
        }
        inner.last = Some(report);
        inner.count.is_turning()
    }

    /// One event for each backend whose verdict was not told yet.
    pub(super) fn news(&self) -> Vec<Event> {
        let mut inner = self.lock();
        let verdict = inner.count.verdict();
        if verdict == Verdict::Unchecked {
            return Vec::new();
        }
        let detail = inner.last.as_ref().map(|report| report.detail.clone()).unwrap_or_default();
        let untold = inner.members.iter_mut().filter(|member| member.told != verdict);
        untold
            .map(|member| {
                member.told = verdict;
                let (pool, backend) = &member.checked.name;
                Event::Verdict {
                    pool: pool.to_string(),
                    backend: backend.to_string(),
                    up: verdict == Verdict::Up,
                    detail: detail.clone(),
                }
            })
            .collect()
    }

    /// Ends when somebody has joined who is to be told of.
    pub(super) async fn joined(&self) {
        self.joined.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives a backend the verdict of its group, if that has one, and returns the one before.
fn give(state: &BackendState, verdict: Verdict) -> Verdict {
    let before = state.verdict();
    if verdict == Verdict::Unchecked {
        return before;
    }
    if verdict == Verdict::Up && before != Verdict::Up {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        state.came_up(u32::try_from(now.as_secs()).unwrap_or(u32::MAX));
    }
    state.set_verdict(verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONCE: Threshold = Threshold { rise: 1, fall: 1 };

    fn backend(pool: &str, verdict: Verdict) -> Checked {
        let state = Arc::new(BackendState::default());
        state.set_verdict(verdict);
        Checked { name: (pool.into(), "a".into()), state }
    }

    fn group(members: &[Checked]) -> Group {
        let group = Group::new(members);
        group.set_members(members.to_vec());
        group
    }

    fn fails(group: &Group, checks: &Checks) -> bool {
        group.observe(ONCE, Err("HTTP 503".to_owned()), Duration::ZERO, checks)
    }

    fn passes(group: &Group, checks: &Checks) -> bool {
        group.observe(ONCE, Ok("HTTP 200".to_owned()), Duration::ZERO, checks)
    }

    /// The pools that were told of, each with its verdict.
    fn told(group: &Group) -> Vec<String> {
        let told = |event| match event {
            Event::Verdict { pool, up, .. } => format!("{pool} {up}"),
            other => panic!("{other:?}"),
        };
        group.news().into_iter().map(told).collect()
    }

    #[test]
    fn one_result_is_the_verdict_of_each_backend_and_each_is_told_once() {
        let members = ["one", "two"].map(|pool| backend(pool, Verdict::Unchecked));
        let (group, checks) = (group(&members), Checks::default());
        passes(&group, &checks);
        assert!(members.iter().all(|member| member.state.verdict() == Verdict::Up));
        assert_eq!(told(&group), ["one true", "two true"]);
        assert_eq!(told(&group), [""; 0]);
        assert_eq!(checks.of("one", "a").unwrap().passed, 1);
        assert_eq!(checks.of("two", "a").unwrap().passed, 1);
    }

    #[test]
    fn who_joins_has_the_verdict_at_once_and_is_told_of() {
        let first = backend("one", Verdict::Unchecked);
        let (group, checks) = (group(std::slice::from_ref(&first)), Checks::default());
        passes(&group, &checks);
        assert_eq!(told(&group), ["one true"]);
        let second = backend("two", Verdict::Unchecked);
        group.set_members(vec![second.clone(), first]);
        assert_eq!(second.state.verdict(), Verdict::Up);
        assert_eq!(second.state.last_check().unwrap().detail, "HTTP 200");
        assert_eq!(told(&group), ["two true"]);
    }

    #[test]
    fn verdicts_that_differ_are_kept_until_the_first_check() {
        let members = [backend("one", Verdict::Up), backend("two", Verdict::Down)];
        let (group, checks) = (group(&members), Checks::default());
        assert_eq!(members[0].state.verdict(), Verdict::Up);
        assert_eq!(members[1].state.verdict(), Verdict::Down);
        fails(&group, &checks);
        assert_eq!(members[0].state.verdict(), Verdict::Down);
        assert_eq!(told(&group), ["one false"]);
    }

    #[test]
    fn a_verdict_that_was_known_is_not_told_again() {
        let members = [backend("one", Verdict::Up)];
        let (group, checks) = (group(&members), Checks::default());
        passes(&group, &checks);
        assert_eq!(told(&group), [""; 0]);
        fails(&group, &checks);
        assert_eq!(told(&group), ["one false"]);
    }
}
