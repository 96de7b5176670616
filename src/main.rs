//! The `ostler` program.

use std::process::ExitCode;

use ostler::net::heap::Allocator;

/// Bodies and heads come and go on every worker: this one is quick at it without contention.
#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    ostler::cli::main()
}
