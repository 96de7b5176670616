//! Why a command did not do what was asked, and the exit code that says so.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::config::{Mistake, Report, Severity};

/// Done.
pub(super) const DONE: u8 = 0;
/// Refused, or the file is wrong.
pub(super) const REFUSED: u8 = 1;
/// What was written on the command line makes no sense.
pub(super) const USAGE: u8 = 2;
/// Nobody answers.
pub(super) const NO_PROCESS: u8 = 3;
/// `drain --strict`, and someone was moved.
pub(super) const MOVED: u8 = 4;
/// Ended by SIGINT, as shells have it.
pub(super) const INTERRUPTED: u8 = 130;

/// Why a command ends.
#[derive(Debug)]
pub(super) enum Fail {
    /// The running process, the system or the file says no.
    Refused(anyhow::Error),
    /// The command line makes no sense.
    Usage(String),
    /// Nobody answers where the running process should.
    NoProcess(String),
    /// Who reads our output went away: nothing is left to say, and nobody to say it to.
    NobodyReads,
}

impl Fail {
    /// Refused, in one line that says what to do.
    pub(super) fn refused(message: impl Into<String>) -> Self {
        Self::Refused(anyhow::Error::msg(message.into()))
    }

    /// The exit code of the contract.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Refused(_) | Self::NobodyReads => REFUSED,
            Self::Usage(_) => USAGE,
            Self::NoProcess(_) => NO_PROCESS,
        }
    }

    /// What there is to say: one line, then whatever helps.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Refused(error) => match error.downcast_ref::<Report>() {
                Some(report) => told(report),
                None => format!("{error:#}"),
            },
            Self::Usage(message) => format!("{message}\n\nFor more information, try '--help'."),
            Self::NoProcess(message) => message.clone(),
            Self::NobodyReads => String::new(),
        }
    }

    /// Says it on standard error and gives the exit code.
    pub(super) fn report(&self) -> ExitCode {
        let text = self.text();
        if !text.is_empty() {
            // Where standard error is gone the exit code is all that can be told.
            let _ = writeln!(io::stderr(), "error: {}", text.trim_end());
        }
        ExitCode::from(self.code())
    }
}

impl From<anyhow::Error> for Fail {
    fn from(error: anyhow::Error) -> Self {
        Self::Refused(error)
    }
}

impl From<io::Error> for Fail {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::NobodyReads;
        }
        Self::Refused(error.into())
    }
}

/// A file's only mistake in one line; of several the first, then, indented, all with their places.
fn told(report: &Report) -> String {
    let errors: Vec<&Mistake> =
        report.mistakes.iter().filter(|one| one.severity == Severity::Error).collect();
    let Some(first) = errors.first() else { return format!("{} cannot be used", report.name) };
    let mut text = report.name.clone();
    if let Some(span) = &first.place {
        let (line, column) = report.line_column(span);
        let _ = write!(text, ":{line}:{column}");
    }
    let _ = write!(text, ": {}", first.message);
    if let Some(hint) = &first.hint {
        let _ = write!(text, "; {hint}");
    }
    if let more @ 1.. = errors.len() - 1 {
        let mistakes = if more == 1 { "mistake" } else { "mistakes" };
        let _ = write!(text, " (and {more} more {mistakes})");
    }
    let text = text.replace('\n', " ");
    if errors.len() == 1 {
        return text;
    }
    let picture: String = report
        .render(false)
        .lines()
        .map(|line| if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") })
        .collect();
    format!("{text}\n\n{picture}")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Place;

    use super::*;

    fn of(report: Report) -> String {
        Fail::from(anyhow::Error::from(report)).text()
    }

    #[test]
    fn a_files_only_mistake_is_one_line_with_place_and_hint() {
        let mut report = Report::new("ostler.toml", "a = 1\nwieght = 2\n".into());
        report.error("unknown key", &Place { span: 6..12 }).hint("did you mean `weight`?");
        report.warning("pool never used", &Place { span: 0..1 });
        assert_eq!(of(report), "ostler.toml:2:1: unknown key; did you mean `weight`?");
    }

    #[test]
    fn several_mistakes_follow_their_first_line_with_a_picture_each() {
        let mut report = Report::new("ostler.toml", "a = 1\nwieght = 2\n".into());
        report.error("unknown key", &Place { span: 6..12 });
        report.error("wrong value", &Place { span: 4..5 });
        let text = of(report);
        let first = text.lines().next().unwrap();
        assert_eq!(first, "ostler.toml:2:1: unknown key (and 1 more mistake)");
        assert!(text.contains("^^^^^^"), "{text}");
        assert!(!text.lines().any(|line| line.starts_with("error")), "{text}");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_one_line_in_all() {
        let mut report = Report::without_text(Path::new("gone.toml"));
        report.error("cannot be read: no such file", &Place::default());
        assert_eq!(of(report), "gone.toml: cannot be read: no such file");
    }

    #[test]
    fn an_error_that_is_no_report_says_all_its_causes_in_one_line() {
        let error = anyhow::anyhow!("address in use").context("listener web");
        assert_eq!(Fail::from(error).text(), "listener web: address in use");
    }
}
