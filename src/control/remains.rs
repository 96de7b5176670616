//! What is left of backends that have gone from the file: ghosts, and the ids of the renamed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use super::state::StateDir;
use crate::admin::facts::lock;
use crate::config::model::{Address, AddressHost, Model, OnRemove};
use crate::snapshot::ghost::Ghost;
use crate::snapshot::registry::{BackendName, Registry};
use crate::snapshot::{Pool, Snapshot};

const FILE: &str = "backends.json";

/// Backends that have left the file while somebody may be bound to them, and former ids of those
/// that are still there. Kept in the state folder.
#[derive(Debug)]
pub(super) struct Remains {
    state: StateDir,
    ghosts: Vec<Ghost>,
    /// The backends of the generation in force, as far as they may become ghosts.
    present: Vec<Ghost>,
    kept: Kept,
}

/// As it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    ghosts: Vec<GhostText>,
    renamed: Vec<Renamed>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct GhostText {
    pool: String,
    id: String,
    host: String,
    port: u16,
    #[serde(default)]
    max_requests: u32,
    /// Unix seconds.
    until: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Renamed {
    pool: String,
    id: String,
    /// Hashes of former ids, in hexadecimal.
    former: Vec<String>,
}

impl Remains {
    /// Reads what the state folder has. A file that cannot be read is set aside and told of.
    pub(super) fn load(state: StateDir, registry: &Arc<Mutex<Registry>>) -> Self {
        let parsed = state.read(FILE).and_then(|text| match text {
            Some(text) => serde_json::from_str(&text).map_err(std::io::Error::from),
            None => Ok(Kept::default()),
        });
        let kept = parsed.unwrap_or_else(|error| {
            let aside = state.set_aside(FILE).is_ok();
            tracing::error!(%error, aside, "backends.json cannot be used: ghosts are forgotten");
            Kept::default()
        });
        let ghosts = kept.ghosts.iter().map(GhostText::ghost).collect();
        let former = kept.renamed.iter().map(Renamed::names).collect::<HashMap<_, _>>();
        lock(registry).remember_names(former);
        Self { state, ghosts, present: Vec::new(), kept }
    }

    /// The ghosts of a configuration that would be put into force now (Unix seconds).
    pub(super) fn with(&self, model: &Model, now: u32) -> Vec<Ghost> {
        let mut ghosts: Vec<Ghost> = Vec::new();
        let wanted = |ghost: &Ghost| {
            let pool = model.pools.iter().find(|pool| *pool.name.value == *ghost.pool)?;
            let OnRemove::Ghost(time) = pool.sticky.as_ref()?.on_remove else { return None };
            let same = |backend: &crate::config::model::Backend| {
                *backend.id.value == *ghost.id || backend.address.value == ghost.address
            };
            (!pool.backends.iter().any(same)).then_some(time)
        };
        for ghost in self.ghosts.iter().filter(|ghost| ghost.until > now) {
            if wanted(ghost).is_some() {
                ghosts.push(ghost.clone());
            }
        }
        for backend in &self.present {
            let known = |ghost: &Ghost| ghost.pool == backend.pool && ghost.id == backend.id;
            if let Some(time) = wanted(backend)
                && !ghosts.iter().any(known)
            {
                let time = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
                ghosts.push(Ghost { until: now.saturating_add(time), ..backend.clone() });
            }
        }
        ghosts
    }

    /// A generation is in force (Unix seconds).
    pub(super) fn applied(&mut self, snapshot: &Snapshot, now: u32) {
        let mut ghosts = Vec::new();
        let mut present = Vec::new();
        let mut renamed = Vec::new();
        for pool in snapshot.pools.iter().filter(|pool| pool.sticky.is_some()) {
            let time = match pool.on_remove {
                OnRemove::Ghost(time) => u32::try_from(time.as_secs()).unwrap_or(u32::MAX),
                OnRemove::Move => 0,
            };
            for member in &pool.members {
                let mut ghost = ghost_of(pool, member);
                if member.backend.ghost {
                    let known = |one: &&Ghost| one.pool == ghost.pool && one.id == ghost.id;
                    let known = self.ghosts.iter().find(known).map(|one| one.until);
                    ghost.until = known.unwrap_or_else(|| {
                        let (pool, backend) = (&*ghost.pool, &*ghost.id);
                        tracing::info!(pool, backend, "has left the file and drains as a ghost");
                        now.saturating_add(time)
                    });
                    ghosts.push(ghost);
                } else {
                    member.backend.state.revive();
                    // What DNS tells no more leaves in its own way (`discover`).
                    if member.backend.found.is_none() {
                        present.push(ghost);
                    }
                }
            }
        }
        for member in snapshot.pools.iter().flat_map(|pool| &pool.members) {
            if !member.former.is_empty() {
                let former = member.former.iter();
                renamed.push(Renamed {
                    pool: member.backend.pool.to_string(),
                    id: member.backend.id.to_string(),
                    former: former.map(|hash| format!("{hash:016x}")).collect(),
                });
            }
        }
        self.ghosts = ghosts;
        self.present = present;
        self.keep(renamed);
    }

    /// Ends ghosts: those whose time is over, and those that `has_failed`. Gives those that have
    /// ended by this, and why.
    pub(super) fn end(&mut self, snapshot: &Snapshot, now: u32) -> Vec<(String, &'static str)> {
        let mut ended = Vec::new();
        for ghost in &self.ghosts {
            let Some(member) = snapshot.pool(&ghost.pool).and_then(|pool| pool.member(&ghost.id))
            else {
                continue;
            };
            let state = &member.backend.state;
            let failed =
                member.backend.checked && state.last_check().is_some_and(|check| !check.passed);
            let why = if ghost.until <= now {
                "its time is over"
            } else if failed {
                "its check has failed"
            } else if state.ended() {
                "it could not be reached"
            } else {
                continue;
            };
            state.end();
            ended.push((format!("{}/{}", ghost.pool, ghost.id), why));
        }
        if !ended.is_empty() {
            self.ghosts.retain(|ghost| {
                let name = format!("{}/{}", ghost.pool, ghost.id);
                !ended.iter().any(|(gone, _)| *gone == name)
            });
            let renamed = std::mem::take(&mut self.kept.renamed);
            self.keep(renamed);
        }
        ended
    }

    fn keep(&mut self, renamed: Vec<Renamed>) {
        let ghosts = self.ghosts.iter().map(GhostText::of).collect();
        let kept = Kept { ghosts, renamed };
        if kept == self.kept {
            return;
        }
        self.kept = kept;
        let written = serde_json::to_vec_pretty(&self.kept).map_err(std::io::Error::from);
        if let Err(error) = written.and_then(|text| self.state.replace(FILE, &text, true)) {
            tracing::error!(%error, "ghosts and former names cannot be kept");
        }
    }
}

fn ghost_of(pool: &Pool, member: &crate::snapshot::Member) -> Ghost {
    Ghost {
        pool: Arc::clone(&pool.name),
        id: Arc::clone(&member.backend.id),
        address: member.backend.address.clone(),
        max_requests: member.backend.max_requests,
        until: 0,
    }
}

impl GhostText {
    fn of(ghost: &Ghost) -> Self {
        Self {
            pool: ghost.pool.to_string(),
            id: ghost.id.to_string(),
            host: match &ghost.address.host {
                AddressHost::Ip(ip) => ip.to_string(),
                AddressHost::Name(name) => name.to_string(),
            },
            port: ghost.address.port,
            max_requests: ghost.max_requests,
            until: ghost.until,
        }
    }

    fn ghost(&self) -> Ghost {
        let host = match self.host.parse() {
            Ok(ip) => AddressHost::Ip(ip),
            Err(_) => AddressHost::Name(self.host.as_str().into()),
        };
        Ghost {
            pool: self.pool.as_str().into(),
            id: self.id.as_str().into(),
            address: Address { host, port: self.port },
            max_requests: self.max_requests,
            until: self.until,
        }
    }
}

impl Renamed {
    fn names(&self) -> (BackendName, Vec<u64>) {
        let hashes = self.former.iter().filter_map(|hash| u64::from_str_radix(hash, 16).ok());
        ((self.pool.as_str().into(), self.id.as_str().into()), hashes.collect())
    }
}
