//! Which route takes a request: lookup in small and large tables, and the path before it.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion};
use ostler::config::model::{HostPattern, PathPattern};
use ostler::route::{Rule, Table, normalise};

/// `count` routes, a hundred paths to a host.
fn table(count: usize) -> Table<usize> {
    let rule = |index: usize| Rule {
        hosts: vec![HostPattern::Exact(Arc::from(format!("shop{}.example.com", index / 100)))],
        path: PathPattern::Prefix(Arc::from(format!("/api/v{}", index % 100))),
        conditions: None,
        value: index,
    };
    Table::build((0..count).map(rule).collect()).expect("no two of these rules are alike")
}

pub(super) fn routes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route_find");
    for count in [10, 1_000, 100_000] {
        let table = table(count);
        let last = count - 1;
        let host = format!("shop{}.example.com", last / 100);
        let path = format!("/api/v{}/items/12345", last % 100);
        assert_eq!(table.find(Some(&host), &path, |_| true), Some(&last));
        group.bench_function(BenchmarkId::new("prefix", count), |bencher| {
            bencher.iter(|| table.find(black_box(Some(&*host)), black_box(&*path), |_| true));
        });
        group.bench_function(BenchmarkId::new("none", count), |bencher| {
            bencher.iter(|| {
                table.find(black_box(Some("other.example.com")), black_box(&*path), |_| true)
            });
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("path_normalise");
    for path in ["/api/v1/items/12345", "/api/%7euser/../v1/items/12345"] {
        group.bench_function(path, |bencher| bencher.iter(|| normalise(black_box(path)).is_ok()));
    }
    group.finish();
}
