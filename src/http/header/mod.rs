//! Header rules, one concern a file.

pub mod forwarded;
pub mod hop;
pub mod http2;
pub mod seen;
