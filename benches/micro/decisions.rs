//! What the parts of one exchange cost that need no socket, and what a reload costs.
// One program, because a link with all of TLS in it takes longer than most of its benches; pick
// some by a part of their name: `cargo bench --bench decisions -- route_find`. Nothing here judges
// a time: figures differ from machine to machine, and a busy one is not a mistake.

mod compile;
mod counts;
mod heads;
mod picks;
mod records;
mod routes;
mod sessions;
mod world;

use criterion::{criterion_group, criterion_main};
use ostler::net::heap::Allocator;

/// The allocator of the program, without which allocations would cost something else here.
#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

criterion_group!(
    decisions,
    routes::routes,
    sessions::sessions,
    counts::counts,
    picks::policies,
    picks::selections,
    heads::wire,
    heads::rewrite,
    records::counters,
    records::log,
    compile::compiling,
);
criterion_main!(decisions);
