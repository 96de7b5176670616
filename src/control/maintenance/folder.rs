//! The maintenance folder: which backends its touch files drain, until when and why.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::fs::OFlags;

use crate::config::unit::Time;

/// Files that count, in one folder: more than anybody has backends at one hand.
const MOST_FILES: usize = 1_000;
/// Bytes of a file: a deadline and the longest of reasons, with room.
const MOST_BYTES: usize = 4_096;
/// Characters of a reason, as for every mark: it stands in one line of the status.
const MOST_REASON: usize = 500;
/// Characters of a name of a pool or of an id.
const MOST_NAME: usize = 64;

/// What a touch file drains.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// One backend of one pool.
    Backend {
        /// Name of the pool.
        pool: String,
        /// The backend's id.
        id: String,
    },
    /// Every backend at `IP`, `IP:PORT` or `[IPv6]:PORT`, in whatever pool; in its usual spelling.
    Address(String),
}

/// One touch file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Touched {
    /// What it drains.
    pub target: Target,
    /// When those left are moved, counted from the touch; `Some(None)`: never, because the file
    /// says `none`; `None`: the file does not say, so that the pool's own deadline holds.
    #[expect(clippy::option_option, reason = "not said, said to be none, and said are three")]
    pub deadline: Option<Option<Duration>>,
    /// Why, in one line of at most 500 characters.
    pub reason: Option<String>,
}

/// A file of the folder that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {message}")]
pub(super) struct Mistake {
    /// Name of the file; bytes that are no UTF-8 are replaced.
    pub name: String,
    /// What its name says, where that can be read: it is still there, so what it drains stays so.
    pub target: Option<Target>,
    /// What is wrong, and what to write instead.
    pub message: String,
}

/// What a folder says, by target and by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Folder {
    /// The touch files, each target once.
    pub touched: Vec<Touched>,
    /// What else lies there and should not.
    pub mistakes: Vec<Mistake>,
}

/// Reads the touch files of a folder. Hidden files, backups, READMEs and folders are passed over,
/// symbolic links are followed, and a file that goes meanwhile is gone.
///
/// # Errors
/// Where the folder cannot be listed, or holds more than 1,000 files. Then nothing is known, and
/// nothing may be lifted for it.
pub(super) fn read(folder: &Path) -> io::Result<Folder> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if passed_over(&name) {
            continue;
        }
        if names.len() == MOST_FILES {
            return Err(io::Error::other(format!("it holds more than {MOST_FILES} files")));
        }
        names.push(name);
    }
    names.sort();
    let mut by_target: BTreeMap<Target, (String, Touched)> = BTreeMap::new();
    let mut mistakes = Vec::new();
    for name in &names {
        match read_file(folder, name) {
            Ok(None) => {}
            Ok(Some(touched)) => {
                let name = name.to_string_lossy().into_owned();
                if let Some((first, _)) = by_target.get(&touched.target) {
                    let message = format!("it means the same as {first}, which goes before");
                    mistakes.push(Mistake { name, target: Some(touched.target), message });
                } else {
                    by_target.insert(touched.target.clone(), (name, touched));
                }
            }
            Err(mistake) => mistakes.push(mistake),
        }
    }
    let touched = by_target.into_values().map(|(_, touched)| touched).collect();
    Ok(Folder { touched, mistakes })
}

/// What one touch file says: its name is the target, its content an optional deadline and reason.
///
/// # Errors
/// Where the name has none of the forms, or the content is too long.
pub(super) fn parse(name: &str, content: &str) -> Result<Touched, Mistake> {
    let target = target(name).ok_or_else(|| {
        let forms = "POOL:ID, IP, IP:PORT and [IPv6]:PORT";
        mistake(name, None, format!("this names no backend; the forms are {forms}"))
    })?;
    if content.len() > MOST_BYTES {
        let message = format!("it has more than {MOST_BYTES} bytes");
        return Err(mistake(name, Some(target), message));
    }
    let between = |c: char| c.is_whitespace() || c.is_control();
    let mut words = content.split(between).filter(|word| !word.is_empty()).peekable();
    let deadline = words.peek().copied().and_then(duration);
    if deadline.is_some() {
        words.next();
    }
    let reason: Vec<&str> = words.collect();
    // Cut where a mark would be refused: who touches a file is not there to be told.
    let reason: String = reason.join(" ").chars().take(MOST_REASON).collect();
    Ok(Touched {
        target,
        deadline: deadline.map(|Time(deadline)| deadline),
        reason: (!reason.is_empty()).then_some(reason),
    })
}

/// The target that a name means. `10.0.0.1:80` is an address, though it could be a pool's name and
/// an id.
fn target(name: &str) -> Option<Target> {
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Some(Target::Address(ip.to_string()));
    }
    if let Ok(socket) = name.parse::<SocketAddr>() {
        return Some(Target::Address(socket.to_string()));
    }
    let (pool, id) = name.split_once(':')?;
    (is_name(pool) && is_name(id))
        .then(|| Target::Backend { pool: pool.to_owned(), id: id.to_owned() })
}

/// Whether a pool or a backend may be called so.
fn is_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    name.len() <= MOST_NAME
        && name.bytes().all(legal)
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
}

/// A word that is a duration or `none`.
fn duration(word: &str) -> Option<Time> {
    word.parse().ok()
}

/// What editors, packages and operators leave in such a folder and do not mean.
fn passed_over(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(b".")
        || name.ends_with(b"~")
        || name.ends_with(b".swp")
        || name.starts_with(b"README")
}

/// One file; `None` for a folder, and for what went meanwhile.
fn read_file(folder: &Path, name: &OsStr) -> Result<Option<Touched>, Mistake> {
    let text = name.to_string_lossy();
    let wrong = |message: String| mistake(&text, target(&text), message);
    let path = folder.join(name);
    let content = match content(&path) {
        Ok(Some(content)) => content,
        Ok(None) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A link that leads nowhere is still there.
            let is_link = fs::symlink_metadata(&path).is_ok();
            return if is_link {
                Err(wrong("the link leads nowhere".to_owned()))
            } else {
                Ok(None)
            };
        }
        Err(error) => return Err(wrong(format!("it cannot be read: {error}"))),
    };
    let Ok(content) = std::str::from_utf8(&content) else {
        return Err(wrong("its content is not UTF-8".to_owned()));
    };
    parse(&text, content).map(Some)
}

/// A regular file's first bytes, one more than it may have; `None` for a folder.
fn content(path: &Path) -> io::Result<Option<Vec<u8>>> {
    if fs::metadata(path)?.is_dir() {
        return Ok(None);
    }
    let file = open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let most = u64::try_from(MOST_BYTES).unwrap_or(u64::MAX);
    let mut content = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut content)?;
    Ok(Some(content))
}

/// Opens without waiting for the other end of a pipe.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn mistake(name: &str, target: Option<Target>, message: String) -> Mistake {
    Mistake { name: name.to_owned(), target, message }
}

#[cfg(test)]
mod tests;
