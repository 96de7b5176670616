//! The live sessions, seen from the control thread: swept, kept on disk, told of when a drain ends.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::state::StateDir;
use crate::backend::name_hash;
use crate::snapshot::{Pool, Snapshot};

const FILE: &str = "sessions.bin";
/// Begins the file, with the version of its form.
const MAGIC: &[u8] = b"ostler sessions 1\n";
/// The least time between two saves.
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// Bytes a second that may be spent on saves: with very many sessions they become rarer.
const SAVE_RATE: u64 = 200_000;

/// Keeps the counts of sessions.
#[derive(Debug)]
pub(super) struct Keeper {
    state: StateDir,
    /// Read at start, for pools that come later, too.
    saved: HashMap<u64, Vec<u8>>,
    /// Pools whose counts have been restored, or found new.
    known: HashSet<u64>,
    next_save: Instant,
    /// Drained backends that were told of, by pool and id.
    told: HashSet<(Arc<str>, Arc<str>)>,
    /// When the period began in which so many sessions may move.
    periods: HashMap<Arc<str>, Instant>,
}

impl Keeper {
    /// Reads what an earlier process has saved. What cannot be used is told of: counts are then
    /// incomplete until the idle time has passed, and say so.
    pub(super) fn load(state: StateDir) -> Self {
        let read = state.read_bytes(FILE);
        // What it says is complete only once: this process may serve somebody and die before it
        // has written its own.
        if let Err(error) = state.remove(FILE) {
            tracing::warn!(%error, "{FILE} cannot be replaced: sessions are counted anew");
            return Self::with(state, HashMap::new());
        }
        let saved = match read {
            Ok(None) => HashMap::new(),
            Ok(Some(bytes)) => sections(&bytes).unwrap_or_else(|| {
                tracing::warn!("{FILE} cannot be used: sessions are counted anew");
                HashMap::new()
            }),
            Err(error) => {
                tracing::warn!(%error, "{FILE} cannot be read: sessions are counted anew");
                HashMap::new()
            }
        };
        Self::with(state, saved)
    }

    fn with(state: StateDir, saved: HashMap<u64, Vec<u8>>) -> Self {
        let next_save = Instant::now() + SAVE_EVERY;
        Self {
            state,
            saved,
            known: HashSet::new(),
            next_save,
            told: HashSet::new(),
            periods: HashMap::new(),
        }
    }

    /// A generation is in force: its renamed backends take their visitors' seats along.
    pub(super) fn rename(snapshot: &Snapshot) {
        for pool in &snapshot.pools {
            for member in &pool.members {
                if let Some(seat) = &member.seat
                    && seat.backend() != member.backend.name
                {
                    pool.state.sessions.rename(seat.backend(), member.backend.name);
                }
            }
        }
    }

    /// A generation is coming into force (`now`: Unix seconds): its pools get back the counts that
    /// were saved, and learn what changed about them.
    pub(super) fn follow(&mut self, snapshot: &Snapshot, now: u32) {
        for pool in snapshot.pools.iter().filter(|pool| pool.sticky.is_some()) {
            let name = name_hash(&pool.name);
            let sessions = &pool.state.sessions;
            if let Some(sticky) = &pool.sticky {
                sessions.set_idle(sticky.longest(), now);
            }
            if self.known.insert(name)
                && let Some(saved) = self.saved.remove(&name)
                && let Err(error) = sessions.restore(&saved, name, now)
            {
                let pool = &*pool.name;
                tracing::warn!(pool, %error, "saved sessions cannot be used");
            }
        }
    }

    /// From now on all sessions of backends that drain are counted, and none is estimated.
    pub(super) fn track(snapshot: &Snapshot) {
        for member in snapshot.pools.iter().flat_map(|pool| &pool.members) {
            if let Some(seat) = &member.seat {
                seat.track_in_full(member.backend.is_draining());
            }
        }
    }

    /// Gives room to tables that fill up faster than they are swept (`now`: Unix seconds).
    pub(super) fn pulse(snapshot: &Snapshot, now: u32) {
        for pool in snapshot.pools.iter().filter(|pool| pool.state.sessions.wants_sweep()) {
            pool.state.sessions.sweep(now);
        }
    }

    /// Once a second (`now`: Unix seconds).
    pub(super) fn tick(&mut self, snapshot: &Snapshot, now: u32) {
        for pool in snapshot.pools.iter().filter(|pool| pool.sticky.is_some()) {
            pool.state.sessions.sweep(now);
            self.allow_moves(pool, now);
        }
        Self::track(snapshot);
        for pool in &snapshot.pools {
            self.tell_drained(pool, now);
        }
        if Instant::now() >= self.next_save {
            self.save(snapshot, false, now);
        }
    }

    /// Writes the counts. `clean`: nothing will be served after it, so that they are complete for
    /// who reads them.
    pub(super) fn save(&mut self, snapshot: &Snapshot, clean: bool, now: u32) {
        if self.state.path().is_none() {
            return;
        }
        let mut bytes = MAGIC.to_vec();
        for pool in snapshot.pools.iter().filter(|pool| pool.sticky.is_some()) {
            let name = name_hash(&pool.name);
            let section = pool.state.sessions.save(name, clean, now);
            bytes.extend_from_slice(&name.to_le_bytes());
            let length = u64::try_from(section.len()).unwrap_or(0);
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&section);
        }
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.next_save = Instant::now() + SAVE_EVERY.max(Duration::from_secs(size / SAVE_RATE));
        if let Err(error) = self.state.replace(FILE, &bytes, clean) {
            tracing::warn!(%error, "sessions cannot be saved");
        }
    }

    /// How many sessions may be moved in the period that begins, to even out the pool.
    fn allow_moves(&mut self, pool: &Pool, now: u32) {
        let Some(rebalance) = pool.rebalance else { return };
        let due = self.periods.get(&pool.name).is_none_or(|began| began.elapsed() >= rebalance.per);
        if due {
            self.periods.insert(Arc::clone(&pool.name), Instant::now());
            let sessions = pool.state.sessions.total(now).sessions;
            let moves = sessions.saturating_mul(u64::from(rebalance.percent)).div_ceil(100);
            pool.state.allow_moves(u32::try_from(moves).unwrap_or(u32::MAX));
        }
    }

    /// A drain that has come to its end is told of once.
    fn tell_drained(&mut self, pool: &Pool, now: u32) {
        for member in &pool.members {
            let backend = &member.backend;
            let name = (Arc::clone(&pool.name), Arc::clone(&backend.id));
            if !backend.is_draining() || !pool.is_drained(member, now) {
                self.told.remove(&name);
                continue;
            }
            if self.told.insert(name) {
                let (pool, id) = (&*pool.name, &*backend.id);
                let moved = backend.state.drain.moved();
                tracing::info!(event = "drained", pool, backend = id, moved, "backend is drained");
            }
        }
    }
}

/// The sections of a file by the hash of their pool's name; none of what is no such file.
fn sections(bytes: &[u8]) -> Option<HashMap<u64, Vec<u8>>> {
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let mut sections = HashMap::new();
    while !rest.is_empty() {
        let (name, after) = rest.split_first_chunk()?;
        let (length, after) = after.split_first_chunk()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (section, after) = after.split_at_checked(length)?;
        sections.insert(u64::from_le_bytes(*name), section.to_vec());
        rest = after;
    }
    Some(sections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_cut_or_of_another_kind_has_no_sections() {
        let mut file = MAGIC.to_vec();
        file.extend_from_slice(&7_u64.to_le_bytes());
        file.extend_from_slice(&3_u64.to_le_bytes());
        file.extend_from_slice(b"abc");
        assert_eq!(sections(&file).unwrap()[&7], b"abc");
        assert!(sections(MAGIC).unwrap().is_empty());
        for end in MAGIC.len() + 1..file.len() {
            assert!(sections(&file[..end]).is_none(), "{end}");
        }
        assert!(sections(b"").is_none());
    }
}
