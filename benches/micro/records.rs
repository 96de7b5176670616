//! What it costs that an exchange is told of: counters, its record, and its line in the log.

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use http::{Method, StatusCode};
use ostler::config::model::{LogTarget, QueryPolicy};
use ostler::http::record::Record;
use ostler::net::message::RequestHead;
use ostler::snapshot::choice::Told;
use ostler::telemetry::{
    AccessLog, BackendCounters, Class, Entry, PerWorker, Phase, PoolCounters, Reason,
    RouteCounters, StickyOutcome, StickyToken, WorkerCounters,
};

use super::world;

const KEPT: Told = Told { token: StickyToken::Valid, outcome: StickyOutcome::Kept, cause: None };
const FIRST_BYTE: Duration = Duration::from_micros(700);
const TOTAL: Duration = Duration::from_micros(900);

/// What one worker writes for one forwarded exchange.
struct Blocks {
    route: PerWorker<RouteCounters>,
    pool: PerWorker<PoolCounters>,
    backend: PerWorker<BackendCounters>,
    worker: PerWorker<WorkerCounters>,
}

impl Blocks {
    fn exchange(&self, worker: usize, status: u16) {
        let route = self.route.get(worker);
        route.record(&Method::GET, status, Reason::None);
        route.request_bytes.add(0);
        route.response_bytes.add(1024);
        route.observe(status, TOTAL);
        self.pool.get(worker).sticky(KEPT.token, KEPT.outcome);
        let backend = self.backend.get(worker);
        backend.reused.add(1);
        backend.attempt(Class::of(status));
        backend.observe(Phase::FirstByte, FIRST_BYTE);
        backend.observe(Phase::Total, TOTAL);
        self.worker.get(worker).exchanges.add(1);
    }
}

pub(super) fn counters(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("counters");
    let blocks = Blocks {
        route: PerWorker::new(2),
        pool: PerWorker::new(2),
        backend: PerWorker::new(2),
        worker: PerWorker::new(2),
    };
    group.bench_function("exchange", |bencher| {
        bencher.iter(|| blocks.exchange(black_box(1), black_box(200)));
    });
    // The same through a record, from the request's head to the drop at the end, clocks included.
    let (snapshot, peer) = world::worker();
    let head = RequestHead::from(world::requests(1).remove(0).into_parts().0);
    let route = snapshot.routes.first().expect("the one route");
    group.bench_function("record", |bencher| {
        bencher.iter(|| {
            let (snapshot, peer) = (Arc::clone(&snapshot), Arc::clone(&peer));
            let mut record = Record::begin(snapshot, peer, 0, black_box(&head));
            record.routed(route);
            record.chosen(0, Some(KEPT));
            record.times.connected(Duration::ZERO, true);
            record.times.first_byte = Some(FIRST_BYTE);
            record.answer(StatusCode::OK);
            record.sent(1024);
            record.complete();
        });
    });
    group.finish();
}

fn entry() -> Entry<'static> {
    Entry {
        time: 1_800_000_000_123_456,
        request_id: b"0af7651916cd43dd8448eb211c80319c",
        trace_id: b"4bf92f3577b34da6a3ce929d0e0e4736",
        node: "lb-1",
        listener: "web",
        client: None,
        peer: "203.0.113.9:40000",
        protocol: "h2",
        tls: Some("1.3"),
        method: "GET",
        host: b"shop.example.com",
        path: b"/api/v1/items/12345",
        query: Some(b"page=2&order=price"),
        status: 200,
        reason: Reason::None,
        cause: None,
        route: Some("shop"),
        pool: Some("shop"),
        backend: Some("backend-1"),
        attempts: 1,
        session: "kept",
        token: "valid",
        bytes_in: 0,
        bytes_out: 1024,
        t_queue: Duration::ZERO,
        t_connect: Some(Duration::ZERO),
        t_first_byte: Some(FIRST_BYTE),
        t_total: Some(TOTAL),
        upstream_reused: true,
    }
}

/// A line, and its share in handing a full batch to the writer, which writes it nowhere.
pub(super) fn log(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("access_log");
    group.throughput(Throughput::Elements(1));
    let plain = entry();
    let escaped = Entry { path: "/caf\u{e9}/\u{201e}men\u{fc}\u{201c}".as_bytes(), ..entry() };
    let client = Some(IpAddr::from([198, 51, 100, 7]));
    let proxied = Entry { client, peer: "10.0.0.1:40000", ..entry() };
    for (name, entry) in [("line", plain), ("line_escaped", escaped), ("line_proxied", proxied)] {
        let target = LogTarget::File("/dev/null".into());
        let log = AccessLog::start(target, QueryPolicy::Redact).expect("a log to nowhere");
        let mut lines = log.writer();
        group.bench_function(name, |bencher| bencher.iter(|| lines.write(black_box(&entry))));
        drop(lines);
        log.shutdown(Duration::from_secs(10));
    }
    group.finish();
}
