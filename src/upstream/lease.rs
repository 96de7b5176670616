//! A connection on loan: dropped, it goes back to the idle ones or is closed.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::Either;
use hyper::body::{Body as _, Frame};

use super::answered::{AnswerError, Answered};
use super::connection::{Answer, Connection};
use super::http2;
use crate::net::message::Request;
use crate::net::outgoing::Outgoing;
use crate::net::pipe::Pipe;

/// Takes a connection back when its exchange is complete and clean.
pub trait Home<B: Outgoing>: Send {
    /// Keeps the connection or closes it.
    fn give_back(&self, connection: Box<Connection<B>>);

    /// Hears that a connection was closed under a request, after it had been idle for so long (ms).
    fn lost(&self, idled: u64);
}

/// What carries one exchange.
#[derive(Debug)]
pub enum Loan<B: Outgoing, H: Home<B>> {
    /// A connection of its own, while it lasts: HTTP/1.1.
    Connection(Lease<B, H>),
    /// A stream of one that others use, too: HTTP/2.
    Stream(http2::Stream<B>),
}

impl<B: Outgoing, H: Home<B>> Loan<B, H> {
    /// Whether it is a stream of a connection that others use, too.
    pub fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(_))
    }

    /// Whether its connection has carried an exchange before.
    pub fn reused(&self) -> bool {
        match self {
            Self::Connection(lease) => lease.connection.as_ref().is_some_and(|it| it.reused()),
            Self::Stream(stream) => stream.reused(),
        }
    }

    /// Begins to send a request. What comes back is for [`Self::poll_answer`] alone. Nothing where
    /// the connection is gone.
    pub fn send(
        &mut self,
        request: Request<B>,
    ) -> Option<impl Future<Output = Answer> + use<B, H>> {
        Some(match self {
            Self::Connection(lease) => {
                lease.connection.as_deref_mut()?.send(request);
                Either::Left(std::future::pending())
            }
            Self::Stream(stream) => Either::Right(stream.send(request)),
        })
    }

    /// So many bytes of the answer are read at once from now on, where that is for us to say: a
    /// stream has its window.
    pub fn read_at_most(&self, piece: usize) {
        if let Self::Connection(Lease { connection: Some(connection), .. }) = self {
            connection.handle().read_at_most(piece);
        }
    }

    /// Waits for the answer's head, see [`Connection::poll_answer`].
    pub fn poll_answer(
        &mut self,
        answer: Pin<&mut impl Future<Output = Answer>>,
        cx: &mut Context<'_>,
    ) -> Poll<Answer> {
        match self {
            Self::Connection(Lease { connection: Some(connection), .. }) => {
                connection.poll_answer(cx)
            }
            _ => answer.poll(cx),
        }
    }

    /// Asks for a part of the answer's body.
    pub fn poll_body(
        &mut self,
        body: &mut Answered,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        match (self, body) {
            (_, Answered::Http2(body)) => {
                Pin::new(&mut **body).poll_frame(cx).map_err(AnswerError::from)
            }
            (Self::Connection(Lease { connection: Some(connection), .. }), _) => {
                connection.poll_body(cx)
            }
            _ => Poll::Ready(None),
        }
    }

    /// Whether [`Self::poll_fill`] may be asked for the next part.
    pub fn pipes(&self) -> bool {
        match self {
            Self::Connection(lease) => lease.connection.as_ref().is_some_and(|it| it.pipes()),
            Self::Stream(_) => false,
        }
    }

    /// Asks for a part of the answer's body, into an empty pipe: how much it is.
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<Option<Result<usize, AnswerError>>> {
        match self {
            Self::Connection(Lease { connection: Some(connection), .. }) => {
                connection.poll_fill(cx, pipe).map(Some)
            }
            _ => Poll::Ready(None),
        }
    }

    /// Whether all of the answer has come. `body`: of it.
    pub fn is_complete(&self, body: &Answered) -> bool {
        match (self, body) {
            (_, Answered::Http2(body)) => body.is_end_stream(),
            (Self::Connection(lease), _) => {
                lease.connection.as_ref().is_some_and(|it| it.is_complete())
            }
            (Self::Stream(_), _) => true,
        }
    }

    /// The head of the last request, where it was written in HTTP/1.1.
    pub fn take_written(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::Connection(lease) => Some(lease.connection.as_mut()?.take_written()),
            Self::Stream(_) => None,
        }
    }

    /// The backend said how long it keeps idle connections.
    pub fn learn_idle_time(&mut self, time: Duration) {
        if let Self::Connection(Lease { connection: Some(connection), .. }) = self {
            connection.learn_idle_time(time);
        }
    }

    /// Request and response were complete and clean.
    pub fn complete(&mut self) {
        if let Self::Connection(lease) = self {
            lease.complete();
        }
    }

    /// Takes the connection for good, as for a tunnel; a stream is none.
    pub fn keep(self) -> Option<Box<Connection<B>>> {
        match self {
            Self::Connection(lease) => lease.keep(),
            Self::Stream(_) => None,
        }
    }
}

/// One exchange's hold on a connection.
#[derive(Debug)]
pub struct Lease<B: Outgoing, H: Home<B>> {
    connection: Option<Box<Connection<B>>>,
    home: H,
    clean: bool,
}

impl<B: Outgoing, H: Home<B>> Lease<B, H> {
    /// A hold on this connection.
    pub fn new(connection: Box<Connection<B>>, home: H) -> Self {
        Self { connection: Some(connection), home, clean: false }
    }

    /// Request and response were complete and clean: the connection may be used again.
    pub fn complete(&mut self) {
        self.clean = true;
        if let Some(connection) = &self.connection {
            connection.rest();
        }
    }

    /// Takes the connection for good, as for a tunnel.
    pub fn keep(mut self) -> Option<Box<Connection<B>>> {
        self.connection.take()
    }
}

impl<B: Outgoing, H: Home<B>> Drop for Lease<B, H> {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        if self.clean {
            self.home.give_back(connection);
        } else if let Some(idled) = connection.lost_after() {
            self.home.lost(idled);
        }
    }
}
