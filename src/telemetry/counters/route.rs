//! What one worker counts about one route.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use http::Method;

use super::requests::{MethodWord, RequestKey, Requests};
use super::{Counter, Histogram, PerWorker};
use crate::telemetry::reason::Reason;
use crate::telemetry::word::words;

words! {
    /// How an exchange or an attempt ended, by the first digit of its status.
    pub enum Class {
        /// 100 to 199.
        Informational = "1xx",
        /// 200 to 299.
        Success = "2xx",
        /// 300 to 399.
        Redirection = "3xx",
        /// 400 to 499.
        ClientError = "4xx",
        /// 500 to 599.
        ServerError = "5xx",
        /// Without a status that means anything.
        Error = "error",
    }
}

impl Class {
    /// The class of a status; 0 stands for no status at all.
    pub const fn of(status: u16) -> Self {
        match status {
            100..200 => Self::Informational,
            200..300 => Self::Success,
            300..400 => Self::Redirection,
            400..500 => Self::ClientError,
            500..600 => Self::ServerError,
            _ => Self::Error,
        }
    }
}

/// One worker's counts of one route.
#[derive(Debug, Default)]
pub struct RouteCounters {
    requests: Requests,
    /// Bytes of request bodies.
    pub request_bytes: Counter,
    /// Bytes of response bodies.
    pub response_bytes: Counter,
    durations: [OnceLock<Box<Histogram>>; Class::COUNT],
}

impl RouteCounters {
    /// Counts one exchange; a status of 0 is one that was cut before any was sent.
    pub fn record(&self, method: &Method, status: u16, reason: Reason) {
        self.requests.record(MethodWord::of(method), status, reason);
    }

    /// Notes how long an exchange took. Leave tunnels out.
    pub fn observe(&self, status: u16, duration: Duration) {
        if let Some(cell) = self.durations.get(Class::of(status).index()) {
            cell.get_or_init(Box::default).observe(duration);
        }
    }

    /// Durations of one class, where there were any.
    pub fn durations(&self, class: Class) -> Option<&Histogram> {
        self.durations.get(class.index())?.get().map(|boxed| &**boxed)
    }

    /// Every combination counted so far. One may come twice (add them up).
    pub fn visit(&self, see: impl FnMut(RequestKey, u64)) {
        self.requests.visit(see);
    }
}

impl PerWorker<RouteCounters> {
    /// Requests over all workers, in the order of their keys.
    pub fn sum_requests(&self) -> BTreeMap<RequestKey, u64> {
        let mut sums = BTreeMap::new();
        for counters in self.iter() {
            counters.visit(|key, count| *sums.entry(key).or_default() += count);
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_adds_up_what_the_workers_counted() {
        let route = PerWorker::<RouteCounters>::new(2);
        route.get(0).record(&Method::GET, 200, Reason::None);
        route.get(1).record(&Method::GET, 200, Reason::None);
        route.get(1).record(&Method::GET, 502, Reason::ConnectRefused);
        let sums: Vec<_> = route.sum_requests().into_iter().collect();
        let key = |code, reason| RequestKey { method: MethodWord::Get, code: Some(code), reason };
        assert_eq!(sums, [(key(200, Reason::None), 2), (key(502, Reason::ConnectRefused), 1)],);
    }

    #[test]
    fn durations_are_kept_by_class_and_only_where_there_are_any() {
        let route = PerWorker::<RouteCounters>::new(2);
        route.get(1).observe(503, Duration::from_millis(3));
        let sum = |class| route.sum_histogram(|counters| counters.durations(class));
        assert_eq!(sum(Class::ServerError).map(|sum| sum.count()), Some(1));
        assert_eq!(sum(Class::Success), None);
    }

    #[test]
    fn every_status_has_a_class() {
        assert_eq!(Class::of(101).as_str(), "1xx");
        assert_eq!(Class::of(499).as_str(), "4xx");
        assert_eq!(Class::of(0).as_str(), "error");
        assert_eq!(Class::of(600).as_str(), "error");
    }
}
