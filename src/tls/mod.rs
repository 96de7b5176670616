//! TLS on both sides: certificates, who gets which, and the two rustls configurations.

pub mod certificate;
pub mod client;
pub mod client_auth;
pub mod presented;
pub mod server;
pub mod store;
mod tickets;
