//! One check and the backends that it speaks for.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

use super::counts::{CheckedName, Checks};
use super::probe::Outcome;
use super::rhythm::Pace;
use super::threshold::{Count, Threshold};
use crate::backend::{BackendState, CheckReport, OwnWord, Verdict};
use crate::event::Event;
use crate::snapshot::{Address, Health};

/// Whom a check asks, and how: backends of which all this is equal share one check, however many
/// pools they are in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Target {
    /// As configured.
    pub(super) address: Address,
    /// By which name TLS knows it, where that is not its address' host.
    pub(super) host: Option<Arc<str>>,
    /// What tells one pool's TLS and protocol from another's.
    pub(super) carriage: String,
    /// Present: the PROXY header that it begins with.
    pub(super) header: Option<Vec<u8>>,
    pub(super) health: Health,
}

/// A backend that is checked.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    pub(super) name: CheckedName,
    pub(super) state: Arc<BackendState>,
    /// What it is until a check has said something.
    pub(super) initial: Verdict,
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
    /// What its backends are given: the count's verdict, or the one before where that is frozen.
    shown: Verdict,
    last: Option<CheckReport>,
    /// The process has just begun and no check has failed: who comes up has been up before.
    warm: bool,
    /// What the backend says about itself.
    word: OwnWord,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    checked: Checked,
    /// The verdict and the own word that were last told of it.
    told: (Verdict, OwnWord),
}

impl Group {
    /// Of those backends whose verdict is still good. Where they differ, each keeps its own until
    /// the first check decides for all; where there are none, `initial` is the verdict. `warm`: the
    /// process has just begun, so that nobody is cold who comes up before a check has failed.
    pub(super) fn new(known: &[Checked], initial: Verdict, warm: bool) -> Self {
        let mut verdicts = known.iter().map(|member| member.state.verdict());
        let first = verdicts.find(|verdict| *verdict != Verdict::Unchecked);
        let first = first.unwrap_or(Verdict::Unchecked);
        let agreed = verdicts.all(|verdict| verdict == first || verdict == Verdict::Unchecked);
        let verdict = match agreed {
            _ if known.is_empty() => initial,
            true => first,
            false => Verdict::Unchecked,
        };
        let mut words = known.iter().map(|member| member.state.own_word.get());
        let word = words.find(|word| !word.is_empty()).unwrap_or_default();
        let count = Count::new(verdict);
        let inner = Inner { count, shown: verdict, last: None, warm, word, members: Vec::new() };
        Self { inner: Mutex::new(inner), joined: Notify::new() }
    }

    /// These are its backends now. Who is new here has the verdict of the others at once, and is as
    /// cold as they are: it is one and the same process.
    pub(super) fn set_members(&self, members: Vec<Checked>) {
        let mut inner = self.lock();
        let before = std::mem::take(&mut inner.members);
        let now = (inner.shown, inner.word);
        for checked in members {
            let same = |member: &&Member| Arc::ptr_eq(&member.checked.state, &checked.state);
            let told = if let Some(member) = before.iter().find(same) {
                member.told
            } else {
                if let Some(report) = &inner.last {
                    checked.state.set_last_check(report.clone());
                }
                let told = give(&checked.state, now, inner.warm);
                if let Some(other) = before.first() {
                    checked.state.as_cold_as(&other.checked.state);
                }
                told
            };
            if told != now {
                self.joined.notify_one();
            }
            inner.members.push(Member { checked, told });
        }
    }

    /// Whether the backend says something about itself, which only an answer in full can take back.
    pub(super) fn speaks(&self) -> bool {
        !self.lock().word.is_empty()
    }

    /// How long ago the last check of any of its backends ended, of a group before this one too.
    pub(super) fn since_last(&self) -> Option<Duration> {
        let inner = self.lock();
        let ended = |member: &Member| member.checked.state.last_check().map(|report| report.at);
        inner.members.iter().filter_map(ended).max()?.elapsed().ok()
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

    /// Takes in a result for all of them, and says how closely they are to be looked at. `full`: of
    /// a check that has asked, not only connected. One that has connected says nothing new: what
    /// the last one in full has seen stays to be told.
    pub(super) fn observe(
        &self,
        threshold: Threshold,
        outcome: Outcome,
        (took, full): (Duration, bool),
        checks: &Checks,
    ) -> Pace {
        let mut inner = self.lock();
        let passed = outcome.result.is_ok();
        let (Ok(detail) | Err(detail)) = outcome.result;
        inner.warm &= passed;
        inner.word = outcome.word.unwrap_or(inner.word);
        let before = inner.count.verdict();
        let verdict = inner.count.observe(threshold, passed);
        checks.blindness.observe(self.id(), passed, before, verdict);
        inner.shown = checks.blindness.shown(self.id(), verdict);
        let now = (inner.shown, inner.word);
        let in_a_row = inner.count.in_a_row();
        let (detail, took) = match &inner.last {
            Some(last) if passed && !full => (last.detail.clone(), last.took),
            _ => (detail, took),
        };
        let report = CheckReport { at: SystemTime::now(), passed, full, detail, took, in_a_row };
        for member in &inner.members {
            let Checked { name, state, .. } = &member.checked;
            state.set_last_check(report.clone());
            checks.count(name, passed, (took, full));
            give(state, now, inner.warm);
        }
        inner.warm &= verdict != Verdict::Up;
        inner.last = Some(report);
        Pace::of(inner.count)
    }

    /// Verdicts have been frozen, or are not any more.
    pub(super) fn look_again(&self, checks: &Checks) {
        let mut inner = self.lock();
        inner.shown = checks.blindness.shown(self.id(), inner.count.verdict());
        let now = (inner.shown, inner.word);
        for member in &inner.members {
            give(&member.checked.state, now, inner.warm);
        }
    }

    /// A number of its own for as long as it is there.
    pub(super) fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// One event for each thing about each backend that was not told yet.
    pub(super) fn news(&self) -> Vec<Event> {
        let mut inner = self.lock();
        let (verdict, word) = (inner.shown, inner.word);
        let detail = inner.last.as_ref().map(|report| report.detail.clone()).unwrap_or_default();
        let mut news = Vec::new();
        for member in &mut inner.members {
            let (pool, backend) = &member.checked.name;
            let (pool, backend) = (pool.to_string(), backend.to_string());
            let before = std::mem::replace(&mut member.told, (verdict, word));
            if before.1 != word {
                let (pool, backend) = (pool.clone(), backend.clone());
                news.push(Event::OwnWord { pool, backend, word: word.to_string() });
            }
            if before.0 != verdict && verdict != Verdict::Unchecked {
                let up = verdict == Verdict::Up;
                news.push(Event::Verdict { pool, backend, up, detail: detail.clone() });
            }
        }
        news
    }

    /// Ends when somebody has joined who is to be told of.
    pub(super) async fn joined(&self) {
        self.joined.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives a backend what its group knows, and returns what it had before. It takes visitors since
/// now where it took nobody new before. `warm`: it did so before this process began.
fn give(
    state: &BackendState,
    (verdict, word): (Verdict, OwnWord),
    warm: bool,
) -> (Verdict, OwnWord) {
    let open = |verdict, word: OwnWord| verdict == Verdict::Up && word.takes_new();
    let before = (state.verdict(), state.own_word.set(word));
    if verdict == Verdict::Unchecked {
        return before;
    }
    if open(verdict, word) && !open(before.0, before.1) {
        if warm {
            state.found_up(super::unix());
        } else {
            state.came_up(super::unix());
        }
    }
    state.set_verdict(verdict);
    before
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONCE: Threshold = Threshold { rise: 1, fall: 1 };

    fn backend(pool: &str, verdict: Verdict) -> Checked {
        let state = Arc::new(BackendState::default());
        state.set_verdict(verdict);
        Checked { name: (pool.into(), "a".into()), state, initial: Verdict::Unchecked }
    }

    fn group(members: &[Checked]) -> Group {
        let group = Group::new(members, Verdict::Unchecked, false);
        group.set_members(members.to_vec());
        group
    }

    fn fails(group: &Group, checks: &Checks) -> Pace {
        let outcome = Outcome { result: Err("HTTP 503".to_owned()), word: None };
        group.observe(ONCE, outcome, (Duration::ZERO, true), checks)
    }

    fn passes(group: &Group, checks: &Checks) -> Pace {
        says(group, checks, "")
    }

    fn says(group: &Group, checks: &Checks, word: &str) -> Pace {
        let word = Some(OwnWord::parse(word).unwrap_or_default());
        let outcome = Outcome { result: Ok("HTTP 200".to_owned()), word };
        group.observe(ONCE, outcome, (Duration::ZERO, true), checks)
    }

    /// The pools that were told of, each with its verdict.
    fn told(group: &Group) -> Vec<String> {
        let told = |event| match event {
            Event::Verdict { pool, up, .. } => format!("{pool} {up}"),
            Event::OwnWord { pool, word, .. } => format!("{pool} says {word}"),
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
    fn an_own_word_holds_until_an_answer_is_without_it() {
        let (first, second) = (backend("one", Verdict::Up), backend("two", Verdict::Unchecked));
        let (group, checks) = (group(std::slice::from_ref(&first)), Checks::default());
        let word = |checked: &Checked| checked.state.own_word.get().to_string();
        says(&group, &checks, "drain");
        assert_eq!((word(&first), told(&group)), ("drain".into(), vec!["one says drain".into()]));
        group.set_members(vec![first.clone(), second.clone()]);
        assert_eq!(word(&second), "drain");
        assert_eq!(told(&group), ["two says drain", "two true"]);
        fails(&group, &checks);
        assert_eq!(word(&first), "drain", "no answer says nothing else");
        passes(&group, &checks);
        assert_eq!((word(&first), word(&second)), (String::new(), String::new()));
    }

    #[test]
    fn who_is_down_is_looked_at_at_another_pace_and_a_turn_is_looked_at_closely() {
        let (group, checks) = (group(&[backend("one", Verdict::Up)]), Checks::default());
        let twice = Threshold { rise: 2, fall: 2 };
        let paces = [true, false, false, false, true, true].map(|passes| {
            let result = if passes { Ok(String::new()) } else { Err(String::new()) };
            let outcome = Outcome { result, word: None };
            group.observe(twice, outcome, (Duration::ZERO, true), &checks)
        });
        let [steady, down, changing] = [Pace::Steady, Pace::Down, Pace::Changing];
        assert_eq!(paces, [steady, changing, down, down, changing, steady]);
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
