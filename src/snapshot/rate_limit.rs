//! A route's limit of requests, kept across generations while it stays as it is.

use std::hash::RandomState;
use std::time::Instant;

use crate::config::model::{self, HashOn};
use crate::route::{Limiter, Rate};

/// By what of a request its bucket is found, and the buckets.
#[derive(Debug)]
pub struct RateLimit {
    /// What tells clients apart; for who has none of it, the client's address does.
    pub by: HashOn,
    /// Their buckets.
    pub limiter: Limiter,
}

impl RateLimit {
    /// With every bucket full.
    pub fn new(limit: &model::RateLimit) -> Self {
        let limiter = Limiter::new(rate(limit), Instant::now(), RandomState::new());
        Self { by: limit.by.clone(), limiter }
    }

    /// Whether it is what the file says.
    pub fn is(&self, limit: &model::RateLimit) -> bool {
        self.by == limit.by && self.limiter.rate() == rate(limit)
    }
}

fn rate(limit: &model::RateLimit) -> Rate {
    Rate { count: limit.count, per: limit.per, burst: limit.burst }
}
