//! Who a client is, where its route asks: before any backend of the route is.

mod basic;
mod forward;
mod line;
mod verifier;

use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};

use crate::net::fields::Fields;
use crate::net::message::{RequestHead, Response};
use crate::snapshot::{Auth, Snapshot};

use super::body::Body;
use super::failure::Failure;
use super::forward::Way;
use super::record::Record;

pub use verifier::Verifier;

/// What somebody who was let in brings to the backend.
#[derive(Debug)]
pub(super) struct Granted<'a> {
    /// Fields that say who it is: what the client has written there itself is dropped.
    names: &'a [HeaderName],
    /// What they say.
    fields: Vec<(HeaderName, HeaderValue)>,
    /// The backend does not see `Authorization`.
    secret: bool,
}

impl Granted<'_> {
    /// Writes it into a head, over whatever a client has written there in any spelling: some
    /// backends read `remote_user` as `remote-user`.
    pub(super) fn write(&self, headers: &mut Fields) {
        let ours = |name: &HeaderName| self.names.iter().any(|own| alike(own, name));
        headers.retain(|name| !ours(name));
        if self.secret {
            headers.remove(AUTHORIZATION);
        }
        for (name, value) in &self.fields {
            headers.append(name.clone(), value.clone());
        }
    }
}

fn alike(one: &HeaderName, other: &HeaderName) -> bool {
    let (one, other) = (one.as_str().bytes(), other.as_str().bytes());
    let folded = |byte: u8| if byte == b'_' { b'-' } else { byte };
    one.len() == other.len() && one.zip(other).all(|(one, other)| folded(one) == folded(other))
}

/// What becomes of a client that was asked who it is.
pub(super) enum Admission<'a> {
    /// It is let in.
    In(Granted<'a>),
    /// It has this in place of what it has asked for.
    Answer(Response<Body>),
}

/// Asks a client who it is. `total`: what its exchange may take in all.
///
/// # Errors
/// What it is answered in place of what it has asked for.
pub(super) async fn admit<'a>(
    auth: &'a Auth,
    head: &RequestHead,
    (snapshot, way, total): (&Snapshot, Way<'_>, Option<Duration>),
    record: &mut Record,
) -> Result<Admission<'a>, Failure> {
    match auth {
        Auth::Basic(basic) => {
            basic::admit(basic, &head.headers, way.client).await.map(Admission::In)
        }
        // Boxed: an exchange with another backend, before the one that the client wants.
        Auth::Forward(asked) => {
            Box::pin(forward::admit(asked, head, (snapshot, way, total), record)).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_says_about_itself_is_dropped_in_any_spelling() {
        let mut headers = Fields::of(&[
            ("remote-user", "root"),
            ("remote_user", "root"),
            ("remote-users", "kept"),
            ("authorization", "Basic x"),
        ]);
        let name = HeaderName::from_static("remote-user");
        let granted = Granted {
            names: std::slice::from_ref(&name),
            fields: vec![(name.clone(), HeaderValue::from_static("anna"))],
            secret: true,
        };
        for _ in 0..2 {
            granted.write(&mut headers);
            let mut left: Vec<_> =
                headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
            left.sort_unstable();
            assert_eq!(left, [("remote-user", &b"anna"[..]), ("remote-users", b"kept")]);
        }
    }
}
