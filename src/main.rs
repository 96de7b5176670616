//! The `ostler` program.

use std::process::ExitCode;

/// Bodies and heads come and go on every worker: this one is quick at it without contention.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ostler::cli::main()
}
