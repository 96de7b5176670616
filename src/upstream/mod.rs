//! Connections to backends: opening them, keeping them idle, and lending them out.

mod answered;
pub mod connection;
pub mod dial;
mod gate;
mod habit;
mod http1;
pub mod http2;
pub mod idle;
pub mod lease;
pub mod stream;

pub use answered::{AnswerError, Answered, Unanswered};
pub use connection::Connection;
pub use dial::{DialError, Target, dial};
pub use idle::Idle;
pub use lease::{Lease, Loan};
