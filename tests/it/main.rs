//! Black-box stories: the real `ostler` binary between real clients and origins with faults.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says why on standard error"
)]

mod harness;
mod stories;
