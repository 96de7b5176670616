//! Whether there can be an access log where the file wants it, and what is wrong if not.

use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::{Access, access};

use crate::config::Mistake;
use crate::config::model::{Log, LogTarget};

/// What opening the log would come to. Nothing is opened or made.
pub fn look(log: &Log) -> Option<(Mistake, io::ErrorKind)> {
    let LogTarget::File(path) = &log.to else { return None };
    let error = try_out(path).err()?;
    Some((unusable(log, &error), error.kind()))
}

/// What is wrong with the log's place, by the error of opening it.
pub fn unusable(log: &Log, error: &io::Error) -> Mistake {
    let place = Some(log.to_place.span.clone()).filter(|span| !span.is_empty());
    let path = match &log.to {
        LogTarget::Stdout => Path::new("stdout"),
        LogTarget::Stderr => Path::new("stderr"),
        LogTarget::File(path) => path,
    };
    let above = path.parent().unwrap_or_else(|| Path::new("/")).display();
    let (what, hint) = match error.kind() {
        io::ErrorKind::NotFound => {
            (format!("there is no folder {above}"), format!("`mkdir -p {above}`, or name another"))
        }
        io::ErrorKind::IsADirectory => {
            ("it is a folder".to_owned(), "name a file in it".to_owned())
        }
        _ => (error.to_string(), "it must be a file that this user can write or make".to_owned()),
    };
    let message = format!("the access log {} cannot be opened: {what}", path.display());
    let mut mistake = Mistake::error(message, place);
    mistake.hint(hint);
    mistake
}

fn try_out(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(facts) if facts.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => Ok(access(path, Access::WRITE_OK)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let above = path.parent().unwrap_or_else(|| Path::new("/"));
            Ok(access(above, Access::WRITE_OK | Access::EXEC_OK)?)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AccessLog, LogTarget};
    use super::*;
    use crate::config::model::{Place, QueryPolicy};

    #[test]
    fn a_look_finds_what_opening_would_and_makes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        fs::create_dir(folder.path().join("folder")).unwrap();
        let log = |name: &str| Log {
            level: "info".to_owned(),
            access: true,
            to: LogTarget::File(folder.path().join(name)),
            to_place: Place { span: 3..9 },
            query: QueryPolicy::Redact,
        };
        for wrong in ["no/access.log", "folder", "file/access.log"] {
            let log = log(wrong);
            let (mistake, kind) = look(&log).unwrap();
            let error = AccessLog::start(log.to.clone(), log.query).unwrap_err();
            assert_eq!((kind, &mistake), (error.kind(), &unusable(&log, &error)), "{wrong}");
            assert_eq!(mistake.place, Some(3..9));
        }
        assert!(look(&log("file")).is_none() && look(&log("new")).is_none());
        assert!(!folder.path().join("new").exists());
    }
}
