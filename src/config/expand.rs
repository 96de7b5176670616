//! `${NAME}`, `${NAME:-default}`, `${file:PATH}` and `$${` in a string.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::defaults::MAX_EXPANDED_FILE;

/// What a file's `${…}` may ask of the world; tests bring their own.
pub trait Environment {
    /// An environment variable, if it is set to text.
    fn variable(&self, name: &str) -> Option<String>;
    /// A file's text and its permission bits.
    ///
    /// # Errors
    /// Where it cannot be read, is no text, or is longer than `MAX_EXPANDED_FILE`.
    fn file(&self, path: &Path) -> io::Result<FileContent>;
}

/// A file that was taken in.
#[derive(Debug, Clone)]
pub struct FileContent {
    /// Its text, as it stands.
    pub text: String,
    /// Permission bits.
    pub mode: u32,
}

/// The environment of this process, and the files of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &Path) -> io::Result<FileContent> {
        let file = std::fs::File::open(path)?;
        let mode = mode_of(&file.metadata()?);
        let mut text = String::new();
        file.take(MAX_EXPANDED_FILE + 1).read_to_string(&mut text)?;
        if u64::try_from(text.len()).is_ok_and(|len| len > MAX_EXPANDED_FILE) {
            return Err(io::Error::other(format!("it is longer than {MAX_EXPANDED_FILE} bytes")));
        }
        Ok(FileContent { text, mode })
    }
}

#[cfg(unix)]
fn mode_of(metadata: &std::fs::Metadata) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777
}

#[cfg(not(unix))]
fn mode_of(_: &std::fs::Metadata) -> u32 {
    0o600
}

/// Variables and files that somebody made up.
#[derive(Debug, Clone, Default)]
pub struct FixedEnvironment {
    /// Variables by name.
    pub variables: BTreeMap<String, String>,
    /// Files by path.
    pub files: BTreeMap<PathBuf, FileContent>,
}

impl Environment for FixedEnvironment {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn file(&self, path: &Path) -> io::Result<FileContent> {
        self.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Why a string could not be expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExpandError {
    /// What is wrong.
    pub(crate) message: String,
    /// What to do.
    pub(crate) hint: String,
}

/// Where `${…}` looks.
pub(crate) struct Expander<'a> {
    /// Variables and files.
    pub(crate) environment: &'a dyn Environment,
    /// Folder where relative paths start.
    pub(crate) base: &'a Path,
}

impl Expander<'_> {
    /// The string with all its `${…}` replaced. A secret's files must be readable by nobody else.
    pub(crate) fn expand(&self, text: &str, secret: bool) -> Result<String, ExpandError> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, after) = rest.split_at(at);
            let inner = after.strip_prefix("${").unwrap_or_default();
            if let Some(literal) = before.strip_suffix('$') {
                out.push_str(literal);
                out.push_str("${");
                rest = inner;
                continue;
            }
            out.push_str(before);
            let Some((name, tail)) = inner.split_once('}') else {
                return Err(ExpandError {
                    message: "`${` without `}`".into(),
                    hint: "close it, or write `$${` for the characters themselves".into(),
                });
            };
            out.push_str(&self.value(name, secret)?);
            rest = tail;
        }
        out.push_str(rest);
        Ok(out)
    }

    fn value(&self, name: &str, secret: bool) -> Result<String, ExpandError> {
        if let Some(path) = name.strip_prefix("file:") {
            return self.file(&self.base.join(path), secret);
        }
        let (name, default) = match name.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (name, None),
        };
        let legal = |(at, c): (usize, char)| {
            c == '_' || c.is_ascii_alphabetic() || (at > 0 && c.is_ascii_digit())
        };
        if name.is_empty() || !name.chars().enumerate().all(legal) {
            return Err(ExpandError {
                message: format!("`{name}` cannot name an environment variable"),
                hint: "write `${NAME}`, `${NAME:-default}`, `${file:PATH}`, or `$${` for the \
                       characters themselves"
                    .into(),
            });
        }
        let found = self.environment.variable(name);
        found.or_else(|| default.map(str::to_owned)).ok_or_else(|| ExpandError {
            message: format!("the environment variable {name} is not set"),
            hint: format!("set it, or write `${{{name}:-default}}`"),
        })
    }

    /// A file's trimmed text. A secret must be readable by nobody else.
    pub(crate) fn file(&self, path: &Path, secret: bool) -> Result<String, ExpandError> {
        let shown = path.display();
        let content = self.environment.file(path).map_err(|error| ExpandError {
            message: format!("cannot read {shown}: {error}"),
            hint: "the path is relative to the configuration file's folder".into(),
        })?;
        if secret && content.mode & 0o077 != 0 {
            return Err(ExpandError {
                message: format!("{shown} holds a key and can be read by others"),
                hint: format!("chmod 600 {shown}"),
            });
        }
        Ok(content.text.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> Result<String, ExpandError> {
        let mut environment = FixedEnvironment::default();
        environment.variables.insert("NAME".into(), "value".into());
        let file = FileContent { text: " key\n".into(), mode: 0o644 };
        environment.files.insert("/etc/ostler/a.key".into(), file);
        Expander { environment: &environment, base: Path::new("/etc/ostler") }
            .expand(text, text.contains("secret"))
    }

    #[test]
    fn variables_defaults_files_and_literals_expand() {
        assert_eq!(expand("a ${NAME} b").unwrap(), "a value b");
        assert_eq!(expand("${OTHER:-x:-y}").unwrap(), "x:-y");
        assert_eq!(expand("${file:a.key}!").unwrap(), "key!");
        assert_eq!(expand("$${NAME} $5 $").unwrap(), "${NAME} $5 $");
    }

    #[test]
    fn what_cannot_be_found_is_named() {
        assert!(expand("${OTHER}").unwrap_err().message.contains("OTHER is not set"));
        assert!(expand("${NAME").unwrap_err().message.contains("without"));
        assert!(expand("${}").unwrap_err().message.contains("cannot name"));
        assert!(expand("${file:b}").unwrap_err().message.contains("/etc/ostler/b"));
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        assert!(expand("secret ${file:a.key}").unwrap_err().message.contains("by others"));
    }
}
