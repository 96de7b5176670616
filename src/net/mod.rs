//! Sockets and bytes: what stands between the kernel and HTTP.

pub mod clock;
pub mod fields;
pub mod heap;
pub mod hello;
pub mod message;
pub mod outgoing;
pub mod peek;
pub mod pipe;
pub mod pressure;
pub mod proxy_header;
pub mod socket;
mod sys;
pub mod trust;
pub mod wire;
