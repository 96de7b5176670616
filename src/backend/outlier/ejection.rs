//! For how long a backend stays ejected, how it comes back, and who is ejected for its rate.

use std::collections::BTreeMap;
use std::time::Duration;

use super::quota::{Quota, most_ejected};
use super::rate::{Cause, Interval, outliers};
use super::tally::Counts;
use super::{Kinds, Outcomes, Phase, Terms};

/// Rates are compared, and former ejections forgiven, so often; Envoy's.
const INTERVAL: Duration = Duration::from_secs(10);
/// No ejection grows beyond this, unless its base is longer.
const LONGEST: Duration = Duration::from_mins(5);

/// One backend at one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// `name_hash` of its id.
    pub name: u64,
    /// Whether it would take anybody but for what outcomes say.
    pub usable: bool,
    /// Where it is in its course, and the number of the phase.
    pub phase: (Phase, u16),
    /// It is ejected because there was no connection, and for nothing else.
    pub unreachable: bool,
    /// When its last check began, if that has passed: on the clock of the looks.
    pub passed: Option<Duration>,
    /// Attempts since the last look.
    pub counts: Counts,
}

/// What is to be done with a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Nobody new for a while.
    Eject(Cause),
    /// It is given a few attempts, of which one that fails ejects it again.
    Try,
    /// It has everything again.
    Return,
    /// It is out for other reasons.
    SetAside,
    /// The other reasons are gone.
    Include,
}

/// What has happened to a backend, for log and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// It is ejected.
    Ejected {
        /// Why.
        cause: Cause,
        /// For how long.
        time: Duration,
    },
    /// Its time is over, and it is on trial.
    Tried,
    /// It is back.
    Returned,
}

/// What a look has come to: the orders and the news in the order of the backends.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// How many may be out at once.
    pub most: u32,
    /// What is held in the quota and what should be, where that differs.
    pub held: Option<(u32, u32)>,
    /// What is to be done.
    pub orders: Vec<Option<Order>>,
    /// What has happened.
    pub news: Vec<Option<News>>,
}

impl Plan {
    /// Carries it out. `outcomes` in the order in which they were seen.
    pub fn apply<'a>(&self, outcomes: impl Iterator<Item = &'a Outcomes>, quota: &Quota) {
        quota.allow(self.most);
        if let Some((held, truth)) = self.held {
            quota.correct(held, truth);
        }
        for (outcomes, order) in outcomes.zip(&self.orders) {
            if let Some(order) = order {
                outcomes.order(*order, quota);
            }
        }
    }
}

/// The ejections of one pool. A tick a second; it knows nothing but what it is shown.
#[derive(Debug, Default)]
pub struct Ejection {
    courses: BTreeMap<u64, Course>,
    interval_ends: Option<Duration>,
    /// What was held and what should have been, at the last look.
    off: Option<(u32, u32)>,
}

/// What is remembered of one backend.
#[derive(Debug, Default)]
struct Course {
    /// How often it was ejected, less the intervals without.
    ejections: u32,
    /// The ejection that it is in, or on trial after.
    ejected: Option<Term>,
    /// Whether it was out in this interval.
    was_out: bool,
    /// Why it was told to go, until it is seen to be gone.
    blamed: Option<Cause>,
    interval: Interval,
}

/// One ejection.
#[derive(Debug, Clone, Copy)]
struct Term {
    number: u16,
    /// The look at which it was seen.
    since: Duration,
    until: Duration,
}

impl Ejection {
    /// Looks at a pool. `now` is on any clock that never goes back. `held`: places of the quota,
    /// read before the backends were looked at. Without terms nobody is ejected, and who was comes
    /// back.
    pub fn tick(&mut self, now: Duration, terms: Option<&Terms>, held: u32, seen: &[Seen]) -> Plan {
        self.courses.retain(|name, _| seen.iter().any(|seen| seen.name == *name));
        let usable = seen.iter().filter(|seen| seen.usable).count();
        let percent = terms.map_or(0, |terms| terms.max_ejected);
        let most = most_ejected(u32::try_from(usable).unwrap_or(u32::MAX), percent);
        let mut plan = Plan { most, held: self.check(held, seen), ..Plan::default() };
        let (on, base) = terms.map_or_else(Default::default, |terms| (terms.on, terms.base));
        for seen in seen {
            let course = self.courses.entry(seen.name).or_default();
            let (order, news) = course.step(now, on, base, seen);
            plan.orders.push(order);
            plan.news.push(news);
        }
        let room = self.take_back(most, seen, &mut plan.orders);
        for ((seen, order), news) in seen.iter().zip(&plan.orders).zip(&mut plan.news) {
            if *order == Some(Order::Try) && seen.phase.0 == Phase::Ejected {
                *news = Some(News::Tried);
            }
        }
        let ends = *self.interval_ends.get_or_insert_with(|| now.saturating_add(INTERVAL));
        if now >= ends {
            self.interval_ends = Some(now.saturating_add(INTERVAL));
            self.compare(room, seen, &mut plan.orders);
            self.courses.values_mut().for_each(Course::end_interval);
        }
        plan
    }

    /// Finds places that nobody gives back, because their backend left the pool while it was
    /// ejected. A place may be on its way between two atomics: so only what is wrong in the same
    /// way at two looks is wrong.
    fn check(&mut self, held: u32, seen: &[Seen]) -> Option<(u32, u32)> {
        let out = seen.iter().filter(|seen| seen.phase.0.is_out()).count();
        let found = (held, u32::try_from(out).unwrap_or(u32::MAX));
        let before = self.off.replace(found);
        (found.0 != found.1 && before == Some(found)).then_some(found)
    }

    /// Where more are out than may be, since others have gone down: those come back that would
    /// come back first. Gives how many more might be ejected.
    fn take_back(&self, most: u32, seen: &[Seen], orders: &mut [Option<Order>]) -> usize {
        let out = seen.iter().zip(orders).filter(|(seen, _)| seen.usable && seen.phase.0.is_out());
        let mut out: Vec<_> = out.collect();
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        out.sort_by_key(|(seen, _)| {
            let until = self.courses.get(&seen.name).and_then(|course| course.ejected);
            (seen.phase.0 == Phase::Ejected, until.map(|term| term.until))
        });
        let (room, excess) = (most.saturating_sub(out.len()), out.len().saturating_sub(most));
        for (_, order) in out.into_iter().take(excess) {
            *order = Some(Order::Return);
        }
        room
    }

    /// Ejects those whose rates stand out, the worst first.
    fn compare(&mut self, room: usize, seen: &[Seen], orders: &mut [Option<Order>]) {
        let courses = &mut self.courses;
        let of =
            |seen: &Seen| courses.get(&seen.name).map_or_else(Interval::default, |c| c.interval);
        let judged = seen.iter().zip(orders).filter(|(s, _)| s.usable && s.phase.0 == Phase::In);
        let (mut judged, intervals): (Vec<_>, Vec<_>) =
            judged.map(|(seen, order)| ((seen.name, order), of(seen))).unzip();
        let causes = outliers(&intervals).into_iter().zip(&intervals);
        let found = judged.iter_mut().zip(causes);
        let found = found.filter_map(|(to, (cause, interval))| Some((to, cause?, interval)));
        let mut found: Vec<_> = found.collect();
        found.sort_by_key(|(_, _, interval)| std::cmp::Reverse(interval.failing()));
        for ((name, order), cause, _) in found.into_iter().take(room) {
            **order = Some(Order::Eject(cause));
            if let Some(course) = courses.get_mut(name) {
                course.blamed = Some(cause);
            }
        }
    }
}

impl Course {
    fn step(
        &mut self,
        now: Duration,
        on: Kinds,
        base: Duration,
        seen: &Seen,
    ) -> (Option<Order>, Option<News>) {
        let (good, bad) = seen.counts.by(on);
        self.interval.good = self.interval.good.saturating_add(good);
        self.interval.bad = self.interval.bad.saturating_add(bad);
        let (phase, number) = seen.phase;
        let blamed = self.blamed.take();
        if !seen.usable {
            self.ejected = None;
            self.interval = Interval::default();
            return ((phase != Phase::Aside).then_some(Order::SetAside), None);
        }
        self.was_out |= phase.is_out();
        match phase {
            Phase::Aside => (Some(Order::Include), None),
            Phase::Ejected => match self.ejected {
                Some(term) if term.number == number => {
                    // There was nobody, and a check says that there is somebody again.
                    let is_there = seen.passed.is_some_and(|began| began > term.since);
                    let back = (seen.unreachable && is_there).then_some(Order::Return);
                    (back.or_else(|| (now >= term.until).then_some(Order::Try)), None)
                }
                before => {
                    // Two phases after the one before: it went from there to trial and failed.
                    let tried = before.is_some_and(|it| it.number.wrapping_add(2) == number);
                    let instead = if tried { Cause::Trial } else { Cause::Consecutive };
                    let cause = blamed.unwrap_or(instead);
                    let time = self.ejected(now, number, base);
                    (None, Some(News::Ejected { cause, time }))
                }
            },
            // Places that were taken and never answered for are made good.
            Phase::Trial => (Some(Order::Try), None),
            Phase::In => {
                let back = self.ejected.take().is_some();
                if back {
                    self.interval = Interval::default();
                }
                (None, back.then_some(News::Returned))
            }
        }
    }

    fn ejected(&mut self, now: Duration, number: u16, base: Duration) -> Duration {
        self.ejections = self.ejections.saturating_add(1);
        let time = base.saturating_mul(self.ejections).min(LONGEST.max(base));
        self.ejected = Some(Term { number, since: now, until: now.saturating_add(time) });
        time
    }

    fn end_interval(&mut self) {
        self.interval = Interval::default();
        if !std::mem::take(&mut self.was_out) {
            self.ejections = self.ejections.saturating_sub(1);
        }
    }
}
