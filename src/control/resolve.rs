//! Names of backends to addresses, off the workers and again by their TTL.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::lookup::{Lookup, after_failures};
use crate::backend::BackendState;
use crate::config::model::AddressHost;
use crate::snapshot::Snapshot;
use crate::task;

type Name = (Arc<str>, Arc<str>);

/// Follows the snapshot: one task for each backend that has a name instead of an address.
#[derive(Debug)]
pub(super) struct Resolver {
    lookup: Arc<Lookup>,
    running: HashMap<Name, Running>,
}

#[derive(Debug)]
struct Running {
    state: Arc<BackendState>,
    _task: AbortOnDropHandle<()>,
}

impl Resolver {
    /// One that follows nothing yet.
    pub(super) fn new(lookup: Arc<Lookup>) -> Self {
        Self { lookup, running: HashMap::new() }
    }

    /// Starts what is new, keeps what is the same, stops the rest.
    pub(super) fn follow(&mut self, snapshot: &Snapshot) {
        let mut before = std::mem::take(&mut self.running);
        for backend in snapshot.pools.iter().flat_map(|pool| &pool.members).map(|m| &m.backend) {
            let AddressHost::Name(host) = &backend.address.host else { continue };
            let name = (Arc::clone(&backend.pool), Arc::clone(&backend.id));
            // Another address is another state.
            let kept =
                before.remove(&name).filter(|running| Arc::ptr_eq(&running.state, &backend.state));
            let running = kept.unwrap_or_else(|| {
                let task = Task {
                    lookup: Arc::clone(&self.lookup),
                    backend: format!("{}/{}", backend.pool, backend.id),
                    host: Arc::clone(host),
                    port: backend.address.port,
                    state: Arc::clone(&backend.state),
                };
                let state = Arc::clone(&backend.state);
                Running { state, _task: AbortOnDropHandle::new(task::spawn("resolve", task.run())) }
            });
            self.running.insert(name, running);
        }
    }
}

struct Task {
    lookup: Arc<Lookup>,
    backend: String,
    host: Arc<str>,
    port: u16,
    state: Arc<BackendState>,
}

impl Task {
    async fn run(self) {
        let mut failures = 0_u32;
        loop {
            let pause = match self.lookup.addresses(&self.host).await {
                Ok((addresses, pause)) => {
                    failures = 0;
                    self.found(addresses);
                    pause
                }
                Err(error) => {
                    let (backend, host) = (&*self.backend, &*self.host);
                    if failures == 0 {
                        let kept = self.state.addresses().len();
                        tracing::warn!(backend, host, error, kept, "a name does not resolve");
                    }
                    failures = failures.saturating_add(1);
                    after_failures(failures)
                }
            };
            sleep(pause).await;
        }
    }

    /// Takes over an answer; the same addresses in another order change nothing.
    fn found(&self, addresses: Vec<IpAddr>) {
        let new: Vec<SocketAddr> =
            addresses.into_iter().map(|ip| SocketAddr::new(ip, self.port)).collect();
        let old = self.state.addresses();
        let sorted = |addresses: &[SocketAddr]| {
            let mut sorted = addresses.to_vec();
            sorted.sort_unstable();
            sorted
        };
        if sorted(&old) != sorted(&new) {
            let (backend, host) = (&*self.backend, &*self.host);
            tracing::info!(backend, host, from = ?old, to = ?new, "a name has new addresses");
            self.state.set_addresses(new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_addresses_in_another_order_change_nothing() {
        let state = Arc::new(BackendState::default());
        let task = Task {
            lookup: Arc::new(Lookup::default()),
            backend: "shop/a".to_owned(),
            host: Arc::from("app.internal"),
            port: 80,
            state: Arc::clone(&state),
        };
        let (one, two): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        task.found(vec![one, two]);
        assert_eq!(state.addresses().len(), 2);
        task.found(vec![two, one]);
        assert_eq!(state.addresses().first().unwrap().ip(), one);
        task.found(vec![two]);
        assert_eq!(*state.addresses(), [SocketAddr::new(two, 80)]);
    }
}
