//! Header rules, one concern a file.

pub mod client_cert;
pub mod forwarded;
pub mod hop;
pub mod http2;
pub mod seen;
pub mod trailers;
