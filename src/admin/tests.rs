//! What the tests of this room look at: facts over a small configuration.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::answer::refusal;
use super::facts::{AtomicPhase, BoundListener, DiskFile, Facts, Phase, ReloadStatus, lock};
use super::tcp::Tcp;
use crate::config::model::{Admin, AdminSecret, AdminToken, Located, Peer, Place, Role, SecretKey};
use crate::config::{self, FixedEnvironment, Loaded};
use crate::event::{Event, MarkAction};
use crate::health::Checks;
use crate::snapshot::compile::{Inputs, compile};
use crate::snapshot::registry::Registry;
use crate::snapshot::{Current, Snapshot};
use crate::task;
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
    let inputs = Inputs {
        model: &loaded.model,
        made_keys: &made_keys,
        generation: 1,
        ghosts: &[],
        again: None,
    };
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
    facts_of(FILE)
}

/// Facts of a process that serves this, with a listener `web` on port 8080.
pub(super) fn facts_of(text: &str) -> Facts {
    let (loaded, registry, snapshot) = made(text);
    let address = ([127, 0, 0, 1], 8080).into();
    Facts {
        current: Arc::new(Current::new(snapshot)),
        registry: Arc::new(Mutex::new(registry)),
        loaded: Mutex::new(Arc::new(loaded)),
        reloads: Mutex::new(ReloadStatus::started(Timestamp::now())),
        marks: Mutex::new(Vec::new()),
        lifted: Mutex::default(),
        discovered: Mutex::default(),
        phase: AtomicPhase::new(Phase::Serving),
        started: Timestamp::now(),
        node: "one".to_owned(),
        bound: Mutex::new(vec![BoundListener { name: "web".to_owned(), address }]),
        metrics_bound: None,
        admin_bound: None,
        checks: Arc::new(Checks::default()),
        access_log: None,
        workers: Arc::new(PerWorker::new(WORKERS)),
        file: DiskFile::new(None),
        state_dir: None,
        state_dir_rival: Mutex::default(),
    }
}

/// Changes `[admin]` of the configuration in force, as a reload does.
pub(super) fn change_admin(facts: &Facts, change: impl FnOnce(&mut Admin)) {
    let mut loaded = Loaded::clone(&facts.loaded());
    change(&mut loaded.model.admin);
    *lock(&facts.loaded) = Arc::new(loaded);
}

/// A token whose secret is made of its name.
pub(super) fn token(name: &str, role: Role) -> AdminToken {
    let secret = AdminSecret::new(format!("the secret of {name}"));
    AdminToken { name: name.into(), secret, role, place: Place::default() }
}

/// A peer that is asked with a token of that name.
pub(super) fn peer(name: &str, address: std::net::SocketAddr, token: &str) -> Peer {
    Peer {
        name: name.into(),
        url: Located::nowhere(format!("http://{address}")),
        token: AdminSecret::new(format!("the secret of {token}")),
        ca: None,
    }
}

/// Serves the API over TCP on a port of the system's choice, and says which.
pub(super) fn serve(facts: &Arc<Facts>, closing: &CancellationToken) -> std::net::SocketAddr {
    let bind = Some(Located::nowhere(([127, 0, 0, 1], 0).into()));
    let tcp = Tcp::bind(&Admin { bind, ..facts.loaded().model.admin.clone() }).unwrap().unwrap();
    let address = tcp.address().unwrap();
    let (events, received) = mpsc::channel(4);
    task::spawn("control", control(received));
    let serving = super::serve_tcp(tcp, Arc::clone(facts), events, closing.clone());
    task::spawn("serving", serving);
    address
}

/// Stands in for the control thread: `maint` is too much for it.
pub(super) async fn control(mut events: mpsc::Receiver<Event>) {
    while let Some(event) = events.recv().await {
        match event {
            Event::Mark { change, actor, reply } => {
                let answer = match change.action {
                    MarkAction::Maint => Err(refusal(409, "this would empty shop")),
                    _ => Ok(json!({"marks": [], "who": actor.0, "backends": [
                        {"pool": "shop", "id": "a", "address": "127.0.0.1:1"}],
                        "target": format!("{:?}", change.target)})),
                };
                drop(reply.send(answer));
            }
            Event::Reload { reply: Some(reply), .. } => {
                drop(reply.send(Ok(json!({"generation": 2}))));
            }
            _ => return,
        }
    }
}

/// Status, head and body of one answer; `fields` are whole lines.
pub(super) async fn exchange<S>(
    mut stream: S,
    page: &str,
    fields: &str,
    body: &str,
) -> (u16, String, Value)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (method, page) = page.split_once(' ').unwrap();
    let length = body.len();
    let request = format!(
        "{method} /api/v1/{page} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_owned(), serde_json::from_str(body).unwrap_or_default())
}
