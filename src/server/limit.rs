//! Caps on connections: of the process, and of one client.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::quality::RandomState;

/// Connections by client are counted in so many parts, so that workers seldom meet.
const SHARDS: usize = 16;

/// Counts client connections over all workers.
#[derive(Debug)]
pub struct Limits {
    most: usize,
    total: AtomicUsize,
    /// Connections that a worker has or is about to get.
    loads: Box<[Load]>,
    clients: [Mutex<Clients>; SHARDS],
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Load(AtomicUsize);

/// Hashed by a number that only the process knows. Whoever found addresses all the same that meet
/// in one place would need as many connections as he wants them to be.
type Clients = HashMap<IpAddr, u32, RandomState>;

/// One connection's place. Dropped, it is free again.
#[derive(Debug)]
pub struct Permit {
    limits: Arc<Limits>,
    client: Option<IpAddr>,
    worker: usize,
}

impl Limits {
    /// For so many connections and workers.
    pub fn new(most: usize, workers: usize) -> Self {
        let loads = (0..workers).map(|_| Load::default()).collect();
        let clients = std::array::from_fn(|_| Mutex::default());
        Self { most, total: AtomicUsize::new(0), loads, clients }
    }

    /// Whether the process may take another one.
    pub fn has_room(&self) -> bool {
        self.total.load(Ordering::Relaxed) < self.most
    }

    /// Connections of a worker.
    pub fn load(&self, worker: usize) -> usize {
        self.loads.get(worker).map_or(0, |load| load.0.load(Ordering::Relaxed))
    }

    /// The worker to serve a connection that this one has accepted: the one with the fewest, but
    /// for a difference that a hand-over would not pay for.
    pub fn choose(&self, own: usize) -> usize {
        let mine = self.load(own);
        let least = (0..self.loads.len()).min_by_key(|worker| self.load(*worker));
        least.filter(|least| mine >= self.load(*least) + 2).unwrap_or(own)
    }

    /// Takes a place for a connection on this worker. `most`: of one client; `None` where the
    /// client is exempt. None when the client has as many as it may.
    pub fn admit(
        self: &Arc<Self>,
        client: IpAddr,
        most: Option<u32>,
        worker: usize,
    ) -> Option<Permit> {
        if most.is_some_and(|most| !self.enter(client, most)) {
            return None;
        }
        self.total.fetch_add(1, Ordering::Relaxed);
        if let Some(load) = self.loads.get(worker) {
            load.0.fetch_add(1, Ordering::Relaxed);
        }
        Some(Permit { limits: Arc::clone(self), client: most.map(|_| client), worker })
    }

    /// Counts one more for a client, unless it has as many as it may.
    fn enter(&self, client: IpAddr, most: u32) -> bool {
        let mut shard = self.shard(client);
        let count = shard.entry(client).or_insert(0);
        let room = *count < most;
        *count += u32::from(room);
        room
    }

    fn leave(&self, client: IpAddr) {
        let mut shard = self.shard(client);
        if let Some(count) = shard.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                shard.remove(&client);
            }
        }
    }

    fn shard(&self, client: IpAddr) -> std::sync::MutexGuard<'_, Clients> {
        let last = match client {
            IpAddr::V4(address) => address.octets()[3],
            IpAddr::V6(address) => address.octets()[7] ^ address.octets()[15],
        };
        #[expect(clippy::indexing_slicing, reason = "a remainder is below its divisor")]
        let shard = &self.clients[usize::from(last) % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Counts the connection for the client that it turned out to be of. False, and counted for
    /// nobody, when that one has as many as it may.
    pub fn count(&mut self, client: IpAddr, most: u32) -> bool {
        if let Some(before) = self.client.take() {
            self.limits.leave(before);
        }
        let counted = self.limits.enter(client, most);
        self.client = counted.then_some(client);
        counted
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limits.total.fetch_sub(1, Ordering::Relaxed);
        if let Some(load) = self.limits.loads.get(self.worker) {
            load.0.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(client) = self.client {
            self.limits.leave(client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_over_its_limit_is_refused_until_one_of_its_connections_ends() {
        let limits = Arc::new(Limits::new(10, 2));
        let client: IpAddr = "10.0.0.1".parse().unwrap();
        let first = limits.admit(client, Some(1), 0).unwrap();
        assert!(limits.admit(client, Some(1), 0).is_none());
        assert!(limits.admit(client, None, 1).is_some(), "trusted proxies are exempt");
        drop(first);
        assert!(limits.admit(client, Some(1), 0).is_some());
        assert_eq!(limits.load(0), 0);
    }

    #[test]
    fn a_connection_counts_for_the_client_that_it_turns_out_to_be_of() {
        let limits = Arc::new(Limits::new(10, 1));
        let [proxy, client] = ["10.0.0.1", "192.0.2.1"].map(|text| text.parse().unwrap());
        let mut first = limits.admit(proxy, None, 0).unwrap();
        let mut second = limits.admit(proxy, None, 0).unwrap();
        assert!(first.count(client, 1));
        assert!(!second.count(client, 1));
        drop(second);
        assert!(limits.admit(client, Some(1), 0).is_none());
        drop(first);
        assert!(limits.admit(client, Some(1), 0).is_some());
    }

    #[test]
    fn a_connection_goes_to_the_idler_worker_where_the_difference_is_real() {
        let limits = Arc::new(Limits::new(10, 2));
        let client: IpAddr = "10.0.0.1".parse().unwrap();
        let permits: Vec<_> = (0..2).filter_map(|_| limits.admit(client, None, 0)).collect();
        assert_eq!(limits.choose(0), 1);
        assert_eq!(limits.choose(1), 1);
        drop(permits);
        assert_eq!(limits.choose(0), 0);
    }
}
