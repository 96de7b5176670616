//! What the operator typed, and what holds after validation.

pub mod defaults;
mod distance;
mod document;
mod effective;
mod expand;
pub mod keys;
pub mod level;
mod load;
pub mod model;
mod report;
mod schema;
mod secret;
#[cfg(test)]
mod tests;
pub mod text;
mod unclosed;
pub mod unit;
mod validate;

pub use effective::effective;
pub use expand::{Environment, FileContent, FixedEnvironment, ProcessEnvironment};
pub use load::{Loaded, Look, Source, load, parse, peek_socket};
pub use model::{Located, Model, Place};
pub use report::{Mistake, Report, Severity};
pub use schema::schema;
pub use secret::key_id;
