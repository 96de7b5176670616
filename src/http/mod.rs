//! The exchange: one request, its one response, and all that stands between.

pub mod admit;
mod asked;
pub mod attempt;
mod auth;
pub mod body;
pub mod exchange;
pub mod failure;
pub mod forward;
mod grpc;
pub mod header;
pub mod local;
pub mod peer;
mod rate_limit;
mod recent;
pub mod record;
pub mod respond;
pub mod retry;
pub mod serve;
pub mod times;
pub mod tunnel;
mod tunnel_line;
mod turn;
mod unread;
pub mod upload;
mod visitor;
mod websocket;

pub use auth::Verifier;
pub use failure::Failure;
pub use peer::Peer;
