//! Every metric family of this version, and how its values become what Prometheus reads.

use std::time::Duration;

use prometheus::proto::{self, LabelPair, Metric, MetricFamily, MetricType};

use super::counters::HistogramSum;

/// What kind of values a family has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Durations in buckets.
    Histogram,
}

/// What is told about a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// As it is exported.
    pub name: &'static str,
    /// Kind of its values.
    pub kind: Kind,
    /// Names of its labels, in the order in which values are given.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

macro_rules! families {
    ($($variant:ident $name:literal $kind:ident [$($label:literal),*] $help:literal;)*) => {
        /// A metric family. Labels hold configured names and closed lists of words only.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Family {
            $(#[doc = $help] $variant,)*
        }

        /// Descriptions of all families, in the order of the enum.
        pub static FAMILIES: &[Description] = &[$(Description {
            name: $name,
            kind: Kind::$kind,
            labels: &[$($label),*],
            help: $help,
        },)*];

        impl Family {
            /// Every family.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Names of its labels, in the order in which values are given.
            pub const fn labels(self) -> &'static [&'static str] {
                match self {
                    $(Self::$variant => &[$($label),*],)*
                }
            }
        }
    };
}

families! {
    Requests "ostler_requests_total" Counter ["route", "method", "code", "reason"]
        "Exchanges that ended, tunnels included.";
    RequestDuration "ostler_request_duration_seconds" Histogram ["route", "class"]
        "Time from the request head to the end of the response, tunnels left out.";
    RequestBytes "ostler_request_bytes_total" Counter ["route"]
        "Bytes of request bodies.";
    ResponseBytes "ostler_response_bytes_total" Counter ["route"]
        "Bytes of response bodies.";
    ConnectionsOpen "ostler_connections_open" Gauge ["listener", "protocol"]
        "Client connections that are open.";
    Connections "ostler_connections_total" Counter ["listener", "protocol"]
        "Client connections that were opened; one that becomes a tunnel counts as both.";
    ConnectionsRefused "ostler_connections_refused_total" Counter ["listener", "cause"]
        "Client connections that were refused or given up.";
    TlsHandshakes "ostler_tls_handshakes_total" Counter ["listener", "version", "result", "resumed"]
        "TLS handshakes with clients.";
    CertificateExpiry "ostler_certificate_expiry_timestamp_seconds" Gauge ["listener", "name"]
        "When a certificate ends, in seconds since 1970.";
    RevocationListExpiry "ostler_crl_expiry_timestamp_seconds" Gauge ["listener", "issuer"]
        "When a revocation list for clients' certificates ends, in seconds since 1970.";
    BackendAttempts "ostler_backend_attempts_total" Counter ["pool", "backend", "class"]
        "Tries against a backend; the class error is a try without a response.";
    BackendDuration "ostler_backend_duration_seconds" Histogram ["pool", "backend", "phase"]
        "Time of tries until connected, until the response head and in all.";
    BackendUp "ostler_backend_up" Gauge ["pool", "backend"]
        "Verdict of the checks, 1 when they pass.";
    BackendState "ostler_backend_state" Gauge ["pool", "backend", "state"]
        "State of a backend, 1 for the one that holds.";
    BackendMark "ostler_backend_mark" Gauge ["pool", "backend", "mark"]
        "Live override by an operator, 1 for the one in force.";
    BackendWeight "ostler_backend_weight" Gauge ["pool", "backend"]
        "Weight in force.";
    BackendInFlight "ostler_backend_requests_in_flight" Gauge ["pool", "backend"]
        "Requests that a backend works on.";
    BackendLimit "ostler_backend_concurrency_limit" Gauge ["pool", "backend"]
        "Requests that an adaptive pool gives a backend at once.";
    BackendConnections "ostler_backend_connections" Gauge ["pool", "backend", "state"]
        "Connections to a backend, idle and active.";
    BackendConnectionsReused "ostler_backend_connections_reused_total" Counter ["pool", "backend"]
        "Tries that went over a connection that was there already.";
    BackendConnectionsOpened "ostler_backend_connections_opened_total" Counter ["pool", "backend"]
        "Connections to a backend that were opened.";
    BackendChecks "ostler_backend_checks_total" Counter ["pool", "backend", "result"]
        "Checks that passed and failed.";
    BackendFullChecks "ostler_backend_full_checks_total" Counter ["pool", "backend", "result"]
        "Those of the checks that asked in full, in pools where others only connect.";
    BackendCheckDuration "ostler_backend_check_duration_seconds" Gauge ["pool", "backend"]
        "How long the last check took.";
    PoolUsableBackends "ostler_pool_usable_backends" Gauge ["pool"]
        "Backends of a pool that can be given requests.";
    QueueLength "ostler_queue_length" Gauge ["pool"]
        "Requests that wait for a place at a backend of a pool.";
    BackendSessions "ostler_backend_sessions" Gauge ["pool", "backend"]
        "Sessions bound to a backend that were seen within the idle time.";
    SessionsComplete "ostler_sessions_complete" Gauge ["pool"]
        "Whether all sessions seen within the idle time are counted; 0 after a start without them.";
    SessionsEvicted "ostler_sessions_evicted_total" Counter ["pool"]
        "Learned sessions that were given up for want of room.";
    BackendDrainDeadline "ostler_backend_drain_deadline_timestamp_seconds" Gauge
        ["pool", "backend"]
        "When the sessions that are left are moved off a backend, in seconds since 1970.";
    SessionsIssued "ostler_sessions_issued_total" Counter ["pool"]
        "Sessions that were made.";
    StickyRequests "ostler_sticky_requests_total" Counter ["pool", "token", "outcome"]
        "Requests of a sticky pool, by what their token was and what became of the session.";
    SessionsMoved "ostler_sessions_moved_total" Counter ["pool", "cause"]
        "Sessions that went to another backend.";
    Retries "ostler_retries_total" Counter ["pool", "reason"]
        "Tries that were repeated, by what the failed one died of.";
    RetryBudgetExhausted "ostler_retry_budget_exhausted_total" Counter ["pool"]
        "Tries that were not repeated because the retry budget was used up.";
    ConfigGeneration "ostler_config_generation" Gauge []
        "Number of the configuration in force.";
    ConfigLastReloadSuccess "ostler_config_last_reload_success" Gauge []
        "Whether the last reload was applied.";
    ConfigLastReload "ostler_config_last_reload_timestamp_seconds" Gauge []
        "When the configuration in force was applied, in seconds since 1970.";
    ConfigReloads "ostler_config_reloads_total" Counter ["result"]
        "Reloads that were applied and refused.";
    ConfigFileDiffers "ostler_config_file_differs" Gauge []
        "Whether the file on disk differs from the configuration in force.";
    SnapshotsLive "ostler_snapshots_live" Gauge []
        "Generations of the configuration that somebody still reads.";
    StateDirShared "ostler_state_dir_shared" Gauge []
        "Whether another process keeps its state in the same folder.";
    AccessLogDropped "ostler_access_log_dropped_total" Counter []
        "Access log lines that were dropped: the queue was full, or writing failed.";
    WorkerConnections "ostler_worker_connections_open" Gauge ["worker"]
        "Client connections that a worker owns.";
    WorkerExchanges "ostler_worker_exchanges_total" Counter ["worker"]
        "Exchanges that a worker has finished.";
    WorkerBusy "ostler_worker_busy_seconds_total" Counter ["worker"]
        "Time that a worker's runtime spent on tasks and not waiting.";
    WorkerTasks "ostler_worker_tasks" Gauge ["worker"]
        "Tasks that live on a worker.";
    MemoryBudget "ostler_memory_budget_bytes" Gauge []
        "Memory that there is for the process, where the file says so.";
    MemoryUsed "ostler_memory_used_bytes" Gauge []
        "Memory of that budget that is used.";
    MemoryLevel "ostler_memory_level" Gauge []
        "Who has to go for memory: 0 nobody, 1 who is idle, 2 new TLS too, 3 new visitors, 4 all.";
    Panics "ostler_panics_total" Counter []
        "Panics that were caught; each ended one task or one exchange.";
    BuildInfo "ostler_build_info" Gauge ["version"]
        "Always 1; the label says what runs.";
    ProcessCpu "process_cpu_seconds_total" Counter []
        "Processor time of user and system.";
    ProcessResident "process_resident_memory_bytes" Gauge [] "Resident memory.";
    ProcessVirtual "process_virtual_memory_bytes" Gauge [] "Virtual memory.";
    ProcessOpenFds "process_open_fds" Gauge [] "Open file descriptors.";
    ProcessMaxFds "process_max_fds" Gauge [] "How many file descriptors may be open.";
    ProcessStart "process_start_time_seconds" Gauge []
        "When the process began, in seconds since 1970.";
    ProcessThreads "process_threads" Gauge [] "Threads of the process.";
}

/// A number that a metric can show. Whole numbers beyond 2^53 lose their last digits there.
pub trait Value {
    /// As Prometheus has it.
    fn float(self) -> f64;
}

impl Value for f64 {
    fn float(self) -> f64 {
        self
    }
}

#[expect(clippy::cast_precision_loss, reason = "a metric's value is a double by its format")]
impl Value for u64 {
    fn float(self) -> f64 {
        self as f64
    }
}

#[expect(clippy::cast_precision_loss, reason = "a metric's value is a double by its format")]
impl Value for i64 {
    fn float(self) -> f64 {
        self as f64
    }
}

impl Value for u32 {
    fn float(self) -> f64 {
        f64::from(self)
    }
}

impl Value for usize {
    fn float(self) -> f64 {
        (self as u64).float()
    }
}

/// 1 for what holds.
impl Value for bool {
    fn float(self) -> f64 {
        f64::from(u8::from(self))
    }
}

/// In seconds.
impl Value for Duration {
    fn float(self) -> f64 {
        self.as_secs_f64()
    }
}

/// One series of a counter family.
pub fn counter(family: Family, labels: &[&str], value: impl Value) -> Metric {
    let mut counter = proto::Counter::default();
    counter.set_value(value.float());
    let mut metric = series(family, labels);
    metric.set_counter(counter);
    metric
}

/// One series of a gauge family.
pub fn gauge(family: Family, labels: &[&str], value: impl Value) -> Metric {
    let mut gauge = proto::Gauge::default();
    gauge.set_value(value.float());
    let mut metric = series(family, labels);
    metric.set_gauge(gauge);
    metric
}

/// One series of a histogram family.
pub fn histogram(family: Family, labels: &[&str], sum: &HistogramSum) -> Metric {
    let buckets = sum.cumulative().map(|(bound, count)| {
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(count);
        bucket
    });
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(sum.count());
    histogram.set_sample_sum(sum.sum_seconds());
    let mut metric = series(family, labels);
    metric.set_histogram(histogram);
    metric
}

fn series(family: Family, labels: &[&str]) -> Metric {
    debug_assert_eq!(family.labels().len(), labels.len(), "labels of {family:?}");
    let pairs = family.labels().iter().zip(labels).map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    Metric::from_label(pairs.collect())
}

/// Series on their way to a scrape, put together by family.
#[derive(Debug)]
pub struct Families(Vec<Vec<Metric>>);

impl Default for Families {
    fn default() -> Self {
        Self(FAMILIES.iter().map(|_| Vec::new()).collect())
    }
}

impl Families {
    /// Adds one series of a counter family.
    pub fn counter(&mut self, family: Family, labels: &[&str], value: impl Value) {
        self.push(family, Kind::Counter, counter(family, labels, value));
    }

    /// Adds one series of a gauge family.
    pub fn gauge(&mut self, family: Family, labels: &[&str], value: impl Value) {
        self.push(family, Kind::Gauge, gauge(family, labels, value));
    }

    /// Adds one series of a histogram family.
    pub fn histogram(&mut self, family: Family, labels: &[&str], sum: &HistogramSum) {
        self.push(family, Kind::Histogram, histogram(family, labels, sum));
    }

    fn push(&mut self, family: Family, kind: Kind, metric: Metric) {
        let described = FAMILIES.get(family as usize).map(|description| description.kind);
        debug_assert_eq!(described, Some(kind), "kind of {family:?}");
        if let Some(series) = self.0.get_mut(family as usize) {
            series.push(metric);
        }
    }

    /// Everything added, in the order of [`FAMILIES`]; a family without series is left out.
    pub fn finish(self) -> Vec<MetricFamily> {
        let filled = FAMILIES.iter().zip(self.0).filter(|(_, series)| !series.is_empty());
        filled
            .map(|(description, series)| {
                let mut family = MetricFamily::default();
                family.set_name(description.name.to_owned());
                family.set_help(description.help.to_owned());
                family.set_field_type(match description.kind {
                    Kind::Counter => MetricType::COUNTER,
                    Kind::Gauge => MetricType::GAUGE,
                    Kind::Histogram => MetricType::HISTOGRAM,
                });
                family.set_metric(series);
                family
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
