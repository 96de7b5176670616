//! Watches the folders of the file and of certificates, through symbolic links too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until};

use crate::admin::facts::lock;
use crate::event::{Event, Sender};
use crate::task;

/// A file is read so long after the last thing that happened in its folder…
const QUIET: Duration = Duration::from_millis(50);
/// …and at the latest so long after the first.
const PATIENCE: Duration = Duration::from_millis(500);
/// Links to links: more than anybody has, less than a circle.
const MOST_LINKS: usize = 16;

/// The folders that matter, and for what.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Folders {
    file: BTreeSet<PathBuf>,
    certificates: BTreeSet<PathBuf>,
}

/// Something happened in a folder.
#[derive(Debug, Clone, Copy)]
struct Notice {
    file: bool,
    certificates: bool,
    /// A file was closed after writing, or renamed: it is complete.
    complete: bool,
}

/// Watches while it lives.
#[derive(Debug)]
pub(super) struct Watcher {
    inner: RecommendedWatcher,
    folders: Arc<Mutex<Folders>>,
    /// Each with its device and inode: a folder that was made anew must be watched anew.
    watched: BTreeMap<PathBuf, (u64, u64)>,
}

impl Watcher {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// Where the system gives no watch.
    pub(super) fn new(events: Sender) -> notify::Result<Self> {
        let folders = Arc::new(Mutex::new(Folders::default()));
        let (tell, notices) = unbounded_channel();
        drop(task::spawn("watch", settle(notices, events)));
        let handler = handler(Arc::clone(&folders), tell);
        let inner = notify::recommended_watcher(handler)?;
        Ok(Self { inner, folders, watched: BTreeMap::new() })
    }

    /// Watches the folders of these files, and of what they link to, from now on. To be called
    /// again now and then: links change, and folders come back.
    pub(super) fn follow(&mut self, file: Option<&Path>, certificates: &[PathBuf]) {
        let mut wanted = Folders::default();
        if let Some(path) = file {
            add_folders(path, &mut wanted.file);
        }
        for path in certificates {
            add_folders(path, &mut wanted.certificates);
        }
        let identity = |folder: &PathBuf| {
            let facts = fs::metadata(folder).ok()?;
            Some((folder.clone(), (facts.dev(), facts.ino())))
        };
        let folders = wanted.file.union(&wanted.certificates);
        let all: BTreeMap<PathBuf, (u64, u64)> = folders.filter_map(identity).collect();
        *lock(&self.folders) = wanted;
        self.watched.retain(|folder, inode| {
            let stays = all.get(folder) == Some(&*inode);
            if !stays {
                // A folder that is no more is not watched any more either.
                let _ = self.inner.unwatch(folder);
            }
            stays
        });
        for (folder, inode) in all {
            if self.watched.contains_key(&folder) {
                continue;
            }
            match self.inner.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.watched.insert(folder, inode)),
                Err(error) => {
                    let folder = folder.display().to_string();
                    tracing::warn!(%error, folder, "a folder cannot be watched");
                }
            }
        }
    }
}

/// The real folders of a path and of all that it links to.
fn add_folders(path: &Path, folders: &mut BTreeSet<PathBuf>) {
    let Ok(mut path) = std::path::absolute(path) else { return };
    for _ in 0..MOST_LINKS {
        let Some(folder) = path.parent() else { return };
        // The folder as it is written matters too: a link among its parents may be swapped.
        if let Ok(real) = fs::canonicalize(folder) {
            folders.insert(real);
        }
        if let Ok(facts) = fs::symlink_metadata(folder)
            && facts.is_symlink()
            && let Some(holder) = folder.parent().and_then(|holder| fs::canonicalize(holder).ok())
        {
            folders.insert(holder);
        }
        match fs::read_link(&path) {
            Ok(target) => path = folder.join(target),
            Err(_) => return,
        }
    }
}

fn handler(
    folders: Arc<Mutex<Folders>>,
    tell: UnboundedSender<Notice>,
) -> impl FnMut(notify::Result<notify::Event>) + Send + 'static {
    move |event| {
        // An error (as of a full queue of the kernel) may hide anything: look at everything.
        let Ok(event) = event else {
            let _ = tell.send(Notice { file: true, certificates: true, complete: false });
            return;
        };
        let Some(complete) = meaning(event.kind) else { return };
        let folders = lock(&folders);
        let within = |set: &BTreeSet<PathBuf>| {
            event.paths.is_empty()
                || event.paths.iter().any(|path| {
                    set.contains(path) || path.parent().is_some_and(|folder| set.contains(folder))
                })
        };
        let (file, certificates) = (within(&folders.file), within(&folders.certificates));
        if file || certificates {
            // Nobody listens any more when the process ends.
            let _ = tell.send(Notice { file, certificates, complete });
        }
    }
}

/// Whether an event is of interest, and whether a file is complete with it. Reading, our own
/// included, is not.
fn meaning(kind: EventKind) -> Option<bool> {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Name(_)) => Some(true),
        EventKind::Access(_) => None,
        _ => Some(false),
    }
}

/// Collects what happens until it is worth a look.
#[derive(Debug, Default)]
struct Debounce {
    since: Option<(Instant, Instant)>,
}

impl Debounce {
    /// Takes in a notice; true: look now.
    fn notice(&mut self, now: Instant, complete: bool) -> bool {
        if complete {
            self.since = None;
        } else {
            let first = self.since.map_or(now, |(first, _)| first);
            self.since = Some((first, now));
        }
        complete
    }

    fn due(&self) -> Option<Instant> {
        self.since.map(|(first, last)| (last + QUIET).min(first + PATIENCE))
    }

    /// True: its time has come; look now.
    fn take(&mut self, now: Instant) -> bool {
        let due = self.due().is_some_and(|due| due <= now);
        if due {
            self.since = None;
        }
        due
    }
}

/// Turns notices into events.
async fn settle(mut notices: UnboundedReceiver<Notice>, events: Sender) {
    let (mut file, mut certificates) = (Debounce::default(), Debounce::default());
    loop {
        let due = [file.due(), certificates.due()].into_iter().flatten().min();
        let mut look = (false, false);
        let wait = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            notice = notices.recv() => {
                let Some(notice) = notice else { return };
                let now = Instant::now();
                look.0 = notice.file && file.notice(now, notice.complete);
                look.1 = notice.certificates && certificates.notice(now, notice.complete);
            }
            () = wait => {
                let now = Instant::now();
                look = (file.take(now), certificates.take(now));
            }
        }
        if look.0 && events.send(Event::FileChanged).await.is_err() {
            return;
        }
        if look.1 && events.send(Event::CertificatesChanged).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use notify::event::{CreateKind, RenameMode};

    use super::*;

    #[test]
    fn a_write_is_complete_when_closed_and_reading_is_no_change() {
        let close = |mode| EventKind::Access(AccessKind::Close(mode));
        assert_eq!(meaning(close(AccessMode::Write)), Some(true));
        assert_eq!(meaning(close(AccessMode::Read)), None);
        assert_eq!(meaning(EventKind::Access(AccessKind::Open(AccessMode::Any))), None);
        assert_eq!(meaning(EventKind::Modify(ModifyKind::Name(RenameMode::To))), Some(true));
        assert_eq!(meaning(EventKind::Create(CreateKind::File)), Some(false));
    }

    #[test]
    fn notices_wait_for_quiet_but_not_for_ever() {
        let mut debounce = Debounce::default();
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        assert!(!debounce.notice(at(0), false));
        assert_eq!(debounce.due(), Some(at(50)));
        assert!(!debounce.take(at(49)));
        for now in (40..=480).step_by(40) {
            assert!(!debounce.notice(at(now), false));
        }
        assert_eq!(debounce.due(), Some(at(500)));
        assert!(debounce.take(at(500)));
        assert_eq!(debounce.due(), None);
        debounce.notice(at(600), false);
        assert!(debounce.notice(at(601), true));
        assert_eq!(debounce.due(), None);
    }

    #[test]
    fn the_folders_behind_links_are_watched_too() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        // As Kubernetes mounts a secret.
        fs::create_dir_all(root.join("tls/..one")).unwrap();
        fs::write(root.join("tls/..one/site.crt"), "").unwrap();
        symlink("..one", root.join("tls/..data")).unwrap();
        symlink("..data/site.crt", root.join("tls/site.crt")).unwrap();
        let mut folders = BTreeSet::new();
        add_folders(&root.join("tls/site.crt"), &mut folders);
        let expected = [root.join("tls"), root.join("tls/..one")];
        assert_eq!(folders.into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_circle_of_links_ends() {
        let folder = tempfile::tempdir().unwrap();
        symlink("b", folder.path().join("a")).unwrap();
        symlink("a", folder.path().join("b")).unwrap();
        let mut folders = BTreeSet::new();
        add_folders(&folder.path().join("a"), &mut folders);
        assert_eq!(folders.len(), 1);
    }

    #[test]
    fn a_file_replaced_by_a_rename_is_noticed() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("ostler.toml");
            fs::write(&path, "one").unwrap();
            let (events, mut received) = tokio::sync::mpsc::channel(8);
            let mut watcher = Watcher::new(events).unwrap();
            watcher.follow(Some(&path), &[]);
            fs::write(folder.path().join("new"), "two").unwrap();
            fs::rename(folder.path().join("new"), &path).unwrap();
            assert!(matches!(received.recv().await, Some(Event::FileChanged)));
        });
    }
}
