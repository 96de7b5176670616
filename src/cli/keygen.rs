//! `ostler keygen`: a session key from the system's randomness.

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::fail::Fail;
use super::out;

/// Prints 32 random bytes in base64, as `[sessions] keys` takes them.
///
/// # Errors
/// Where the system has no randomness, or the output cannot be written.
pub(super) fn keygen() -> Result<(), Fail> {
    let mut key = [0; 32];
    rand::fill(&mut key).map_err(|_| Fail::refused("the system has no randomness"))?;
    out::print(&format!("{}\n", STANDARD.encode(key)))
}
