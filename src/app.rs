//! The composition root: everything is made here, in the order in which it runs.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::admin;
use crate::admin::facts::{AtomicPhase, BoundListener, DiskFile, Facts, Phase, ReloadStatus, lock};
use crate::admin::tcp::Tcp;
use crate::config::model::Model;
use crate::config::{Loaded, Place, Report};
use crate::control::{Control, Drain, Ended, ListenerSockets, Loader, Origin, Parts, StateDir};
use crate::health::Checks;
use crate::http::Verifier;
use crate::net::{pipe, socket};
use crate::server::{self, Prepared, Server};
use crate::snapshot::registry::Registry;
use crate::snapshot::{Current, Snapshot};
use crate::task;
use crate::telemetry::{AccessLog, PerWorker, WorkerCounters, access_log, logging};
use crate::tls::server::Resumption;

/// Events that wait for the control thread.
const EVENTS: usize = 1024;
/// Files that are no connections: sockets, logs, probes, libraries.
const OTHER_FILES: u64 = 512;
/// Workers and the log's writer end within this time, or are left behind.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the configuration comes from.
#[derive(Debug)]
pub enum Source {
    /// A file, read again at each reload.
    File(PathBuf),
    /// A text made by the demo or the proxy, which write nothing.
    Text {
        /// What it is called in messages.
        path: PathBuf,
        /// The whole configuration.
        text: String,
    },
}

/// What is told once, when traffic is served.
pub type Ready = Box<dyn FnOnce(&Facts) + Send>;

/// How to start.
pub struct Start {
    /// The configuration.
    pub source: Source,
    /// The admin socket, where the command line or the environment names it.
    pub socket: Option<PathBuf>,
    /// Called when traffic is served.
    pub ready: Option<Ready>,
}

/// Serves until the process is told to stop.
///
/// # Errors
/// What keeps it from serving: a `config::Report` where it is the file.
pub fn serve(start: Start) -> anyhow::Result<ExitCode> {
    task::install_panic_hook();
    let (origin, writes) = match start.source {
        Source::File(path) => (Origin::File(path), true),
        Source::Text { path, text } => (Origin::Text { path, text: text.into() }, false),
    };
    let mut loaded = origin.read()?;
    let model = loaded.model.clone();
    logging::init(&model.log.level).map_err(anyhow::Error::msg)?;
    let state = if writes { state_dir(&mut loaded)? } else { StateDir::none() };

    let workers = model.runtime.workers;
    let resumption = Resumption::new().context("no randomness for TLS tickets")?;
    let registry = Arc::new(Mutex::new(Registry::new(workers, resumption)));
    let mut loader = Loader::new(origin.clone(), Arc::clone(&registry), state.clone());
    let server = Arc::new(Mutex::new(Server::new(workers)));
    let mut sockets = Sockets(Arc::clone(&server));
    let first = loader.prepare(loaded, &mut sockets)?;

    let log = open_access_log(first.loaded())?;
    let counters = Arc::new(PerWorker::<WorkerCounters>::new(workers));
    let current = Arc::new(Current::new(Arc::clone(first.snapshot())));
    let metrics = metrics_socket(&model)?;
    let tcp = Tcp::bind(&model.admin).map_err(anyhow::Error::msg)?;
    let facts = Arc::new(Facts {
        current: Arc::clone(&current),
        registry,
        loaded: Mutex::new(Arc::new(first.loaded().clone())),
        reloads: Mutex::new(ReloadStatus::started(Timestamp::now())),
        marks: Mutex::default(),
        lifted: Mutex::default(),
        discovered: Mutex::default(),
        phase: AtomicPhase::new(Phase::Starting),
        started: Timestamp::now(),
        node: node(),
        bound: Mutex::default(),
        metrics_bound: metrics.as_ref().and_then(|socket| socket.local_addr().ok()),
        admin_bound: tcp.as_ref().and_then(Tcp::address),
        checks: Arc::new(Checks::default()),
        access_log: log.clone(),
        workers: Arc::clone(&counters),
        file: DiskFile::new(origin.file().map(ToOwned::to_owned)),
        state_dir: state.path().map(ToOwned::to_owned),
        state_dir_rival: Mutex::default(),
    });

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("control")
        .build()
        .context("no runtime for the control thread")?;
    let (events, received) = mpsc::channel(EVENTS);
    let _entered = runtime.enter();
    let unix = admin::socket::Socket::bind(start.socket.as_deref(), &model.admin)
        .context("the admin socket cannot be made")?;
    let closing = unix.closing();
    let files = socket::raise_open_files();
    let wanted = model.runtime.max_connections;
    let pipes = if pipe::moves_bytes() {
        pipe::share(files_for_pipes(files, wanted), pipe::pages(), workers)
    } else {
        tracing::info!("long answers are copied: the system refuses to move bytes by pipes");
        0
    };
    let max_connections = wanted.unwrap_or_else(|| connections_allowed(files, workers * pipes));
    lock(&server).start(&server::Setup {
        current,
        counters,
        log: log.clone(),
        verifier: Arc::new(Verifier::new()?),
        max_connections,
        pipes,
        node: facts.node.as_str().into(),
    })?;
    let control = Control::new(Parts {
        facts: Arc::clone(&facts),
        loader,
        first,
        sockets,
        drain: Box::new(Draining(Arc::clone(&server))),
        events: events.clone(),
    });
    let ended = runtime.block_on(async {
        if let Some(metrics) = metrics {
            task::spawn("metrics", admin::serve_metrics(metrics, Arc::clone(&facts)));
        }
        let serving = admin::serve_socket(unix, Arc::clone(&facts), events.clone());
        let serving = task::spawn("admin", serving);
        let serving_tcp = tcp.map(|tcp| {
            let (facts, events) = (Arc::clone(&facts), events.clone());
            task::spawn("admin-tcp", admin::serve_tcp(tcp, facts, events, closing.clone()))
        });
        if let Some(ready) = start.ready {
            task::spawn("ready", tell_when_ready(Arc::clone(&facts), ready));
        }
        let ended = control.run(received).await;
        // Whoever asked for the stop still gets the answer.
        closing.cancel();
        let _ = tokio::time::timeout(PATIENCE, async {
            let _ = serving.await;
            if let Some(serving) = serving_tcp {
                let _ = serving.await;
            }
        })
        .await;
        ended
    });
    drop(runtime);
    Ok(end(ended, server, log))
}

/// The state folder, which warns or refuses in the way of the file's other mistakes.
fn state_dir(loaded: &mut Loaded) -> Result<StateDir, Report> {
    let mut report = loaded.report();
    let state = StateDir::find(&loaded.model, &mut report);
    if report.has_errors() {
        return Err(report);
    }
    loaded.warnings = report.mistakes;
    Ok(state)
}

/// The access log, which is refused in the way of the file's other mistakes.
fn open_access_log(loaded: &Loaded) -> Result<Option<AccessLog>, Report> {
    let log = &loaded.model.log;
    if !log.access {
        return Ok(None);
    }
    AccessLog::start(log.to.clone(), log.query).map(Some).map_err(|error| {
        let mut report = loaded.report();
        report.push(access_log::unusable(log, &error));
        report
    })
}

fn metrics_socket(model: &Model) -> anyhow::Result<Option<TcpListener>> {
    let Some(bind) = &model.metrics.bind else { return Ok(None) };
    let address = bind.value;
    let socket = TcpListener::bind(address).with_context(|| {
        format!("metrics cannot be served on {address}: choose another [metrics] bind")
    })?;
    socket.set_nonblocking(true)?;
    Ok(Some(socket))
}

/// An eighth of the open files, unless the connections that the operator wants need it.
fn files_for_pipes(files: u64, wanted: Option<usize>) -> u64 {
    let theirs = u64::try_from(wanted.unwrap_or(0)).unwrap_or(u64::MAX).saturating_mul(2);
    files.saturating_sub(OTHER_FILES).saturating_sub(theirs).min(files / 8)
}

/// Each connection of a client may need one to a backend, beside the pipes.
fn connections_allowed(files: u64, pipes: usize) -> usize {
    let files = usize::try_from(files.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX);
    (files.saturating_sub(pipes * pipe::FILES) / 2).max(64)
}

fn node() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

async fn tell_when_ready(facts: Arc<Facts>, ready: Ready) {
    while facts.phase.get() == Phase::Starting {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ready(&facts);
}

fn end(ended: Ended, server: Arc<Mutex<Server>>, log: Option<AccessLog>) -> ExitCode {
    match ended {
        Ended::Drained => tracing::info!("stopped: nobody was cut off"),
        Ended::Deadline { open } => tracing::warn!(open, "stopped at the deadline"),
        Ended::AtOnce { open } => tracing::warn!(open, "stopped at once"),
    }
    // What the control task held of the server went with it.
    if let Some(server) = Arc::into_inner(server) {
        server.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).stop(PATIENCE);
    }
    if let Some(log) = log
        && !log.shutdown(PATIENCE)
    {
        tracing::warn!("some access lines were not written");
    }
    ExitCode::SUCCESS
}

/// The server's sockets, as the control thread binds them.
struct Sockets(Arc<Mutex<Server>>);

impl ListenerSockets for Sockets {
    type Prepared = Prepared;

    fn prepare(
        &mut self,
        model: &Model,
        snapshot: &Snapshot,
        report: &mut Report,
    ) -> Option<Prepared> {
        let prepared = lock(&self.0).prepare(snapshot);
        let unbound = match prepared {
            Ok(prepared) => return Some(prepared),
            Err(unbound) => unbound,
        };
        for server::Unbound { listener, address, error } in unbound {
            let bind = model.listeners.get(listener).and_then(|l| l.bind.get(address));
            let place = bind.map_or_else(Place::default, |bind| bind.place.clone());
            let address = bind.map_or_else(String::new, |bind| bind.value.to_string());
            let hint = match error.kind() {
                std::io::ErrorKind::AddrInUse => {
                    let port = address.rsplit(':').next().unwrap_or_default();
                    format!("another process has it: `ss -ltnp 'sport = :{port}'` names it")
                }
                std::io::ErrorKind::PermissionDenied => {
                    "ports below 1024 need CAP_NET_BIND_SERVICE or root".to_owned()
                }
                _ => "it must be an address of this machine".to_owned(),
            };
            report.error(format!("cannot listen on {address}: {error}"), &place).hint(hint);
        }
        None
    }

    fn commit(&mut self, prepared: Prepared) -> Vec<BoundListener> {
        let mut server = lock(&self.0);
        server.commit(prepared);
        let mut bound: Vec<BoundListener> = server
            .bound()
            .map(|(name, address): (&Arc<str>, SocketAddr)| BoundListener {
                name: name.to_string(),
                address,
            })
            .collect();
        bound.sort_by(|one, other| (&one.name, one.address).cmp(&(&other.name, other.address)));
        bound
    }
}

/// The server, as it is drained.
struct Draining(Arc<Mutex<Server>>);

impl Drain for Draining {
    fn begin(&mut self, _: Duration) {
        lock(&self.0).drain();
    }

    fn open(&self) -> usize {
        lock(&self.0).busy()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_take_no_open_files_that_connections_were_promised() {
        for (files, wanted) in [(0, None), (900, Some(100)), (4096, Some(1792)), (5000, None)] {
            let pipes = usize::try_from(files_for_pipes(files, wanted)).unwrap() / pipe::FILES;
            let connections = wanted.unwrap_or_else(|| connections_allowed(files, pipes));
            let rest = files.saturating_sub(OTHER_FILES);
            let all = u64::try_from(2 * connections + pipe::FILES * pipes).unwrap();
            assert!(all <= rest.max(128), "{files} {wanted:?}: {all}");
        }
        assert_eq!(files_for_pipes(4096, Some(1792)), 0);
        assert_eq!(files_for_pipes(4096, Some(1700)), 184);
        assert_eq!(files_for_pipes(1 << 20, None), 1 << 17);
    }
}
