//! Who a route asks to say who they are, as it holds.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Uri};
use xxhash_rust::xxh3::Xxh3;

use super::PasswordHash;

/// How a client says who it is.
#[derive(Debug, Clone)]
pub enum Auth {
    /// By name and password (RFC 7617).
    Basic(BasicAuth),
    /// By whatever a server wants that is asked about each request.
    Forward(ForwardAuth),
}

/// A server that is asked about each request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardAuth {
    /// Its pool (an index into `Model::pools`).
    pub pool: usize,
    /// What is asked for: path and query.
    pub path: Uri,
    /// The client's fields that it is told; none: all that make sense without a body.
    pub request_headers: Option<Vec<HeaderName>>,
    /// Its own fields that the backend is told, in place of the client's.
    pub response_headers: Vec<HeaderName>,
    /// How long it may take to say yes or no.
    pub timeout: Duration,
}

/// Names and passwords, and what the backend is told of them.
#[derive(Debug, Clone)]
pub struct BasicAuth {
    /// Who is let in.
    pub users: Arc<Users>,
    /// What the browser asks for: printable ASCII without quotes.
    pub realm: String,
    /// Field that tells the backend the user.
    pub header: Option<HeaderName>,
    /// Whether the backend sees what the client has sent.
    pub forward: bool,
}

/// Users and the hashes of their passwords; at least one.
pub struct Users {
    by_name: HashMap<Box<str>, PasswordHash>,
    nobody: PasswordHash,
}

impl Users {
    /// None where there is no user at all.
    pub fn new(users: Vec<(Box<str>, PasswordHash)>) -> Option<Self> {
        let nobody = users.first()?.1.of_nobody();
        Some(Self { by_name: users.into_iter().collect(), nobody })
    }

    /// The hash of a user's password.
    pub fn find(&self, name: &str) -> Option<&PasswordHash> {
        self.by_name.get(name)
    }

    /// A hash of nobody's password that takes as long to try: who tries names learns nothing.
    pub fn nobody(&self) -> &PasswordHash {
        &self.nobody
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.by_name.len()
    }
}

/// Without names and hashes; another one where any of them is another.
impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut users: Vec<_> = self.by_name.iter().collect();
        users.sort_unstable_by_key(|(name, _)| *name);
        let mut hash = Xxh3::new();
        for (name, password) in users {
            for part in [name.as_bytes(), password.text().as_bytes()] {
                hash.update(&part.len().to_le_bytes());
                hash.update(part);
            }
        }
        write!(f, "Users({}, {:016x})", self.count(), hash.digest())
    }
}
