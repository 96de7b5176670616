//! Ostler: the front door of a web farm, in reading order from the ground up.

// Floor 0, ground: no other room is imported here.
pub mod event;
pub mod net;
pub mod task;

// Floor 1, words: what was typed, and what is told to the outside.
pub mod config;
pub mod telemetry;

// Floor 2, decisions: pure, values in and values out.
pub mod backend;
pub mod balance;
pub mod route;
pub mod sticky;

// Floor 3, wires.
pub mod tls;
pub mod upstream;

// Floor 4, the plan: one immutable whole that requests read.
pub mod snapshot;

// Floor 5, the exchange, and the checks beside it.
pub mod health;
pub mod http;

// Floor 6, the server.
pub mod server;

// Floor 7, control.
pub mod admin;
pub mod control;

// Floor 8, the root.
pub mod app;
pub mod cli;
pub mod demo;
