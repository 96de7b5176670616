# The common commands; `just` lists them. None of them needs just.

default:
    @just --list

# The demo: three backends, sessions, checks and metrics in one process.
demo:
    cargo run --release -- demo

# All tests, also those against real programs.
test:
    ./tests/run

# Quick tests only: the pure parts and the house rules.
quick:
    cargo test --lib --test architecture

# One story of the black-box tests, by a part of its name.
story NAME:
    cargo test --test it {{NAME}}

# Fuzz one target, or all of them, for so many seconds each: `just fuzz gate 60`.
fuzz TARGET="all" SECONDS="600":
    ./fuzz/run {{TARGET}} {{SECONDS}}

# What must hold before a change is taken.
ci:
    ./.ci/run

# Format everything.
format:
    cargo fmt

# Lints, with warnings as errors.
lint:
    cargo clippy --all-targets -- -D warnings

# Load: Ostler before two nginx, with and without a cookie, plain and TLS, HTTP/1.1 and HTTP/2.
load *ARGS:
    ./benches/load/run {{ARGS}}

# Benches: the pure parts, then instructions per request against the stored baseline.
bench:
    cargo bench --bench decisions
    cargo build --release
    ./benches/load/instructions

# What a session costs, and what a million do: `just sessions million`.
sessions *ARGS:
    cargo bench --bench sessions -- {{ARGS}}

# Ostler beside nginx, HAProxy, Envoy and Caddy: CPU per request, latency, memory.
compare *ARGS:
    ./benches/load/compare {{ARGS}}

# How the cost grows with connections, routes, backends and workers.
growth *ARGS:
    ./benches/load/growth {{ARGS}}

# What attacks cost, beside HAProxy and nginx: `just attacks floods`.
attacks *ARGS:
    ./benches/attacks/attack {{ARGS}}

# The graphs of docs/performance.md, from the figures that `compare --json` has written.
graphs *ARGS:
    ./benches/load/graphs {{ARGS}}

# The binary that is meant to be shipped: built with the profile of a training run.
release *ARGS:
    ./benches/pgo/build {{ARGS}}

# Serve a file; see config/ for examples.
run FILE="config/minimal.toml":
    cargo run --release -- run -c {{FILE}}

# Everything a reload would do but the swap.
check FILE:
    cargo run -- check -c {{FILE}}
