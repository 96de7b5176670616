//! What the admin pages read: facts that the control thread keeps up to date.

use std::collections::VecDeque;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::Loaded;
use crate::config::model::AdminState;
use crate::event::{Then, Tunnels};
use crate::health::Checks;
use crate::snapshot::Current;
use crate::snapshot::registry::Registry;
use crate::telemetry::{AccessLog, PerWorker, WorkerCounters};

/// Everything that status, metrics and probes are made of. Lives as long as the process; only the
/// control thread locks and writes here.
#[derive(Debug)]
pub struct Facts {
    /// The snapshot in force, with verdicts, marks and in-flight counts of its backends.
    pub current: Arc<Current>,
    /// Counters, of what has just left the file too.
    pub registry: Arc<Mutex<Registry>>,
    /// The configuration in force, as it was read.
    pub loaded: Mutex<Arc<Loaded>>,
    /// How loading went.
    pub reloads: Mutex<ReloadStatus>,
    /// Marks in force, by pool, backend and kind; those of backends not in the file too.
    pub marks: Mutex<Vec<Mark>>,
    /// Names that stand for backends, and what DNS tells of them.
    pub discovered: Mutex<Vec<Discovered>>,
    /// Marks that were lifted or have ended, the last ones only, for whoever waits for one of them.
    pub lifted: Mutex<VecDeque<Lifted>>,
    /// Starting, serving or stopping.
    pub phase: AtomicPhase,
    /// When the process started.
    pub started: Timestamp,
    /// Name of this node.
    pub node: String,
    /// Addresses that are accepted on; empty until the listeners open.
    pub bound: Mutex<Vec<BoundListener>>,
    /// Where metrics are served, if they are.
    pub metrics_bound: Option<SocketAddr>,
    /// Where the API is served over TCP, if it is.
    pub admin_bound: Option<SocketAddr>,
    /// Counts of the active checks.
    pub checks: Arc<Checks>,
    /// The access log, if there is one.
    pub access_log: Option<AccessLog>,
    /// One block for each worker.
    pub workers: Arc<PerWorker<WorkerCounters>>,
    /// The file that was named, to tell whether it differs from what is in force.
    pub file: DiskFile,
    /// Where keys and marks are kept; `None`: nowhere.
    pub state_dir: Option<PathBuf>,
    /// Who had the state folder before us, and has it still: `pid 812`.
    pub state_dir_rival: Mutex<Option<String>>,
}

impl Facts {
    /// The configuration in force, as it was read.
    pub fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&lock(&self.loaded))
    }

    /// How loading went.
    pub fn reloads(&self) -> ReloadStatus {
        lock(&self.reloads).clone()
    }

    /// Marks in force.
    pub fn marks(&self) -> Vec<Mark> {
        lock(&self.marks).clone()
    }

    /// Names that stand for backends.
    pub fn discovered(&self) -> Vec<Discovered> {
        lock(&self.discovered).clone()
    }

    /// Remembers who has lifted the marks of a backend.
    pub fn note_lifted(&self, lifted: Lifted) {
        let mut all = lock(&self.lifted);
        if all.len() >= MOST_LIFTED {
            all.pop_front();
        }
        all.push_back(lifted);
    }

    /// Addresses that are accepted on.
    pub fn bound(&self) -> Vec<BoundListener> {
        lock(&self.bound).clone()
    }

    /// Whether the file on disk is not what is in force; `None` where there is no file (demo and
    /// proxy). A file that cannot be read differs.
    pub fn file_differs(&self) -> Option<bool> {
        let hash = lock(&self.loaded).source.hash;
        self.file.hash().map(|disk| disk != Some(hash))
    }

    /// Access lines that were lost.
    pub fn access_log_dropped(&self) -> u64 {
        self.access_log.as_ref().map_or(0, AccessLog::dropped)
    }
}

/// Locks, whoever panicked while holding it: all that is kept here is replaced as a whole.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How loading the configuration went.
#[derive(Debug, Clone, Serialize)]
pub struct ReloadStatus {
    /// When the configuration in force was applied.
    pub applied_at: Timestamp,
    /// Who had it applied: `start`, `SIGHUP`, `uid 0 pid 812`, `file watch`.
    pub applied_by: String,
    /// Whether the last attempt succeeded.
    pub last_success: bool,
    /// When the last attempt was, the start included.
    pub last_at: Timestamp,
    /// Who made the last attempt.
    pub last_by: String,
    /// Why the last attempt failed: its mistakes, rendered.
    pub last_problem: Option<String>,
    /// Attempts that succeeded; the start is none.
    pub succeeded: u64,
    /// Attempts that failed.
    pub failed: u64,
}

impl ReloadStatus {
    /// After a start that succeeded.
    pub fn started(now: Timestamp) -> Self {
        Self {
            applied_at: now,
            applied_by: "start".to_owned(),
            last_success: true,
            last_at: now,
            last_by: "start".to_owned(),
            last_problem: None,
            succeeded: 0,
            failed: 0,
        }
    }
}

/// A listener and where it is reached, with what port 0 became.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BoundListener {
    /// Its configured name.
    pub name: String,
    /// An address; a listener with several has several entries.
    pub address: SocketAddr,
}

/// An operator's live override of one thing about one backend. State and weight are marked
/// independently: a backend can have one mark of each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Pool of the backend.
    pub pool: String,
    /// Its id.
    pub backend: String,
    /// What it says: a member `state` or a member `weight`.
    #[serde(flatten)]
    pub says: MarkWord,
    /// Who set it, as in the audit log.
    pub who: String,
    /// When it was set.
    pub when: Timestamp,
    /// Why, in the operator's words.
    #[serde(default)]
    pub why: Option<String>,
    /// When it ends by itself.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// Whether the file in force has this backend; kept all the same where it has not.
    #[serde(default)]
    pub in_file: bool,
    /// How the backend is drained, where it says so.
    #[serde(default)]
    pub drain: Option<DrainTerms>,
}

/// How a backend is drained: a plan whose times have begun to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainTerms {
    /// When those still bound have to go; `None`: when they have gone by themselves.
    pub deadline: Option<Timestamp>,
    /// Whoever was quiet for so many seconds is moved at the next request.
    pub quiet_seconds: Option<u32>,
    /// What the deadline does.
    pub then: Then,
    /// What happens to tunnels before it.
    pub tunnels: Tunnels,
}

/// A name that stands for backends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discovered {
    /// Pool that has its backends.
    pub pool: String,
    /// As the file has it.
    pub name: String,
    /// Backends of its last good answer.
    pub backends: usize,
    /// Backends that the answer has no more and that finish what is bound to them.
    pub leaving: usize,
    /// How many more the answer had than are taken.
    pub left_out: usize,
    /// When it had a good answer; none: not since the start.
    pub answered: Option<Timestamp>,
    /// Why it has none now; what was known is kept.
    pub problem: Option<String>,
}

/// A mark that was lifted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifted {
    /// Pool of the backend.
    pub pool: String,
    /// Its id.
    pub backend: String,
    /// Who lifted it, as in the audit log.
    pub who: String,
    /// When.
    pub when: Timestamp,
}

/// Marks that were lifted and are remembered.
const MOST_LIFTED: usize = 64;

/// What a mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MarkWord {
    /// This state, whatever the file says.
    State(AdminState),
    /// This weight, whatever the file says.
    Weight(u32),
}

/// Where the process stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Listeners are not open yet: first checks run.
    Starting,
    /// Traffic is served.
    Serving,
    /// Not ready any more; draining after `stop_delay`.
    Stopping,
}

/// A phase for all threads to read.
#[derive(Debug)]
pub struct AtomicPhase(AtomicU8);

impl AtomicPhase {
    /// In this phase.
    pub fn new(phase: Phase) -> Self {
        Self(AtomicU8::new(code(phase)))
    }

    /// The phase now.
    pub fn get(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Serving,
            _ => Phase::Stopping,
        }
    }

    /// Enters a phase.
    pub fn set(&self, phase: Phase) {
        self.0.store(code(phase), Ordering::Release);
    }
}

fn code(phase: Phase) -> u8 {
    match phase {
        Phase::Starting => 0,
        Phase::Serving => 1,
        Phase::Stopping => 2,
    }
}

/// A file on disk whose content is compared by hash and read again only when it was touched.
#[derive(Debug)]
pub struct DiskFile {
    path: Option<PathBuf>,
    seen: Mutex<Option<(Stamp, u64)>>,
}

/// Inode, length, and time of last change in seconds and nanoseconds.
type Stamp = (u64, u64, i64, i64);

impl DiskFile {
    /// `None` where the configuration came from no file.
    pub fn new(path: Option<PathBuf>) -> Self {
        Self { path, seen: Mutex::new(None) }
    }

    /// The file, as the operator named it.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Hash of the content in the way of `config::Source::hash`. `None`: there is no file to be
    /// read at all; `Some(None)`: it cannot be read.
    pub fn hash(&self) -> Option<Option<u64>> {
        let path = self.path.as_deref()?;
        let mut seen = lock(&self.seen);
        let read = || {
            let facts = fs::metadata(path).ok()?;
            let stamp = (facts.ino(), facts.len(), facts.ctime(), facts.ctime_nsec());
            match *seen {
                // A file system with coarse times hides a second change in the same tick.
                Some((known, hash)) if known == stamp && settled(stamp) => Some((stamp, hash)),
                _ if facts.len() > crate::config::defaults::MAX_FILE => None,
                _ => Some((stamp, xxhash_rust::xxh3::xxh3_64(&fs::read(path).ok()?))),
            }
        };
        let now = read();
        *seen = now;
        Some(now.map(|(_, hash)| hash))
    }
}

/// Whether the last change is more than two seconds ago.
fn settled((_, _, changed, _): Stamp) -> bool {
    Timestamp::now().as_second().saturating_sub(changed) > 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_written_with_one_member_for_what_it_says() {
        let text = r#"{"pool":"shop","backend":"a","weight":5,"who":"uid 0 pid 1",
            "when":"2026-11-24T10:00:00Z","why":"load test"}"#;
        let mark: Mark = serde_json::from_str(text).unwrap();
        assert_eq!(mark.says, MarkWord::Weight(5));
        assert_eq!((mark.until, mark.in_file, mark.drain), (None, false, None));
        let drain = Mark { says: MarkWord::State(AdminState::Drain), ..mark };
        let json = serde_json::to_value(&drain).unwrap();
        assert_eq!(json.get("state").unwrap(), "drain");
        assert_eq!(json.get("weight"), None);
        assert_eq!(serde_json::from_value::<Mark>(json).unwrap(), drain);
    }

    #[test]
    fn a_phase_comes_out_as_it_went_in() {
        let phase = AtomicPhase::new(Phase::Starting);
        for next in [Phase::Starting, Phase::Serving, Phase::Stopping] {
            phase.set(next);
            assert_eq!(phase.get(), next);
        }
    }

    #[test]
    fn a_file_is_told_from_another_content_of_the_same_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ostler.toml");
        let file = DiskFile::new(Some(path.clone()));
        assert_eq!(file.hash(), Some(None));
        fs::write(&path, "one").unwrap();
        let one = file.hash().flatten().unwrap();
        assert_eq!(one, xxhash_rust::xxh3::xxh3_64(b"one"));
        fs::write(&path, "two").unwrap();
        assert_ne!(file.hash().flatten().unwrap(), one);
        assert_eq!(DiskFile::new(None).hash(), None);
    }
}
