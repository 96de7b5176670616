//! The threads that serve: listening sockets, workers, connections, and their end.

pub mod acceptor;
pub mod connection;
pub mod drain;
mod introduced;
pub mod limit;
pub mod worker;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::http::Verifier;
use crate::net::socket;
use crate::snapshot::{Current, Snapshot};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::counters::{PerWorker, WorkerCounters};

use drain::Ending;
use limit::Limits;
use worker::{Command, Worker};

/// What the server is made of.
#[derive(Debug)]
pub struct Setup {
    /// The snapshot in force.
    pub current: Arc<Current>,
    /// Shared by all workers, a block each.
    pub counters: Arc<PerWorker<WorkerCounters>>,
    /// Absent: no access log.
    pub log: Option<AccessLog>,
    /// Tries passwords; shared by all workers.
    pub verifier: Arc<Verifier>,
    /// Client connections in all.
    pub max_connections: usize,
    /// Of each worker, for long answers.
    pub pipes: usize,
    /// Name of this node.
    pub node: Arc<str>,
}

/// Workers and the listening sockets that they share. Control thread only.
#[derive(Debug)]
pub struct Server {
    /// Worker threads that there are going to be.
    count: usize,
    workers: Vec<Worker>,
    bound: HashMap<Wanted, Listening>,
}

/// An address as configured. Port 0 becomes another one for each listener, so there its name
/// belongs to it.
type Wanted = (SocketAddr, Option<Arc<str>>);

fn wanted(address: SocketAddr, listener: &Arc<str>) -> Wanted {
    (address, (address.port() == 0).then(|| Arc::clone(listener)))
}

/// An address that is served.
#[derive(Debug)]
struct Listening {
    /// With the port that 0 became.
    address: SocketAddr,
    /// Number of the listener it belongs to, and its name.
    slot: usize,
    name: Arc<str>,
    /// Ends its connections when it is taken away.
    ending: Ending,
}

/// An address and why it cannot be served.
#[derive(Debug)]
pub struct Unbound {
    /// The listener's place in the snapshot, and the address' place in it.
    pub listener: usize,
    /// Likewise.
    pub address: usize,
    /// As the system says.
    pub error: io::Error,
}

/// Sockets for a snapshot that is not published yet.
#[derive(Debug, Default)]
pub struct Prepared {
    new: Vec<(Wanted, socket::Bound, usize, Arc<str>)>,
    kept: Vec<(Wanted, usize, Arc<str>)>,
}

impl Server {
    /// A server of so many workers, which are started later: sockets come first, so that what
    /// cannot be bound is known before anything runs.
    pub fn new(workers: usize) -> Self {
        Self { count: workers.max(1), workers: Vec::new(), bound: HashMap::new() }
    }

    /// Starts the workers.
    ///
    /// # Errors
    /// Where a thread or its runtime cannot be made.
    pub fn start(&mut self, setup: &Setup) -> io::Result<()> {
        let limits = Arc::new(Limits::new(setup.max_connections, self.count));
        self.workers = (0..self.count)
            .map(|number| Worker::start(number, setup, &limits))
            .collect::<io::Result<Vec<_>>>()?;
        for worker in &self.workers {
            worker.meet(&self.workers);
        }
        Ok(())
    }

    /// Binds what a snapshot needs and is not bound yet. What exists is not touched.
    ///
    /// # Errors
    /// Every address that cannot be bound.
    pub fn prepare(&self, snapshot: &Snapshot) -> Result<Prepared, Vec<Unbound>> {
        let mut prepared = Prepared::default();
        let mut unbound = Vec::new();
        for (index, listener) in snapshot.listeners.iter().enumerate() {
            for (place, address) in listener.bind.iter().enumerate() {
                let (slot, name) = (listener.slot, Arc::clone(&listener.name));
                let wanted = wanted(*address, &name);
                if self.bound.contains_key(&wanted) {
                    prepared.kept.push((wanted, slot, name));
                    continue;
                }
                match socket::bind(*address, self.count) {
                    Ok(bound) => prepared.new.push((wanted, bound, slot, name)),
                    Err(error) => unbound.push(Unbound { listener: index, address: place, error }),
                }
            }
        }
        if unbound.is_empty() { Ok(prepared) } else { Err(unbound) }
    }

    /// Hands new sockets to the workers and lets go of those that no listener has any more. Call
    /// it after the snapshot was published.
    pub fn commit(&mut self, prepared: Prepared) {
        let mut before = std::mem::take(&mut self.bound);
        for (wanted, slot, name) in prepared.kept {
            let Some(listening) = before.remove(&wanted) else { continue };
            if listening.slot == slot {
                self.bound.insert(wanted, listening);
            } else {
                // The address went to another listener: same sockets, but its connections belong
                // to the one that left.
                listening.ending.begin();
                let ending = Ending::new();
                for worker in &self.workers {
                    worker.send(Command::Reassign {
                        address: listening.address,
                        slot,
                        ending: ending.clone(),
                    });
                }
                let address = listening.address;
                self.bound.insert(wanted, Listening { address, slot, name, ending });
            }
        }
        for (wanted, bound, slot, name) in prepared.new {
            let ending = Ending::new();
            let address = bound.address;
            for (worker, socket) in self.workers.iter().zip(bound.sockets) {
                let ending = ending.clone();
                worker.send(Command::Listen { address, socket, slot, ending });
            }
            self.bound.insert(wanted, Listening { address, slot, name, ending });
        }
        for gone in before.into_values() {
            for worker in &self.workers {
                worker.send(Command::Unlisten { address: gone.address });
            }
            gone.ending.begin();
        }
    }

    /// Addresses that are served, with their listeners' names.
    pub fn bound(&self) -> impl Iterator<Item = (&Arc<str>, SocketAddr)> {
        self.bound.values().map(|listening| (&listening.name, listening.address))
    }

    /// Takes no new connection, and tells those there are to go when their exchanges are done.
    pub fn drain(&mut self) {
        for gone in std::mem::take(&mut self.bound).into_values() {
            for worker in &self.workers {
                worker.send(Command::Unlisten { address: gone.address });
            }
            gone.ending.begin();
        }
    }

    /// Connections and tunnels that are still there.
    pub fn busy(&self) -> usize {
        self.workers.iter().map(Worker::load).sum()
    }

    /// Ends the workers, whatever they still have, within this time.
    pub fn stop(self, patience: Duration) {
        for worker in &self.workers {
            worker.send(Command::Stop);
        }
        for worker in self.workers {
            worker.join(patience);
        }
    }
}
