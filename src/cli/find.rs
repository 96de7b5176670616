//! Which file is meant where none is named.

use std::path::{Path, PathBuf};

use super::fail::Fail;

const HERE: &str = "./ostler.toml";
const SYSTEM: &str = "/etc/ostler/ostler.toml";

/// The file to use: the one that was named, else the first of the default places that is there.
///
/// # Errors
/// None was named and none is there; the message names what was tried.
pub(super) fn configuration(named: Option<&Path>) -> Result<PathBuf, Fail> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    found().ok_or_else(|| Fail::refused(nothing(root(), Path::new(HERE).exists())))
}

/// The first of the default places that is there. Root reads no file of whatever folder it
/// happens to stand in.
pub(super) fn found() -> Option<PathBuf> {
    tried(root()).iter().map(PathBuf::from).find(|path| path.exists())
}

/// Why a running process may be somewhere else than where it was looked for. `named`: the file that
/// was named; `socket`: whether a socket was.
pub(super) fn doubt(named: Option<&Path>, socket: bool) -> Option<String> {
    let here = Path::new(HERE).exists();
    doubted(named.map(|file| (file, file.exists())), socket, root() && here)
}

fn doubted(named: Option<(&Path, bool)>, socket: bool, unused: bool) -> Option<String> {
    match named {
        _ if socket => None,
        Some((file, false)) => Some(format!("there is no file {}", file.display())),
        Some((_, true)) => None,
        None => unused.then(|| format!("as root {HERE} is not used unless it is named: -c {HERE}")),
    }
}

fn root() -> bool {
    rustix::process::geteuid().is_root()
}

fn tried(root: bool) -> &'static [&'static str] {
    if root { &[SYSTEM] } else { &[HERE, SYSTEM] }
}

fn nothing(root: bool, here: bool) -> String {
    let tried = tried(root).join(" and ");
    let but = if root && here {
        format!("; as root {HERE} is not used unless it is named: -c {HERE}")
    } else {
        "; name one with -c FILE, or try `ostler demo`".to_owned()
    };
    format!("no configuration: there is no {tried}{but}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_file_is_used_whether_it_is_there_or_not() {
        let named = configuration(Some(Path::new("/no/such.toml"))).unwrap();
        assert_eq!(named, Path::new("/no/such.toml"));
    }

    #[test]
    fn a_file_that_is_missing_or_not_used_is_told_where_nobody_answers() {
        let file = Path::new("gone.toml");
        let missing = doubted(Some((file, false)), false, true).unwrap();
        assert_eq!(missing, "there is no file gone.toml");
        assert_eq!(doubted(Some((file, true)), false, true), None);
        assert!(doubted(None, false, true).unwrap().ends_with("-c ./ostler.toml"));
        assert_eq!(doubted(None, false, false), None);
        assert_eq!(doubted(Some((file, false)), true, true), None, "the socket was named");
    }

    #[test]
    fn what_was_tried_is_named_in_one_line() {
        let text = nothing(false, false);
        assert!(text.contains(HERE) && text.contains(SYSTEM) && text.contains("-c FILE"));
        let text = nothing(true, true);
        assert!(text.contains(SYSTEM) && text.contains("-c ./ostler.toml"));
        assert_eq!(text.lines().count(), 1);
    }
}
