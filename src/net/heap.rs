//! The program's allocator, and when what was freed goes back to the system.

use super::sys;

/// mimalloc, asked for aligned memory only where what it gives anyway is not aligned enough: to ask
/// for it is dear for what is larger than a KiB, which its crate does every time.
pub use super::sys::Allocator;

/// What this thread has freed and does not need now goes back. Of itself the allocator does that
/// when it looks for other memory, and who has just had a crowd may not need any for hours. Costs a
/// look at all that the thread has.
pub fn give_back() {
    sys::give_back_memory();
}
