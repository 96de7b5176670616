//! A second attempt beside a first one that keeps its client waiting: whoever answers first counts.
// The other one is dropped, and its connection with it. Sticky routes do not do it (who is bound
// has one backend that knows them, who is not is about to be bound), nor does what may not be sent
// twice.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Method;
use tokio::time::sleep;

use super::super::attempt::{self, Missed, Reply, Waits};
use super::super::local;
use super::super::record::Record;
use super::super::retry::Attempts;
use super::Asked;
use crate::backend::InFlight;
use crate::backend::outlier::Entry;
use crate::balance::Policy;
use crate::net::clock;
use crate::snapshot::choice::{Choice, Selected};
use crate::snapshot::{Member, Pool};

type Sent = Result<Reply, Missed>;

/// An attempt that is under way.
#[derive(Clone, Copy)]
pub(super) struct Try<'m> {
    pub(super) choice: Choice,
    pub(super) member: &'m Member,
    pub(super) entry: Entry,
    /// When it began, since the exchange did.
    pub(super) began: Duration,
}

impl<'a> Asked<'a> {
    /// After which silence a second attempt is made beside the next one, if one is: of what may be
    /// sent twice, without a body, to a pool that keeps nobody.
    pub(super) fn hedge(&self, attempts: &Attempts, upgrade: bool) -> Option<Duration> {
        let after = self.route.retry.hedge?;
        let safe = matches!(self.outbound.method, Method::GET | Method::HEAD | Method::OPTIONS);
        let plain = !upgrade && self.sticky.is_none();
        (safe && plain && attempts.more()).then_some(after)
    }

    /// An attempt, and after a while another one beside it. What came of it, and of which of them.
    pub(super) async fn raced(
        &mut self,
        (first, in_flight): (Try<'a>, InFlight),
        after: Duration,
        attempts: &mut Attempts,
        waits: Waits,
        record: &mut Record,
    ) -> (Sent, Try<'a>) {
        let (pool, fresh) = (self.pool, attempts.fresh);
        let ends = pool.send_proxy.map(|_| record.ends());
        let spare = self.outbound.copy();
        let (mut times, mut others) = (record.times, record.times.again());
        let (one, two, second) = {
            let (outbound, place) = (&mut self.outbound, (first.member, in_flight, ends));
            let mut one = pin!(attempt::send(pool, place, outbound, fresh, waits, &mut times));
            let early = tokio::select! {
                biased;
                sent = &mut one => Some(sent),
                () = sleep(after) => None,
            };
            let another = || another(pool, &self.visitor, attempts, &first, record.elapsed());
            match (early, spare) {
                (None, Some(mut spare)) => match another() {
                    Some((second, in_flight)) => {
                        record.hedged();
                        let place = (second.member, in_flight, ends);
                        let two = attempt::send(pool, place, &mut spare, false, waits, &mut others);
                        let (one, two) = both(one, pin!(two)).await;
                        (one, two, Some(second))
                    }
                    None => (Some(one.await), None, None),
                },
                (None, None) => (Some(one.await), None, None),
                (early, _) => (early, None, None),
            }
        };
        match (one, two, second) {
            (one, Some(Ok(reply)), Some(second)) if !matches!(one, Some(Ok(_))) => {
                match one {
                    Some(Err(missed)) => self.unwell(first.member, first.entry, &missed),
                    _ => self.was_slow(&first, record.elapsed()),
                }
                record.overtaken(second.choice.member, others);
                (Ok(reply), second)
            }
            (one, two, second) => {
                if let (Some(Err(missed)), Some(second)) = (two, second) {
                    self.unwell(second.member, second.entry, &missed);
                    attempts.hedged(second.choice.member);
                }
                record.times = times;
                (one.unwrap_or_else(|| Err(Missed::internal())), first)
            }
        }
    }

    /// It was given up for another one: it takes so long at least.
    fn was_slow(&self, slow: &Try<'a>, now: Duration) {
        if self.pool.policy == Policy::PeakEwma {
            let took = now.saturating_sub(slow.began).as_nanos();
            let nanos = u64::try_from(took).unwrap_or(u64::MAX);
            let latency = &slow.member.backend.state.latency;
            latency.observe(nanos, u64::from(clock::unix()) * 1000);
        }
    }
}

/// A place at another backend, where there is one now and the budget allows it.
fn another<'a>(
    pool: &'a Pool,
    visitor: &crate::snapshot::choice::Visitor,
    attempts: &Attempts,
    first: &Try<'a>,
    began: Duration,
) -> Option<(Try<'a>, InFlight)> {
    let mut tried = attempts.tried;
    tried.add(first.choice.member);
    let selected = local::position(pool, |cursor| pool.select(None, visitor, &tried, cursor));
    let Ok(Selected::Now(choice)) = selected else { return None };
    let member = pool.members.get(choice.member)?;
    let earned = || pool.counters.sum(|it| it.hedges_earned.get());
    if choice.member == first.choice.member || !pool.state.hedges.spend(earned) {
        return None;
    }
    let backend = &member.backend;
    let in_flight = backend.state.begin(backend.most_requests())?;
    let entry = backend.state.outcomes.enter();
    Some((Try { choice, member, entry, began }, in_flight))
}

/// Both, until one of them has an answer or neither has.
async fn both(
    mut one: Pin<&mut impl Future<Output = Sent>>,
    mut two: Pin<&mut impl Future<Output = Sent>>,
) -> (Option<Sent>, Option<Sent>) {
    let (mut first, mut second) = (None, None);
    poll_fn(|cx| {
        let answered = go_on(one.as_mut(), &mut first, cx) || go_on(two.as_mut(), &mut second, cx);
        let over = first.is_some() && second.is_some();
        if answered || over { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    (first, second)
}

/// Whether it has an answer now.
fn go_on(
    attempt: Pin<&mut impl Future<Output = Sent>>,
    sent: &mut Option<Sent>,
    cx: &mut Context<'_>,
) -> bool {
    if sent.is_none()
        && let Poll::Ready(now) = attempt.poll(cx)
    {
        *sent = Some(now);
    }
    matches!(sent, Some(Ok(_)))
}
