//! The folder for what must survive a restart: session key, marks, audit log, last good file.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::Access;

use crate::config::model::{Located, Model, SecretKey};
use crate::config::{Mistake, Place, Report};

/// Where the state is when nobody says otherwise.
const DEFAULT: &str = "/var/lib/ostler";
const KEY: &str = "session.key";
const LOSS: &str = "sessions and marks will not survive a restart";

/// The state folder, or nowhere.
#[derive(Debug, Clone, Default)]
pub struct StateDir {
    path: Option<PathBuf>,
}

impl StateDir {
    /// Nowhere: for the demo and the proxy, which write nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// What the file says, else `$STATE_DIRECTORY`, else `/var/lib/ostler` if it can be written,
    /// else none with a warning. A configured folder that cannot be used is an error.
    pub fn find(model: &Model, report: &mut Report) -> Self {
        if let Some(configured) = &model.runtime.state_dir {
            return match usable(configured) {
                Ok(()) => Self { path: Some(configured.value.clone()) },
                Err(error) => {
                    report.push(unusable(configured, &error));
                    Self::none()
                }
            };
        }
        // systemd separates several by colons; the first is the unit's main one.
        let given = std::env::var("STATE_DIRECTORY").ok();
        let given = given.as_deref().and_then(|list| list.split(':').next());
        let path = Path::new(given.filter(|path| !path.is_empty()).unwrap_or(DEFAULT));
        match usable(path) {
            Ok(()) => Self { path: Some(path.to_owned()) },
            Err(error) => {
                let path = path.display();
                report
                    .warning(format!("{LOSS}: {path} cannot be used: {error}"), &Place::default())
                    .hint("name a folder in [runtime] state_dir");
                Self::none()
            }
        }
    }

    /// The folder, if there is one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The session key kept here, made at the first call. Without a folder a new one each time.
    ///
    /// # Errors
    /// Where it cannot be read, made or used, and where others can read it.
    pub fn session_key(&self) -> Result<SecretKey, String> {
        let Some(folder) = &self.path else { return new_key() };
        let path = folder.join(KEY);
        let failed = |error: io::Error| format!("the session key {}: {error}", path.display());
        match fs::metadata(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let SecretKey(key) = new_key()?;
                self.create(KEY, STANDARD.encode(key).as_bytes()).map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
        }
        let mode = fs::metadata(&path).map_err(failed)?.permissions().mode() & 0o777;
        let name = path.display();
        if mode & 0o077 != 0 {
            return Err(format!(
                "others can read the session key {name} (mode {mode:04o}): run `chmod 600 {name}`"
            ));
        }
        let text = fs::read_to_string(&path).map_err(failed)?;
        let bytes = STANDARD.decode(text.trim_ascii()).ok().and_then(|key| key.try_into().ok());
        bytes.map(SecretKey).ok_or_else(|| {
            format!("the session key {name} is not 32 bytes in base64: remove it to have one made")
        })
    }

    /// A file's content; `None` where there is no file or no folder.
    ///
    /// # Errors
    /// Where it exists and cannot be read.
    pub fn read(&self, name: &str) -> io::Result<Option<String>> {
        let Some(folder) = &self.path else { return Ok(None) };
        match fs::read_to_string(folder.join(name)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// As [`StateDir::read`], for a file that is no text.
    ///
    /// # Errors
    /// Where it exists and cannot be read.
    pub fn read_bytes(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let Some(folder) = &self.path else { return Ok(None) };
        match fs::read(folder.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes a file that may not be there.
    ///
    /// # Errors
    /// Where it is there and stays.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        let Some(folder) = &self.path else { return Ok(()) };
        match fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Replaces a file as a whole, mode 0600, or does nothing without a folder. With `durable` it
    /// is on the disk when this returns.
    ///
    /// # Errors
    /// Where it cannot be written; then the file is what it was.
    pub fn replace(&self, name: &str, content: &[u8], durable: bool) -> io::Result<()> {
        let Some(folder) = &self.path else { return Ok(()) };
        let temporary = write_beside(folder, name, content, durable)?;
        fs::rename(temporary, folder.join(name))?;
        if durable { File::open(folder)?.sync_all() } else { Ok(()) }
    }

    /// Makes a file that is not there; somebody else's that came first is left alone.
    fn create(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let Some(folder) = &self.path else { return Ok(()) };
        let temporary = write_beside(folder, name, content, true)?;
        let linked = fs::hard_link(&temporary, folder.join(name));
        fs::remove_file(temporary)?;
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => File::open(folder)?.sync_all(),
        }
    }

    /// Adds a line to a file, mode 0600, or does nothing without a folder.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn append(&self, name: &str, line: &str) -> io::Result<()> {
        let Some(folder) = &self.path else { return Ok(()) };
        let mut file =
            OpenOptions::new().create(true).append(true).mode(0o600).open(folder.join(name))?;
        file.write_all(format!("{line}\n").as_bytes())
    }

    /// Moves a file that cannot be used out of the way, for somebody to look at.
    pub(super) fn set_aside(&self, name: &str) -> io::Result<()> {
        let Some(folder) = &self.path else { return Ok(()) };
        fs::rename(folder.join(name), folder.join(format!("{name}.broken")))
    }
}

fn write_beside(folder: &Path, name: &str, content: &[u8], durable: bool) -> io::Result<PathBuf> {
    let temporary = folder.join(format!(".{name}.{}", std::process::id()));
    // One that a killed process of the same number has left behind.
    let _ = fs::remove_file(&temporary);
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&temporary)?;
    // Whatever the umask was.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(content)?;
    if durable {
        file.sync_all()?;
    }
    Ok(temporary)
}

/// What is wrong with a folder that the file names.
fn unusable(folder: &Located<PathBuf>, error: &io::Error) -> Mistake {
    let path = folder.value.display();
    let above = folder.value.parent().unwrap_or_else(|| Path::new("/")).display();
    let (what, hint) = match error.kind() {
        io::ErrorKind::NotFound => (
            format!("there is no {above} in which it could be made"),
            format!("`mkdir -p {above}`, or name another folder"),
        ),
        io::ErrorKind::NotADirectory => {
            ("it is no folder".to_owned(), "name another one".to_owned())
        }
        _ => (
            error.to_string(),
            "it must be a folder that this user can write, or one can be made".to_owned(),
        ),
    };
    let message = format!("the state folder {path} cannot be used: {what}");
    let place = Some(folder.place.span.clone()).filter(|span| !span.is_empty());
    let mut mistake = Mistake::error(message, place);
    mistake.hint(hint);
    mistake
}

/// What a start would find wrong with the folder that the file names. Nothing is made.
pub(super) fn look(model: &Model) -> Option<(Mistake, io::ErrorKind)> {
    let folder = model.runtime.state_dir.as_ref()?;
    let error = usable_or(folder, would_be_made).err()?;
    Some((unusable(folder, &error), error.kind()))
}

/// Makes the folder where its parent allows, and looks whether it can be written.
fn usable(path: &Path) -> io::Result<()> {
    usable_or(path, |path| {
        DirBuilder::new().mode(0o700).create(path)?;
        may_use(path)
    })
}

/// Whether the folder can be written, or what comes of `make` where there is none.
fn usable_or(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(facts) if !facts.is_dir() => Err(io::ErrorKind::NotADirectory.into()),
        Ok(_) => may_use(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path),
        Err(error) => Err(error),
    }
}

fn would_be_made(path: &Path) -> io::Result<()> {
    // What is relative was made absolute when the file was read.
    may_use(path.parent().unwrap_or_else(|| Path::new("/")))
}

fn may_use(folder: &Path) -> io::Result<()> {
    Ok(rustix::fs::access(folder, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)?)
}

fn new_key() -> Result<SecretKey, String> {
    let mut key = [0; 32];
    let filled = SystemRandom::new().fill(&mut key);
    filled.map_err(|_| "the system gives no randomness for a session key".to_owned())?;
    Ok(SecretKey(key))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::control) fn at(folder: &Path) -> StateDir {
        StateDir { path: Some(folder.to_owned()) }
    }

    #[test]
    fn the_session_key_is_made_once_and_only_we_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let state = at(folder.path());
        let key = state.session_key().unwrap();
        assert!(state.session_key().unwrap() == key);
        let path = folder.path().join(KEY);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(state.session_key().unwrap_err().contains("chmod 600"));
    }

    #[test]
    fn a_key_that_is_none_is_refused_and_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let state = at(folder.path());
        state.replace(KEY, b"nonsense", false).unwrap();
        assert!(state.session_key().unwrap_err().contains("not 32 bytes"));
        assert_eq!(state.read(KEY).unwrap().unwrap(), "nonsense");
    }

    #[test]
    fn nothing_is_written_nowhere() {
        let state = StateDir::none();
        state.replace("x", b"y", true).unwrap();
        state.append("x", "y").unwrap();
        assert_eq!(state.read("x").unwrap(), None);
        assert!(state.session_key().unwrap() != state.session_key().unwrap());
    }

    #[test]
    fn a_folder_is_made_where_its_parent_is_and_a_file_is_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        assert!(usable(&folder.path().join("state")).is_ok());
        fs::write(folder.path().join("file"), "").unwrap();
        for wrong in ["no/state", "file", "file/state"] {
            let path = folder.path().join(wrong);
            let error = usable(&path).unwrap_err();
            // A look finds the same, and makes nothing.
            assert_eq!(
                usable_or(&path, would_be_made).unwrap_err().kind(),
                error.kind(),
                "{wrong}"
            );
            let message = unusable(&Located::nowhere(path), &error).message;
            assert!(!message.contains("os error"), "{message}");
        }
        let path = folder.path().join("other");
        assert!(usable_or(&path, would_be_made).is_ok() && !path.exists());
    }
}
