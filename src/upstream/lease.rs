//! A connection on loan: dropped, it goes back to the idle ones or is closed.

use super::connection::{Connection, Outgoing};

/// Takes a connection back when its exchange is complete and clean.
pub trait Home<B: Outgoing>: Send {
    /// Keeps the connection or closes it.
    fn give_back(&self, connection: Box<Connection<B>>);
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

    /// The connection.
    pub fn connection(&mut self) -> Option<&mut Connection<B>> {
        self.connection.as_deref_mut()
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
        if self.clean
            && let Some(connection) = self.connection.take()
        {
            self.home.give_back(connection);
        }
    }
}
