//! Who else keeps its state in our folder: a lock on a file in it, held while we serve.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::Mutex;

use super::state::StateDir;
use crate::admin::facts::lock;

const FILE: &str = "lock";
/// Bytes of the file that are read: a process id is shorter.
const MOST: usize = 32;
/// What two processes in one folder come to.
const CAUSE: &str = "each overwrites the marks, session counts and last good file of the other";
/// What can be done about it.
const REMEDY: &str = "give each a folder of its own by [runtime] state_dir, or stop one of them";

/// Another process that has the folder: `pid 812`.
type Rival = Mutex<Option<String>>;

/// Our claim on the state folder. It ends with the process, however that ends.
#[derive(Debug)]
pub(super) struct Claim {
    folder: PathBuf,
    /// What is locked as long as it is open; none where there is no folder, no way to lock it, or
    /// where we are about to end.
    file: Option<File>,
    /// Another process has it; that was told.
    taken: bool,
}

/// What an attempt has come to.
enum Tried {
    Held,
    /// By whom.
    Taken(String),
}

impl Claim {
    /// Claims the folder. A living process that has it already, and is not about to end, is told of
    /// once in the log, and is the `rival` until it ends.
    pub(super) fn on(state: &StateDir, rival: &Rival) -> Self {
        let Some(folder) = state.path() else {
            return Self { folder: PathBuf::new(), file: None, taken: false };
        };
        let mut claim = Self { folder: folder.to_owned(), file: None, taken: false };
        let opened = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(folder.join(FILE));
        match opened.and_then(|file| Ok((attempt(&file)?, file))) {
            Ok((Tried::Held, file)) => claim.file = Some(file),
            Ok((Tried::Taken(other), file)) => {
                let state_dir = folder.display();
                tracing::warn!(
                    event = "state_dir_shared",
                    %state_dir,
                    rival = other,
                    cause = CAUSE,
                    "another process keeps its state in the same folder: {REMEDY}"
                );
                *lock(rival) = Some(other);
                claim.file = Some(file);
                claim.taken = true;
            }
            Err(error) => {
                let state_dir = folder.display();
                tracing::warn!(
                    %state_dir,
                    %error,
                    "whether another process keeps its state in the same folder cannot be known"
                );
            }
        }
        claim
    }

    /// Looks whether the other process has ended.
    pub(super) fn look(&mut self, rival: &Rival) {
        let Some(file) = self.file.as_ref().filter(|_| self.taken) else { return };
        match attempt(file) {
            Ok(Tried::Held) => {
                let state_dir = self.folder.display();
                tracing::info!(event = "state_dir_alone", %state_dir, "the state folder is ours");
                *lock(rival) = None;
                self.taken = false;
            }
            // It may be yet another one by now.
            Ok(Tried::Taken(other)) => *lock(rival) = Some(other),
            Err(_) => {}
        }
    }

    /// Lets whoever comes next have it: we are about to end.
    pub(super) fn give_up(&mut self) {
        self.file = None;
    }
}

/// Takes the lock, and writes down whose it is.
fn attempt(file: &File) -> io::Result<Tried> {
    match file.try_lock() {
        Ok(()) => {
            let ours = format!("{}\n", std::process::id());
            // On a full disk the lock holds all the same.
            let _ = file.set_len(0).and_then(|()| file.write_all_at(ours.as_bytes(), 0));
            Ok(Tried::Held)
        }
        Err(TryLockError::WouldBlock) => {
            let mut text = [0; MOST];
            let length = file.read_at(&mut text, 0).unwrap_or_default();
            let text = String::from_utf8_lossy(text.get(..length).unwrap_or_default());
            // It writes its number down a moment after it has the lock.
            let rival = match text.trim().parse::<u32>() {
                Ok(pid) => format!("pid {pid}"),
                Err(_) => "a process that has not said its number yet".to_owned(),
            };
            Ok(Tried::Taken(rival))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::state::tests::at;
    use super::*;

    #[test]
    fn whoever_comes_second_learns_of_the_first_until_that_gives_up_or_ends() {
        let folder = tempfile::tempdir().unwrap();
        let state = at(folder.path());
        let claimed = || {
            let rival = Rival::default();
            (Claim::on(&state, &rival), rival)
        };
        let told = |rival: &Rival| lock(rival).clone();
        let us = Some(format!("pid {}", std::process::id()));
        let (mut one, first) = claimed();
        assert_eq!(told(&first), None);
        let written = fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert_eq!(written, format!("{}\n", std::process::id()));
        let (mut two, second) = claimed();
        two.look(&second);
        assert_eq!(told(&second), us);
        one.give_up();
        one.look(&first);
        two.look(&second);
        assert_eq!(told(&second), None);
        assert_eq!(told(&claimed().1), us);
        drop(two);
        assert_eq!(told(&claimed().1), None);
    }

    #[test]
    fn without_a_folder_nothing_is_claimed() {
        let rival = Rival::default();
        let mut claim = Claim::on(&StateDir::none(), &rival);
        claim.look(&rival);
        assert!(claim.file.is_none() && lock(&rival).is_none());
    }
}
