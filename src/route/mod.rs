//! From a request head to the value of the most specific route, and to the answers made here.

pub mod action;
pub mod host;
pub mod path;
mod rule;
mod table;

pub use action::{PlanError, RedirectPlan, RespondPlan};
pub use host::{Authority, AuthorityError, fold_host, parse_authority};
pub use path::{PathError, normalise};
pub use rule::{Rule, Tie};
pub use table::Table;
