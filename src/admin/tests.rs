//! What the tests of this room look at: facts over a small configuration.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use jiff::Timestamp;

use super::facts::{AtomicPhase, BoundListener, DiskFile, Facts, Phase, ReloadStatus};
use crate::config::model::{Admin, SecretKey};
use crate::config::{self, FixedEnvironment, Loaded};
use crate::health::Checks;
use crate::snapshot::compile::{Inputs, compile};
use crate::snapshot::registry::Registry;
use crate::snapshot::{Current, Snapshot};
use crate::telemetry::PerWorker;
use crate::tls::server::Resumption;

const WORKERS: usize = 2;
const FILE: &str = "[sessions]\nkeys = [\"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\"]\n\
    [listeners.web]\nbind = [\"127.0.0.1:0\"]\n\
    [[routes]]\nname = \"all\"\npool = \"shop\"\n\
    [pools.shop]\nsticky.by = \"cookie\"\nbackends = [\n\
    { id = \"a\", address = \"127.0.0.1:1\" }, { id = \"b\", address = \"127.0.0.1:2\" }]\n";

fn made(text: &str) -> (Loaded, Registry, Arc<Snapshot>) {
    let environment = FixedEnvironment::default();
    let loaded = config::parse(text, Path::new("/x/ostler.toml"), &environment)
        .unwrap_or_else(|report| panic!("{report}"));
    let mut registry = Registry::new(WORKERS, Resumption::new().unwrap());
    let mut report = loaded.report();
    let made_keys = [SecretKey([7; 32])];
    let inputs = Inputs { model: &loaded.model, made_keys: &made_keys, generation: 1, ghosts: &[] };
    let compiled = compile(inputs, &mut registry, &mut report);
    let snapshot = compiled.unwrap_or_else(|| panic!("{report}")).snapshot;
    registry.adopt(&snapshot, Instant::now());
    (loaded, registry, snapshot)
}

/// A snapshot of a text that holds.
pub(super) fn snapshot(text: &str) -> Arc<Snapshot> {
    made(text).2
}

/// `[admin]` of a file that says nothing about it.
pub(super) fn admin() -> Admin {
    made(FILE).0.model.admin
}

/// Facts of a process that serves one pool of two backends without checks.
pub(super) fn facts() -> Facts {
    let (loaded, registry, snapshot) = made(FILE);
    let address = ([127, 0, 0, 1], 8080).into();
    Facts {
        current: Arc::new(Current::new(snapshot)),
        registry: Arc::new(Mutex::new(registry)),
        loaded: Mutex::new(Arc::new(loaded)),
        reloads: Mutex::new(ReloadStatus::started(Timestamp::now())),
        marks: Mutex::new(Vec::new()),
        phase: AtomicPhase::new(Phase::Serving),
        started: Timestamp::now(),
        node: "one".to_owned(),
        bound: Mutex::new(vec![BoundListener { name: "web".to_owned(), address }]),
        metrics_bound: None,
        checks: Arc::new(Checks::default()),
        access_log: None,
        workers: Arc::new(PerWorker::new(WORKERS)),
        file: DiskFile::new(None),
        state_dir: None,
    }
}
