//! Whether a request may be tried again: the table of the contract, and the budget (pure).

use http::Method;

use crate::snapshot::choice::Tried;
use crate::telemetry::reason::Reason;

pub use crate::snapshot::RetryRules;

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed {
    /// Why.
    pub reason: Reason,
    /// Whether a byte of the request may have been written.
    pub sent: bool,
    /// Whether the connection had carried an exchange before.
    pub reused: bool,
    /// Whether the request's body is as it was.
    pub untouched: bool,
}

/// What to do after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The failure stands.
    Stop,
    /// Once more with any backend, over a new connection.
    Anywhere,
    /// With another backend.
    Elsewhere,
}

/// The attempts of one exchange.
#[derive(Debug, Clone, Copy)]
pub struct Attempts {
    rules: RetryRules,
    made: u32,
    /// Backends that are not tried again.
    pub tried: Tried,
    /// The bound backend has been asked once more, or is about to be.
    refused: bool,
    /// Idle connections are not trusted any more.
    pub fresh: bool,
}

impl Attempts {
    /// None so far.
    pub fn new(rules: RetryRules) -> Self {
        Self { rules, made: 0, tried: Tried::default(), refused: false, fresh: false }
    }

    /// Whether one more may be made beside the next one.
    pub fn more(&self) -> bool {
        self.made + 1 < self.rules.tries
    }

    /// One was made beside the last, with this member, and has failed as well.
    pub fn hedged(&mut self, member: usize) {
        self.made += 1;
        self.tried.add(member);
    }

    /// Decides after a failure with this member. `bound`: the visitor has a session there.
    pub fn after(
        &mut self,
        failed: Failed,
        method: &Method,
        member: usize,
        bound: bool,
    ) -> Verdict {
        self.made += 1;
        let verdict = decide(failed, method, &self.rules);
        if verdict == Verdict::Stop || self.made >= self.rules.tries {
            return Verdict::Stop;
        }
        // A bound visitor's backend may be restarting: one refusal does not move anybody.
        if failed.reason == Reason::ConnectRefused && bound && !self.refused {
            self.refused = true;
            self.fresh = true;
            return Verdict::Anywhere;
        }
        self.fresh = true;
        match verdict {
            Verdict::Elsewhere => self.tried.add(member),
            // This is the once more: should it be refused, somebody else is asked.
            Verdict::Anywhere => self.refused = true,
            Verdict::Stop => {}
        }
        verdict
    }
}

/// Contract §6, row by row.
fn decide(failed: Failed, method: &Method, rules: &RetryRules) -> Verdict {
    let safe = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    let idempotent = safe || matches!(*method, Method::PUT | Method::DELETE);
    if !failed.untouched {
        return Verdict::Stop;
    }
    let allowed = match failed.reason {
        Reason::DnsFailed
        | Reason::ConnectRefused
        | Reason::ConnectTimeout
        | Reason::BackendTls => rules.unsent,
        Reason::BackendReset if !failed.sent => rules.unsent,
        Reason::BackendReset if failed.reused => rules.stale && idempotent,
        Reason::BackendReset => rules.reset && safe,
        Reason::BadResponse | Reason::BackendHeaderTooLarge => rules.reset && idempotent,
        Reason::BackendHeaderTimeout => rules.response_timeout && idempotent,
        Reason::BackendStatus => rules.status_5xx && idempotent,
        _ => false,
    };
    match (allowed, failed.reason) {
        (false, _) => Verdict::Stop,
        // An idle connection that had died says nothing about its backend.
        (true, Reason::BackendReset) if failed.reused => Verdict::Anywhere,
        (true, _) => Verdict::Elsewhere,
    }
}

/// What repetitions of requests that a backend may have seen can cost a pool on one worker: a
/// share of its requests, and a few a second so that small traffic is helped too. What was never
/// sent is repeated for nothing: it adds no load to any backend, and a dead backend's visitors are
/// more than a share.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// In hundredths of a retry.
    credit: u64,
    /// What requests have earned since the last look, beyond the advance.
    earned: u64,
    /// What the floor has given and requests have not earned since: they do so first.
    advance: u64,
    /// Hundredths of a retry a second, however little traffic there is.
    floor: u64,
    /// Milliseconds on the worker's clock.
    refilled: u64,
}

/// Retries a second over all workers whatever the traffic: in place of the share, not beside it.
const FLOOR_PER_SECOND: u64 = 10;
/// Retries that requests may save up; the floor saves those of one second, and one at the least.
const MOST: u64 = 100;

impl Budget {
    /// Of one of so many workers, with what a second is worth.
    pub fn new(workers: usize) -> Self {
        let workers = u64::try_from(workers).unwrap_or(u64::MAX).max(1);
        let floor = (FLOOR_PER_SECOND * 100).div_ceil(workers);
        Self { credit: floor, earned: 0, advance: floor, floor, refilled: 0 }
    }

    /// A request has come: it earns its share.
    pub fn earn(&mut self, percent: u32) {
        let percent = u64::from(percent);
        let owed = percent.min(self.advance);
        self.advance -= owed;
        self.earned = self.earned.saturating_add(percent - owed);
        self.credit = (self.credit + percent - owed).min(MOST * 100);
    }

    /// Takes a retry out, if there is one. `now`: milliseconds.
    pub fn spend(&mut self, now: u64) -> bool {
        let since = now.saturating_sub(self.refilled);
        // The clock stands still between two ticks: until it goes on, what is earned adds up.
        if since > 0 {
            self.refilled = now;
            let floor = since.min(60_000) * self.floor / 1000;
            let refill = floor.saturating_sub(std::mem::take(&mut self.earned));
            let most = self.floor.max(100);
            let given = refill.min(most.saturating_sub(self.credit));
            self.credit += given;
            self.advance = (self.advance + given).min(most);
        }
        let paid = self.credit.checked_sub(100);
        self.credit = paid.unwrap_or(self.credit);
        paid.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: RetryRules = RetryRules {
        tries: 3,
        unsent: true,
        stale: true,
        reset: true,
        response_timeout: false,
        status_5xx: false,
        budget_percent: 20,
        hedge: None,
        hedge_percent: 5,
    };

    fn verdict(method: &Method, reason: Reason, sent: bool, reused: bool, untouched: bool) -> bool {
        let failed = Failed { reason, sent, reused, untouched };
        decide(failed, method, &RULES) != Verdict::Stop
    }

    #[test]
    fn the_table_of_the_contract() {
        let (get, put, post) = (Method::GET, Method::PUT, Method::POST);
        for method in [&get, &put, &post] {
            assert!(verdict(method, Reason::ConnectRefused, false, false, true), "never sent");
            assert!(verdict(method, Reason::BackendReset, false, true, true), "never written");
        }
        assert!(verdict(&get, Reason::BackendReset, true, false, true));
        assert!(verdict(&get, Reason::BackendReset, true, true, true));
        assert!(verdict(&put, Reason::BackendReset, true, true, true));
        assert!(!verdict(&put, Reason::BackendReset, true, false, true), "PUT on a fresh one");
        assert!(!verdict(&put, Reason::BackendReset, true, true, false), "PUT with a body begun");
        assert!(!verdict(&post, Reason::BackendReset, true, true, true), "never a second POST");
        assert!(!verdict(&post, Reason::BackendReset, true, false, true));
        assert!(!verdict(&get, Reason::BackendHeaderTimeout, true, false, true), "by asking only");
        assert!(!verdict(&get, Reason::Deadline, true, false, true));
        assert!(verdict(&get, Reason::BadResponse, true, false, true));
        assert!(!verdict(&post, Reason::BadResponse, true, false, true));
    }

    #[test]
    fn a_bound_visitors_backend_is_asked_once_more_before_another_one() {
        let refused =
            Failed { reason: Reason::ConnectRefused, sent: false, reused: false, untouched: true };
        let mut attempts = Attempts::new(RULES);
        assert_eq!(attempts.after(refused, &Method::POST, 1, true), Verdict::Anywhere);
        assert!(!attempts.tried.has(1));
        assert_eq!(attempts.after(refused, &Method::POST, 1, true), Verdict::Elsewhere);
        assert!(attempts.tried.has(1));
        assert_eq!(attempts.after(refused, &Method::POST, 2, true), Verdict::Stop, "three in all");
        let mut attempts = Attempts::new(RULES);
        assert_eq!(attempts.after(refused, &Method::POST, 1, false), Verdict::Elsewhere);
    }

    #[test]
    fn a_backend_that_resets_and_then_refuses_has_been_asked_once_more() {
        let reset =
            Failed { reason: Reason::BackendReset, sent: true, reused: true, untouched: true };
        let refused = Failed { reason: Reason::ConnectRefused, sent: false, ..reset };
        let mut attempts = Attempts::new(RULES);
        assert_eq!(attempts.after(reset, &Method::GET, 1, true), Verdict::Anywhere);
        assert!(!attempts.tried.has(1));
        assert_eq!(attempts.after(refused, &Method::GET, 1, true), Verdict::Elsewhere);
        assert!(attempts.tried.has(1));
    }

    #[test]
    fn retries_stay_a_share_of_requests() {
        let mut budget = Budget::new(1);
        let mut retries = 0;
        for _ in 0..1_000 {
            budget.earn(20);
            retries += u32::from(budget.spend(0));
        }
        assert_eq!(retries, 200);
        assert!(!budget.spend(1_000), "that second had its share");
        assert!(budget.spend(2_000), "a quiet one brings ten more");
    }

    #[test]
    fn what_is_earned_counts_against_the_floor_so_that_the_share_is_never_exceeded() {
        // 500 requests a second over two workers, of which all want to be repeated.
        let mut workers = [Budget::new(2), Budget::new(2)];
        let mut retries = 0;
        for request in 0..10_000_u64 {
            let budget = &mut workers[usize::try_from(request % 2).unwrap()];
            budget.earn(20);
            // As the worker's clock has it.
            let now = request * 2 / 100 * 100;
            retries += u32::from(budget.spend(now));
        }
        assert!(retries <= 2_000, "{retries}");
        // The same after a quiet minute.
        let mut rested = Budget::new(2);
        rested.spend(0);
        let mut retries = 0;
        for request in 0..10_000 {
            rested.earn(20);
            retries += u32::from(rested.spend(60_000 + request * 4 / 100 * 100));
        }
        assert!(retries <= 2_000, "{retries}");
        // Two and a half times what earns as much as the floor gives, and a part of it: it is in
        // place of the share, and there in full.
        for (rate, least, most) in [(10, 100, 110), (25, 100, 110), (125, 245, 255)] {
            let mut budget = Budget::new(1);
            let mut retries = 0;
            for request in 0..10 * rate {
                budget.earn(20);
                while budget.spend(request * 1_000 / rate / 100 * 100) {
                    retries += 1;
                }
            }
            assert!((least..=most).contains(&retries), "{rate} a second: {retries}");
        }
        // Many workers have a part of it each, which must come to a whole retry some time.
        let mut sixteenth = Budget::new(16);
        let mut retries = 0;
        for second in 0..32 {
            sixteenth.earn(20);
            retries += u32::from(sixteenth.spend(second * 1_000));
        }
        assert!((15..=25).contains(&retries), "{retries}");
        // Five in ten seconds: the floor, and it is there for each of them.
        let mut quiet = Budget::new(2);
        for request in 0..5_u64 {
            quiet.earn(20);
            assert!(quiet.spend(request * 2_000));
        }
    }
}
