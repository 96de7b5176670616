//! What was freed goes back to the system.

use super::sys;

/// What this thread has freed and does not need now goes back. Of itself the allocator does that
/// when it looks for other memory, and who has just had a crowd may not need any for hours. Costs a
/// look at all that the thread has.
pub fn give_back() {
    sys::give_back_memory();
}
