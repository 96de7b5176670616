//! Files in place of our own answers to what fails, as they hold.

use std::path::PathBuf;

use super::Located;

/// What is answered in place of our own text where an exchange fails.
#[derive(Debug, Clone)]
pub struct ErrorPage {
    /// Where it stands in.
    pub statuses: Statuses,
    /// Its file, as an absolute path.
    pub path: Located<PathBuf>,
    /// What is in it.
    pub kind: PageKind,
}

/// Statuses that a page stands in for; one of its own goes before its class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Statuses {
    /// This one, from 400 to 599.
    One(u16),
    /// All that begin with this digit, 4 or 5.
    Class(u16),
}

impl Statuses {
    /// Whether this status is one of them.
    pub fn contain(self, status: u16) -> bool {
        match self {
            Self::One(one) => one == status,
            Self::Class(class) => class == status / 100,
        }
    }
}

/// What kind of text a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PageKind {
    /// `.html`, `.htm`.
    Html,
    /// `.json`.
    Json,
    /// `.txt`.
    Text,
}
