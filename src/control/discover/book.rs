//! What is known of the names that stand for backends: who is there, and who is on the way out.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::answer::Answer;
use crate::config::defaults::MAX_DISCOVERED;
use crate::config::model::{
    Address, AddressHost, AdminState, Backend, Discover, Found, Leaving, Located, Model, Pool,
    folded,
};

/// A backend of the file that stands for others: its pool, what their ids begin with, and what is
/// asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(in crate::control) struct Source {
    pub(in crate::control) pool: Arc<str>,
    pub(in crate::control) prefix: Option<Arc<str>>,
    pub(in crate::control) discover: Discover,
    pub(in crate::control) host: Arc<str>,
    pub(in crate::control) port: u16,
}

impl Source {
    fn of(pool: &Pool, backend: &Backend) -> Option<Self> {
        let AddressHost::Name(host) = &backend.address.host else { return None };
        Some(Self {
            pool: Arc::clone(&pool.name.value),
            prefix: backend.id_given.then(|| Arc::clone(&backend.id.value)),
            discover: backend.discover?,
            host: Arc::clone(host),
            port: backend.address.port,
        })
    }

    /// All of a configuration.
    pub(in crate::control) fn all(model: &Model) -> Vec<Self> {
        let of = |pool: &Pool| {
            pool.backends.iter().filter_map(|one| Self::of(pool, one)).collect::<Vec<_>>()
        };
        model.pools.iter().flat_map(of).collect()
    }

    /// As the file has it.
    pub(in crate::control) fn name(&self) -> Arc<str> {
        match self.discover {
            Discover::Srv => Arc::clone(&self.host),
            Discover::Dns => format!("{}:{}", self.host, self.port).into(),
        }
    }

    /// The id of the backend at this address: always the same, whenever and by whom it is found.
    fn id(&self, address: SocketAddr) -> Arc<str> {
        match &self.prefix {
            None => folded(&address.to_string()),
            Some(prefix) => folded(&format!("{prefix}-{address}")),
        }
    }
}

/// A backend that DNS tells, or told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) address: SocketAddr,
    pub(super) host: Arc<str>,
    pub(super) weight: u32,
    /// Present: the last good answer has it no more.
    pub(super) leaving: Option<Leaving>,
}

/// The backends of one source, by address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known(pub(super) Vec<Seen>);

impl Known {
    /// Takes over a good answer: who is in it is there, whoever else was there leaves, and has
    /// until `now + deadline` (Unix seconds) to do so. The same answer again changes nothing.
    pub(super) fn take(&mut self, answer: &Answer, now: u32, deadline: Option<Duration>) {
        let mut old = std::mem::take(&mut self.0);
        for target in answer.targets() {
            old.retain(|seen| seen.address != target.address);
            self.0.push(Seen {
                address: target.address,
                host: Arc::clone(&target.host),
                weight: target.weight,
                leaving: None,
            });
        }
        self.0.extend(old);
        self.leave(|seen| answer.has(seen.address), now, deadline);
    }

    /// Whoever is not to stay leaves; who leaves already does so as before.
    fn leave(&mut self, stays: impl Fn(&Seen) -> bool, now: u32, deadline: Option<Duration>) {
        let after = deadline.map(|time| u32::try_from(time.as_secs()).unwrap_or(u32::MAX));
        let leaving = Leaving { since: now, until: after.map(|after| now.saturating_add(after)) };
        for seen in self.0.iter_mut().filter(|seen| !stays(seen)) {
            seen.leaving.get_or_insert(leaving);
        }
        // However fast answers change, there is an end to it: the oldest go first.
        let mut since: Vec<u32> =
            self.0.iter().filter_map(|seen| seen.leaving.map(|leaving| leaving.since)).collect();
        if since.len() > MAX_DISCOVERED {
            since.sort_unstable();
            let mut over = since.len() - MAX_DISCOVERED;
            let last = since.get(over - 1).copied().unwrap_or(0);
            self.0.retain(|seen| {
                let goes = over > 0 && seen.leaving.is_some_and(|leaving| leaving.since <= last);
                over -= usize::from(goes);
                !goes
            });
        }
        self.0.sort_unstable_by_key(|seen| seen.address);
    }

    fn present(&self) -> impl Iterator<Item = &Seen> {
        self.0.iter().filter(|seen| seen.leaving.is_none())
    }
}

/// All sources and their backends, those too that are in no file any more but have bound visitors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::control) struct Book(pub(super) BTreeMap<Source, Known>);

impl Book {
    /// Whether nothing is discovered and nobody is on the way out.
    pub(in crate::control) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A configuration is going to hold (`now`: Unix seconds): what it does not ask about any
    /// more leaves, and goes with its pool.
    pub(in crate::control) fn follow(&mut self, model: &Model, now: u32) {
        let asked: BTreeSet<Source> = Source::all(model).into_iter().collect();
        self.0.retain(|source, known| {
            if asked.contains(source) {
                return true;
            }
            let Some(pool) = pool_of(model, source) else { return false };
            known.leave(|_| false, now, pool.drain_deadline);
            !known.0.is_empty()
        });
        for source in asked {
            self.0.entry(source).or_default();
        }
    }

    /// Takes over a good answer; one to what is not asked is none.
    pub(super) fn take(&mut self, source: &Source, answer: &Answer, model: &Model, now: u32) {
        let Some(pool) = pool_of(model, source) else { return };
        if let Some(known) = self.0.get_mut(source) {
            known.take(answer, now, pool.drain_deadline);
        }
    }

    /// Of those that leave only these are still wanted, by pool and address.
    pub(in crate::control) fn let_go(&mut self, wanted: &HashSet<(Arc<str>, SocketAddr)>) {
        for (source, known) in &mut self.0 {
            known.0.retain(|seen| {
                seen.leaving.is_none() || wanted.contains(&(Arc::clone(&source.pool), seen.address))
            });
        }
    }

    /// How many backends of a source are there, and how many leave.
    pub(super) fn count(&self, source: &Source) -> (usize, usize) {
        let Some(known) = self.0.get(source) else { return (0, 0) };
        let there = known.present().count();
        (there, known.0.len() - there)
    }

    /// The configuration with backends in place of what stands for them, then those that leave.
    /// An address and an id are one backend: what the file lists goes first, then who is there.
    pub(in crate::control) fn expand(&self, model: &Model) -> Model {
        let mut model = model.clone();
        for pool in &mut model.pools {
            let of_pool = || self.0.iter().filter(|(source, _)| *source.pool == **pool.name);
            if of_pool().next().is_none() && pool.backends.iter().all(|b| b.discover.is_none()) {
                continue;
            }
            let mut taken = Taken::default();
            for backend in pool.backends.iter().filter(|backend| backend.discover.is_none()) {
                taken.takes(backend);
            }
            let written = |source: &Source| {
                pool.backends.iter().find(|one| Source::of(pool, one).as_ref() == Some(source))
            };
            let mut backends = Vec::with_capacity(pool.backends.len());
            for backend in &pool.backends {
                let Some(source) = Source::of(pool, backend) else {
                    backends.push(backend.clone());
                    continue;
                };
                for seen in self.0.get(&source).into_iter().flat_map(Known::present) {
                    let backend = stand_in(&source, seen, Some(backend));
                    if taken.takes(&backend) {
                        backends.push(backend);
                    }
                }
            }
            for (source, known) in of_pool() {
                for seen in known.0.iter().filter(|seen| seen.leaving.is_some()) {
                    let backend = stand_in(source, seen, written(source));
                    if taken.takes(&backend) {
                        backends.push(backend);
                    }
                }
            }
            pool.backends = backends;
        }
        model
    }

    /// What has changed from an earlier one, by source.
    pub(in crate::control) fn news<'a>(&'a self, before: &Self) -> Vec<(&'a Source, News)> {
        let none = Known::default();
        let all = self.0.iter().map(|(source, known)| {
            (source, News::between(before.0.get(source).unwrap_or(&none), known))
        });
        all.filter(|(_, news)| *news != News::default()).collect()
    }
}

/// What happened to the backends of one source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::control) struct News {
    pub(in crate::control) joined: Vec<SocketAddr>,
    pub(in crate::control) returned: Vec<SocketAddr>,
    pub(in crate::control) left: Vec<SocketAddr>,
    pub(in crate::control) gone: Vec<SocketAddr>,
    /// Another weight or host.
    pub(in crate::control) changed: Vec<SocketAddr>,
}

impl News {
    fn between(before: &Known, now: &Known) -> Self {
        let mut news = Self::default();
        let old: BTreeMap<SocketAddr, &Seen> =
            before.0.iter().map(|seen| (seen.address, seen)).collect();
        for seen in &now.0 {
            let list = match old.get(&seen.address) {
                None if seen.leaving.is_none() => &mut news.joined,
                Some(old) if old.leaving.is_some() && seen.leaving.is_none() => &mut news.returned,
                Some(old) if old.leaving.is_none() && seen.leaving.is_some() => &mut news.left,
                Some(old) if *old != seen => &mut news.changed,
                None | Some(_) => continue,
            };
            list.push(seen.address);
        }
        let kept: BTreeSet<SocketAddr> = now.0.iter().map(|seen| seen.address).collect();
        news.gone = old.into_keys().filter(|address| !kept.contains(address)).collect();
        news
    }
}

/// Addresses and ids of a pool that are given away.
#[derive(Default)]
struct Taken {
    addresses: HashSet<Address>,
    ids: HashSet<Arc<str>>,
}

impl Taken {
    /// Whether nobody had them before.
    fn takes(&mut self, backend: &Backend) -> bool {
        if self.addresses.contains(&backend.address.value) || self.ids.contains(&backend.id.value) {
            return false;
        }
        self.addresses.insert(backend.address.value.clone());
        self.ids.insert(Arc::clone(&backend.id.value))
    }
}

/// The backend at an address, as the file would have it. `written`: what stands for it there.
fn stand_in(source: &Source, seen: &Seen, written: Option<&Backend>) -> Backend {
    let nowhere = || Backend {
        id: Located::nowhere(Arc::from("")),
        id_given: source.prefix.is_some(),
        address: Located::nowhere(Address { host: AddressHost::Ip(seen.address.ip()), port: 0 }),
        weight: 1,
        state: AdminState::Up,
        max_requests: 0,
        tier: 0,
        discover: None,
        found: None,
    };
    let mut backend = written.cloned().unwrap_or_else(nowhere);
    let address = Address { host: AddressHost::Ip(seen.address.ip()), port: seen.address.port() };
    backend.id.value = source.id(seen.address);
    backend.address.value = address;
    if source.discover == Discover::Srv {
        backend.weight = seen.weight;
    }
    backend.discover = None;
    backend.found =
        Some(Found { name: source.name(), host: Arc::clone(&seen.host), leaving: seen.leaving });
    backend
}

fn pool_of<'a>(model: &'a Model, source: &Source) -> Option<&'a Pool> {
    model.pools.iter().find(|pool| *pool.name.value == *source.pool)
}

#[cfg(test)]
mod tests;
