//! Names of backends to addresses, off the workers and again by their TTL.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use crate::admin::facts::lock;
use crate::backend::BackendState;
use crate::config::model::AddressHost;
use crate::snapshot::Snapshot;
use crate::task;
use crate::telemetry::chain;

/// An answer is asked for again not sooner, whatever its TTL says.
const SOONEST: Duration = Duration::from_secs(1);
/// And not later: a name that moved is followed within a minute.
const LATEST: Duration = Duration::from_mins(1);
/// After failures the pause doubles up to this.
const LATEST_AFTER_FAILURE: Duration = Duration::from_secs(15);
/// Read anew when one of them was written.
const SYSTEM_FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

type Name = (Arc<str>, Arc<str>);

/// Follows the snapshot: one task for each backend that has a name instead of an address.
#[derive(Debug, Default)]
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
                    let pause = SOONEST.saturating_mul(1 << failures.min(6).saturating_sub(1));
                    pause.min(LATEST_AFTER_FAILURE)
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

/// The system's resolver, made again when its files change.
#[derive(Default)]
struct Lookup(Mutex<Option<(Stamps, TokioResolver)>>);

type Stamps = [Option<SystemTime>; SYSTEM_FILES.len()];

impl std::fmt::Debug for Lookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lookup")
    }
}

impl Lookup {
    /// Addresses of a name, IPv4 first, and how long they hold.
    async fn addresses(&self, host: &str) -> Result<(Vec<IpAddr>, Duration), String> {
        let answer = self.resolver()?.lookup_ip(host).await.map_err(|error| chain(&error))?;
        let mut addresses: Vec<IpAddr> = answer.iter().collect();
        addresses.dedup();
        if addresses.is_empty() {
            return Err("it has no address".to_owned());
        }
        let holds = answer.valid_until().saturating_duration_since(Instant::now().into_std());
        Ok((addresses, holds.clamp(SOONEST, LATEST)))
    }

    fn resolver(&self) -> Result<TokioResolver, String> {
        let stamp = |path: &str| fs::metadata(path).and_then(|facts| facts.modified()).ok();
        let stamps = SYSTEM_FILES.map(stamp);
        let mut known = lock(&self.0);
        if let Some((of, resolver)) = &*known
            && *of == stamps
        {
            return Ok(resolver.clone());
        }
        let resolver = build().map_err(|error| chain(&error))?;
        *known = Some((stamps, resolver.clone()));
        Ok(resolver)
    }
}

fn build() -> Result<TokioResolver, hickory_resolver::net::NetError> {
    let mut builder = TokioResolver::builder_tokio().unwrap_or_else(|error| {
        tracing::warn!(%error, "no name server is known: names come from /etc/hosts only");
        let nobody = ResolverConfig::from_parts(None, Vec::new(), Vec::new());
        TokioResolver::builder_with_config(nobody, TokioRuntimeProvider::default())
    });
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = ResolveHosts::Always;
    options.positive_min_ttl = Some(SOONEST);
    options.positive_max_ttl = Some(LATEST);
    options.negative_max_ttl = Some(SOONEST);
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_the_hosts_file_resolves_without_a_name_server() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (addresses, holds) =
            runtime.block_on(Lookup::default().addresses("localhost")).unwrap();
        assert!(addresses.iter().all(IpAddr::is_loopback), "{addresses:?}");
        assert!((SOONEST..=LATEST).contains(&holds), "{holds:?}");
    }

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
