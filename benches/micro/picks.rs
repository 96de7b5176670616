//! Which backend takes a request: policies over bare numbers, then a pool as it is served from.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion};
use ostler::balance::{Candidates, Cursor, Policy, rendezvous};
use ostler::snapshot::choice::{Tried, Visitor};
use ostler::sticky::{Presented, Token};

use super::world::{self, NOW};

/// Weights of candidates that are all eligible and idle.
struct Weights(Vec<u32>);

impl Candidates for Weights {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn weight(&self, index: usize) -> u32 {
        self.0.get(index).copied().unwrap_or(1)
    }
    fn in_flight(&self, _: usize) -> u32 {
        0
    }
    fn eligible(&self, _: usize) -> bool {
        true
    }
}

pub(super) fn policies(criterion: &mut Criterion) {
    let policies = [
        ("round_robin", Policy::RoundRobin),
        ("least_request", Policy::LeastRequest),
        ("random", Policy::Random),
    ];
    for (shape, heavy) in [("pick_even", 1), ("pick_uneven", 4)] {
        let mut group = criterion.benchmark_group(shape);
        for count in [3, 1_000] {
            let weight = |index| if index % 2 == 0 { 1 } else { heavy };
            let weights = Weights((0..count).map(weight).collect());
            for (name, policy) in policies {
                let mut cursor = Cursor::new(1);
                group.bench_function(BenchmarkId::new(name, count), |bencher| {
                    bencher.iter(|| policy.pick(black_box(&weights), &mut cursor));
                });
            }
            group.bench_function(BenchmarkId::new("rendezvous", count), |bencher| {
                let name = |index| u64::try_from(index).unwrap_or(0);
                bencher.iter(|| rendezvous(black_box(7), black_box(&weights), name));
            });
        }
        group.finish();
    }
}

/// The whole choice: standing, marks and weights are read from the backends' shared state.
pub(super) fn selections(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pool_select");
    for count in [3, 1_000] {
        let snapshot = world::snapshot(&world::one_pool(count));
        let pool = world::pool(&snapshot);
        let home = pool.members.last().expect("a pool with backends").backend.name;
        let bound = Presented::Valid(Token::begin(9, pool.hash, home, NOW));
        for (name, presented) in [("new", Presented::None), ("bound", bound)] {
            let visitor = Visitor {
                presented,
                join: None,
                fresh: 42,
                now: NOW,
                plain: true,
                desperate: false,
                key: None,
                spill: false,
                called: false,
                evicted: None,
            };
            let sticky = pool.sticky.as_deref();
            let mut cursor = Cursor::new(1);
            assert!(pool.select(sticky, &visitor, &Tried::default(), &mut cursor).is_ok());
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                let tried = Tried::default();
                bencher.iter(|| pool.select(sticky, black_box(&visitor), &tried, &mut cursor));
            });
        }
    }
    group.finish();
}
