//! Whether a request may be tried again: the table of the contract (pure).

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
}
