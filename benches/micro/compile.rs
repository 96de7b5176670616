//! What a reload costs: from the file's text to the model, and from there to the snapshot.

use std::hint::black_box;
use std::time::Instant;

use criterion::{BatchSize, BenchmarkId, Criterion, SamplingMode, Throughput};
use ostler::snapshot::Current;

use super::world;

pub(super) fn compiling(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("snapshot");
    // Reading the largest takes a tenth of a second.
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for routes in [10, 1_000, 10_000] {
        let text = world::routes(routes);
        group.throughput(Throughput::Elements(u64::try_from(routes).unwrap_or(0)));
        // What comes out is dropped outside the time: in a reload the old snapshot goes when the
        // last exchange that reads it has ended.
        group.bench_function(BenchmarkId::new("read", routes), |bencher| {
            let read = |()| world::loaded(black_box(&text));
            bencher.iter_batched(|| (), read, BatchSize::PerIteration);
        });

        let loaded = world::loaded(&text);
        group.bench_function(BenchmarkId::new("compile", routes), |bencher| {
            let compile = |mut registry| {
                let compiled = world::compiled(black_box(&loaded), &mut registry);
                (compiled, registry)
            };
            bencher.iter_batched(world::registry, compile, BatchSize::PerIteration);
        });

        // A reload in which every name is known, and its snapshot put into force.
        let mut registry = world::registry();
        let first = world::compiled(&loaded, &mut registry).snapshot;
        registry.adopt(&first, Instant::now());
        let current = Current::new(first);
        group.bench_function(BenchmarkId::new("replace", routes), |bencher| {
            let replace = |()| {
                let next = world::compiled(black_box(&loaded), &mut registry).snapshot;
                registry.adopt(&next, Instant::now());
                let before = current.load();
                current.publish(next);
                before
            };
            bencher.iter_batched(|| (), replace, BatchSize::PerIteration);
        });
    }
    group.finish();
}
