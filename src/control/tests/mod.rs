//! A control thread over a file of its own, with sockets that only remember what was done.

mod checks;
mod stories;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::*;
use crate::admin::facts::{AtomicPhase, BoundListener, DiskFile, ReloadStatus};
use crate::config::model::{AdminState, Model};
use crate::config::{FixedEnvironment, Loaded, Report, parse};
use crate::event::{Actor, MarkAction, MarkChange, MarkTarget};
use crate::health::Checks;
use crate::snapshot::compile::{Inputs, compile};
use crate::snapshot::registry::Registry;
use crate::snapshot::{Current, Snapshot};
use crate::telemetry::PerWorker;
use crate::tls::server::Resumption;

const LISTENER: &str = r#"
[listeners.web]
bind = ["127.0.0.1:0"]
[[routes]]
path = "/fixed"
respond = { status = 200, body = "ok" }
"#;

/// A listener and a route before these pools.
pub(super) fn loaded(pools: &str) -> Loaded {
    let text = format!("{LISTENER}{pools}");
    parse(&text, Path::new("/etc/ostler/ostler.toml"), &FixedEnvironment::default())
        .unwrap_or_else(|report| panic!("{}", report.render(false)))
}

fn registry() -> Registry {
    Registry::new(1, Resumption::new().unwrap())
}

pub(super) fn snapshot(pools: &str) -> Arc<Snapshot> {
    let loaded = loaded(pools);
    let mut report = loaded.report();
    let inputs =
        Inputs { model: &loaded.model, made_keys: &[], generation: 1, ghosts: &[], again: None };
    compile(inputs, &mut registry(), &mut report).unwrap().snapshot
}

#[derive(Default, Clone)]
struct Sockets {
    commits: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    drained: Arc<AtomicUsize>,
    /// Happens once, when all files of a configuration have been read.
    meanwhile: Arc<Mutex<Option<Meanwhile>>>,
}

type Meanwhile = Box<dyn FnOnce() + Send>;

impl ListenerSockets for Sockets {
    type Prepared = Vec<BoundListener>;

    fn prepare(
        &mut self,
        _: &Model,
        snapshot: &Snapshot,
        _: &mut Report,
    ) -> Option<Self::Prepared> {
        let meanwhile = lock(&self.meanwhile).take();
        if let Some(happens) = meanwhile {
            happens();
        }
        let bound = |listener: &Arc<crate::snapshot::Listener>| BoundListener {
            name: listener.name.to_string(),
            address: *listener.bind.first().unwrap(),
        };
        Some(snapshot.listeners.iter().map(bound).collect())
    }

    fn commit(&mut self, prepared: Self::Prepared) -> Vec<BoundListener> {
        self.commits.fetch_add(1, Ordering::Relaxed);
        prepared
    }
}

impl Drain for Sockets {
    fn begin(&mut self, _: Duration) {
        self.drained.fetch_add(1, Ordering::Relaxed);
    }

    fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

/// A running control thread over a file in a folder of its own.
struct House {
    folder: tempfile::TempDir,
    facts: Arc<Facts>,
    events: Sender,
    sockets: Sockets,
    running: JoinHandle<Ended>,
}

fn text(folder: &Path, rest: &str) -> String {
    let state = folder.join("state");
    format!(
        "[runtime]\nstate_dir = {:?}\nwatch = [\"certificates\", \"file\"]\n\
         drain_timeout = \"30s\"\n{LISTENER}{rest}",
        state.display().to_string()
    )
}

fn pool(id: &str, port: u16) -> String {
    format!(
        "[pools.shop]\nbackends = [{{ id = \"{id}\", address = \"127.0.0.1:{port}\" }}, \
         {{ id = \"z\", address = \"127.0.0.1:99\" }}]\n"
    )
}

impl House {
    fn start(rest: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ostler.toml"), text(folder.path(), rest)).unwrap();
        Self::start_in(folder)
    }

    fn start_in(folder: tempfile::TempDir) -> Self {
        let path: PathBuf = folder.path().join("ostler.toml");
        let origin = Origin::File(path.clone());
        let loaded = origin.read().unwrap_or_else(|report| panic!("{}", report.render(false)));
        let mut report = loaded.report();
        let state = StateDir::find(&loaded.model, &mut report);
        assert!(!report.has_errors());
        let registry = Arc::new(Mutex::new(registry()));
        let mut loader = Loader::new(origin, Arc::clone(&registry), state);
        let mut sockets = Sockets::default();
        let first = loader.prepare(loaded, &mut sockets).unwrap();
        let facts = Arc::new(Facts {
            current: Arc::new(Current::new(Arc::clone(first.snapshot()))),
            registry,
            loaded: Mutex::new(Arc::new(first.loaded().clone())),
            reloads: Mutex::new(ReloadStatus::started(Timestamp::now())),
            marks: Mutex::default(),
            lifted: Mutex::default(),
            discovered: Mutex::default(),
            phase: AtomicPhase::new(Phase::Starting),
            started: Timestamp::now(),
            node: "test".to_owned(),
            bound: Mutex::default(),
            metrics_bound: None,
            admin_bound: None,
            checks: Arc::new(Checks::default()),
            access_log: None,
            workers: Arc::new(PerWorker::new(1)),
            file: DiskFile::new(Some(path)),
            state_dir: None,
            state_dir_rival: Mutex::default(),
        });
        let (events, received) = mpsc::channel(16);
        let control = Control::new(Parts {
            facts: Arc::clone(&facts),
            loader,
            first,
            sockets: sockets.clone(),
            drain: Box::new(sockets.clone()),
            events: events.clone(),
        });
        let running = crate::task::spawn("control", control.run(received));
        Self { folder, facts, events, sockets, running }
    }

    fn write(&self, rest: &str) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, text(self.folder.path(), rest)).unwrap();
        std::fs::rename(new, self.folder.path().join("ostler.toml")).unwrap();
    }

    async fn ask(
        &self,
        event: impl FnOnce(crate::event::Reply) -> Event,
    ) -> Result<Value, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.events.send(event(reply)).await.unwrap();
        answer.await.unwrap()
    }

    async fn reload(&self) -> Result<Value, Refusal> {
        let actor = Actor("test".to_owned());
        self.ask(|reply| Event::Reload { actor, reply: Some(reply) }).await
    }

    async fn mark(&self, id: &str, action: MarkAction) -> Result<Value, Refusal> {
        let target = MarkTarget::Backend { pool: "shop".to_owned(), backend: id.to_owned() };
        let until = (action == MarkAction::Weight(7))
            .then(|| SystemTime::now() + Duration::from_millis(200));
        let change = MarkChange { target, action, reason: None, until, force: false };
        self.ask(|reply| Event::Mark { change, actor: Actor("test".to_owned()), reply }).await
    }

    async fn until(&self, what: impl Fn(&Facts) -> bool) {
        let seen = async {
            while !what(&self.facts) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), seen).await.expect("it never happened");
    }

    fn generation(&self) -> u64 {
        self.facts.current.load().generation
    }

    fn state_of(&self, id: &str) -> AdminState {
        self.facts.current.load().pool("shop").unwrap().member(id).unwrap().backend.admin_state()
    }
}

fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}
