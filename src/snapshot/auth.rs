//! Who a route asks to say who they are, compiled.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};

pub use crate::config::model::{PasswordHash, Users};

use super::{Forward, Pool, Share};
use crate::config::model::{self, BasicAuth};

/// How a client says who it is.
#[derive(Debug)]
pub enum Auth {
    /// By name and password.
    Basic(Basic),
    /// By whatever a server wants that is asked about each request.
    Forward(Box<ForwardAuth>),
}

/// A server that is asked about each request: what it says yes to is let in.
#[derive(Debug)]
pub struct ForwardAuth {
    /// Its pool, which binds nobody here.
    pub forward: Forward,
    /// Path and query that are asked for.
    pub path: Uri,
    /// The client's fields that it is told; none: all that make sense without a body.
    pub request_headers: Option<Box<[HeaderName]>>,
    /// Its own fields that the backend is told, in place of the client's.
    pub response_headers: Box<[HeaderName]>,
    /// How long it may take to say yes or no.
    pub timeout: Duration,
}

impl ForwardAuth {
    /// Asks this pool.
    pub(super) fn new(asked: &model::ForwardAuth, pool: Arc<Pool>) -> Option<Self> {
        Some(Self {
            forward: Forward::new(vec![Share { pool, weight: 1 }], None)?,
            path: asked.path.clone(),
            request_headers: asked.request_headers.as_ref().map(|names| names.as_slice().into()),
            response_headers: asked.response_headers.as_slice().into(),
            timeout: asked.timeout,
        })
    }
}

/// By name and password (RFC 7617).
#[derive(Debug)]
pub struct Basic {
    /// Who is let in.
    pub users: Arc<Users>,
    /// What who has said nothing, or nothing right, is asked for.
    pub challenge: HeaderValue,
    /// Field that tells the backend the user.
    pub header: Option<HeaderName>,
    /// Whether the backend sees what the client has sent.
    pub forward: bool,
}

impl Basic {
    /// None where the realm cannot be sent, which validation rules out.
    pub(super) fn new(basic: &BasicAuth) -> Option<Self> {
        let challenge = format!("Basic realm=\"{}\", charset=\"UTF-8\"", basic.realm);
        Some(Self {
            users: Arc::clone(&basic.users),
            challenge: HeaderValue::try_from(challenge).ok()?,
            header: basic.header.clone(),
            forward: basic.forward,
        })
    }
}
