//! The body of an answer as its head tells it, and why there is none of either.

use std::io;

use hyper::body::{Body as _, Incoming};

use crate::net::outgoing::SendError;
use crate::net::wire::Refusal;

/// What an answer's body comes by. Its parts are asked of the [`super::Loan`].
#[derive(Debug)]
pub enum Answered {
    /// A connection of its own.
    Http1 {
        /// Bytes, where the head tells.
        length: Option<u64>,
    },
    /// A stream. Boxed: all that an answer moves through is as large as the larger one.
    Http2(Box<Incoming>),
}

impl Answered {
    /// Bytes of it, where that is known.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Http1 { length } => *length,
            Self::Http2(incoming) => incoming.size_hint().exact(),
        }
    }
}

/// Why a request has no answer, or an answer no end.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// What the backend says is no answer.
    #[error("{}", .0.as_str())]
    Refused(Refusal),
    /// The backend has closed the connection before it said anything.
    #[error("connection closed before the answer")]
    Closed,
    /// The same within an answer.
    #[error("the connection ended within the answer")]
    Cut,
    /// The connection broke.
    #[error("connection error")]
    Stream(#[source] io::Error),
    /// The request's body broke off.
    #[error("the request's body")]
    Body(#[source] io::Error),
    /// The request's body is not as long as was said.
    #[error("the request's body is not as long as its head says")]
    Length,
    /// hyper says so, of a stream.
    #[error(transparent)]
    Http2(#[from] hyper::Error),
}

impl AnswerError {
    /// Whether the backend has closed the connection, and said nothing.
    pub(super) fn is_close(&self) -> bool {
        match self {
            Self::Closed => true,
            // Of a write that it does not take.
            Self::Stream(error) => error.kind() != io::ErrorKind::TimedOut,
            _ => false,
        }
    }
}

impl From<SendError> for AnswerError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Stream(error) => Self::Stream(error),
            SendError::Body(error) => Self::Body(error),
            SendError::Length => Self::Length,
        }
    }
}

impl From<Refusal> for AnswerError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Why a request has no answer.
#[derive(Debug)]
pub struct Unanswered {
    /// Why.
    pub error: AnswerError,
    /// Provably nothing of it was written: there was no connection for its stream any more.
    pub unsent: bool,
}
