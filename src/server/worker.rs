//! One thread, one runtime, one `Local`: the only file that knows the threading model.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::HeaderValue;
use tokio::sync::mpsc;

use crate::http::local;
use crate::net::{clock, pipe};
use crate::task;

use super::Setup;
use super::acceptor::{self, Acceptor};
use super::connection::HandedOver;
use super::drain::Ending;
use super::limit::Limits;

/// Turns of the loop between two looks at the sockets, while there is other work.
const EVENT_INTERVAL: u32 = 31;
/// Connections on their way from one worker to another.
const IN_TRANSIT: usize = 1024;
/// Commands on their way.
const COMMANDS: usize = 1024;

/// What the control thread tells a worker.
#[derive(Debug)]
pub(super) enum Command {
    /// Serve this address too.
    Listen { address: SocketAddr, socket: TcpListener, slot: usize, ending: Ending },
    /// New connections of this address belong to another listener.
    Reassign { address: SocketAddr, slot: usize, ending: Ending },
    /// Serve this address no more.
    Unlisten { address: SocketAddr },
    /// End.
    Stop,
}

/// The other workers, to hand connections over to.
pub(super) type Siblings = Arc<OnceLock<Vec<mpsc::Sender<HandedOver>>>>;

/// A worker, from outside.
#[derive(Debug)]
pub(super) struct Worker {
    number: usize,
    commands: mpsc::Sender<Command>,
    arrivals: mpsc::Sender<HandedOver>,
    siblings: Siblings,
    limits: Arc<Limits>,
    thread: std::thread::JoinHandle<()>,
}

impl Worker {
    pub(super) fn start(number: usize, setup: &Setup, limits: &Arc<Limits>) -> io::Result<Self> {
        let (commands, orders) = mpsc::channel(COMMANDS);
        let (arrivals, arriving) = mpsc::channel(IN_TRANSIT);
        let siblings = Siblings::default();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .event_interval(EVENT_INTERVAL)
            .build()?;
        let own = local::Setup {
            worker: number,
            current: Arc::clone(&setup.current),
            counters: Arc::clone(&setup.counters),
            log: setup.log.clone(),
            verifier: Arc::clone(&setup.verifier),
            seed: seed()?,
            node: Arc::clone(&setup.node),
            pseudonym: pseudonym(),
        };
        let place = Place { number, limits: Arc::clone(limits), siblings: Arc::clone(&siblings) };
        let pipes = setup.pipes;
        let thread =
            std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                local::install(own);
                pipe::allow(pipes);
                runtime.block_on(run(place, orders, arriving));
                local::end();
                // Connections are dropped here, while what they report to is still there.
                drop(runtime);
                local::flush();
            })?;
        let limits = Arc::clone(limits);
        Ok(Self { number, commands, arrivals, siblings, limits, thread })
    }

    /// Lets it know all workers, itself among them.
    pub(super) fn meet(&self, all: &[Self]) {
        let all = all.iter().map(|worker| worker.arrivals.clone()).collect();
        let _ = self.siblings.set(all);
    }

    pub(super) fn send(&self, command: Command) {
        if let Err(error) = self.commands.try_send(command) {
            tracing::error!(worker = self.number, %error, "a worker takes no commands");
        }
    }

    pub(super) fn load(&self) -> usize {
        self.limits.load(self.number)
    }

    pub(super) fn join(self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while !self.thread.is_finished() && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        if self.thread.is_finished() {
            let _ = self.thread.join();
        }
    }
}

/// Where a worker stands among the others.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) number: usize,
    pub(super) limits: Arc<Limits>,
    pub(super) siblings: Siblings,
}

async fn run(
    place: Place,
    mut orders: mpsc::Receiver<Command>,
    mut arriving: mpsc::Receiver<HandedOver>,
) {
    task::spawn("clock", clock::run(local::housekeeping()));
    let mut acceptors: HashMap<SocketAddr, Acceptor> = HashMap::new();
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Command::Listen { address, socket, slot, ending }) => {
                    match acceptor::start(socket, slot, ending, &place) {
                        Ok(acceptor) => { acceptors.insert(address, acceptor); }
                        Err(error) => tracing::error!(%address, %error, "cannot listen"),
                    }
                }
                Some(Command::Reassign { address, slot, ending }) => {
                    if let Some(acceptor) = acceptors.get(&address) {
                        acceptor.reassign(slot, ending);
                    }
                }
                Some(Command::Unlisten { address }) => {
                    if let Some(acceptor) = acceptors.remove(&address) {
                        acceptor.end();
                    }
                }
                Some(Command::Stop) | None => return,
            },
            Some(arrival) = arriving.recv() => arrival.serve(),
        }
    }
}

fn seed() -> io::Result<u64> {
    let mut seed = [0; 8];
    aws_lc_rs::rand::fill(&mut seed)
        .map_err(|_| io::Error::other("the system has no randomness"))?;
    Ok(u64::from_ne_bytes(seed))
}

/// Differs from process to process, so that one Ostler behind another is no loop.
fn pseudonym() -> HeaderValue {
    static PSEUDONYM: OnceLock<HeaderValue> = OnceLock::new();
    let make = || {
        let own = seed().unwrap_or_else(|_| u64::from(std::process::id()));
        let name = format!("ostler-{:06x}", own & 0xff_ffff);
        HeaderValue::try_from(name).unwrap_or_else(|_| HeaderValue::from_static("ostler"))
    };
    PSEUDONYM.get_or_init(make).clone()
}
