//! What the pure decisions of one request cost: route, cookie, token, pick.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ostler::balance::{Candidates, Cursor, Policy, rendezvous};
use ostler::config::model::{HostPattern, PathPattern, SecretKey};
use ostler::route::{Rule, Table, normalise};
use ostler::sticky::{KeyRing, Token, cookie};

/// `count` routes, a hundred paths to a host.
fn table(count: usize) -> Table<usize> {
    let rule = |index: usize| Rule {
        hosts: vec![HostPattern::Exact(Arc::from(format!("shop{}.example.com", index / 100)))],
        path: PathPattern::Prefix(Arc::from(format!("/api/v{}", index % 100))),
        value: index,
    };
    Table::build((0..count).map(rule).collect()).expect("no two of these rules are alike")
}

fn routes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route_find");
    for count in [10, 1_000, 100_000] {
        let table = table(count);
        let last = count - 1;
        let host = format!("shop{}.example.com", last / 100);
        let path = format!("/api/v{}/items/12345", last % 100);
        assert_eq!(table.find(Some(&host), &path), Some(&last));
        group.bench_function(BenchmarkId::new("prefix", count), |bencher| {
            bencher.iter(|| table.find(black_box(Some(&*host)), black_box(&*path)));
        });
        group.bench_function(BenchmarkId::new("none", count), |bencher| {
            bencher.iter(|| table.find(black_box(Some("other.example.com")), black_box(&*path)));
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("path_normalise");
    for path in ["/api/v1/items/12345", "/api/%7euser/../v1/items/12345"] {
        group.bench_function(path, |bencher| bencher.iter(|| normalise(black_box(path)).is_ok()));
    }
    group.finish();
}

fn sessions(criterion: &mut Criterion) {
    let ring = KeyRing::new(&[SecretKey([1; 32])]).expect("one key makes a ring");
    let token = Token::begin(1, 2, 3, 1_800_000_000);
    let sealed = ring.seal(b"shop", &token, [7; 12]);
    assert_eq!(ring.open(b"shop", sealed.as_bytes()), Ok(token));
    let mut group = criterion.benchmark_group("token");
    group.bench_function("seal", |bencher| {
        bencher.iter(|| ring.seal(black_box(b"shop"), black_box(&token), black_box([7; 12])));
    });
    group.bench_function("open", |bencher| {
        bencher.iter(|| ring.open(black_box(b"shop"), black_box(sealed.as_bytes())));
    });
    group.finish();

    let name = b"__Host-ostler-shop";
    let others = "theme=dark; lang=en; _ga=GA1.2.1234567890.1234567890; cart=42";
    let field = format!("{others}; __Host-ostler-shop={}", sealed.as_str());
    let mut group = criterion.benchmark_group("cookie");
    group.bench_function("find", |bencher| {
        bencher.iter(|| cookie::values(black_box(field.as_bytes()), name).next());
    });
    group.bench_function("strip", |bencher| {
        let ours = |name: &[u8]| cookie::is_ours(name, &[]);
        bencher.iter(|| cookie::strip(black_box(field.as_bytes()), ours));
    });
    group.finish();
}

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

fn picks(criterion: &mut Criterion) {
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

criterion_group!(decisions, routes, sessions, picks);
criterion_main!(decisions);
