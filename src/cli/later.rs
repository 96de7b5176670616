//! Mistakes on the command line, and what belongs to a later version.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::fail::{DONE, NO_PROCESS, USAGE};

/// Commands of later versions.
const COMMANDS: &[&str] = &[
    "errors",
    "tail",
    "plan",
    "apply",
    "rollback",
    "upgrade",
    "top",
    "log-level",
    "completions",
    "man",
];
/// Says what is wrong with the command line, or what help was asked for.
pub(super) fn report(error: &clap::Error, words: &[OsString]) -> ExitCode {
    match later(error)
        .map(|word| format!("`{word}` is not in this version"))
        .or_else(|| file(error))
    {
        Some(what) => {
            let _ = writeln!(io::stderr(), "error: {what}");
        }
        // Where it cannot be written the exit code is all that can be told.
        None => drop(error.print()),
    }
    ExitCode::from(code(error.use_stderr(), words))
}

/// A monitoring plug-in has a code of its own for this.
fn code(wrong: bool, words: &[OsString]) -> u8 {
    let has = |word: &str| words.iter().any(|it| it == word);
    match wrong {
        false => DONE,
        true if has("status") && has("--check") => NO_PROCESS,
        true => USAGE,
    }
}

/// A file that was named as other programs have it.
fn file(error: &clap::Error) -> Option<String> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(word)) => {
            let toml = Path::new(word).extension().is_some_and(|end| end == "toml");
            toml.then(|| format!("`{word}` has no place here: the file is named by -c {word}"))
        }
        _ => None,
    }
}

/// The command of a later version that was asked for.
fn later(error: &clap::Error) -> Option<String> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(word)) => COMMANDS.contains(&&**word).then(|| word.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::args::Arguments;
    use super::*;

    fn later_of(words: &[&str]) -> Option<String> {
        later(&Arguments::try_parse_from(words).unwrap_err())
    }

    #[test]
    fn commands_of_later_versions_are_said_to_be_so() {
        for command in COMMANDS {
            assert_eq!(later_of(&["ostler", command]).as_deref(), Some(*command));
        }
        assert_eq!(later_of(&["ostler", "dance"]), None);
        assert_eq!(later_of(&["ostler", "drain", "shop/a", "--waltz"]), None);
    }

    #[test]
    fn a_file_without_its_option_is_told_how_to_be_named() {
        let of = |words: &[&str]| file(&Arguments::try_parse_from(words).unwrap_err());
        let told = of(&["ostler", "check", "site.toml"]).unwrap();
        assert!(told.ends_with("the file is named by -c site.toml"), "{told}");
        assert!(of(&["ostler", "run", "conf/site.toml"]).is_some());
        assert_eq!(of(&["ostler", "check", "--dance"]), None);
    }

    #[test]
    fn a_plug_in_called_wrongly_ends_as_plug_ins_do() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(code(true, &words(&["ostler", "status", "--check", "-x"])), 3);
        assert_eq!(code(true, &words(&["ostler", "status", "-x"])), 2);
        assert_eq!(code(false, &words(&["ostler", "--help"])), 0);
    }
}
