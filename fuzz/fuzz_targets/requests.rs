//! From end to end: any bytes to a listener, and what the backend saw is what was sent, what was
//! answered and what is in the log.

#![no_main]

use std::sync::{LazyLock, Mutex};

use libfuzzer_sys::fuzz_target;
use ostler_fuzz::farm::lock;
use ostler_fuzz::requests::Story;

static STORY: LazyLock<Mutex<Story>> = LazyLock::new(|| Mutex::new(Story::begin()));

fuzz_target!(|input: &[u8]| {
    lock(&STORY).play(input);
});
