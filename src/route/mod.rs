//! From a request head to the value of the most specific route, and to the answers made here.

pub mod action;
mod condition;
pub mod host;
pub mod path;
mod rate;
mod rule;
mod sources;
mod table;
mod verified;

pub use action::{PlanError, RedirectPlan, RespondPlan};
pub use condition::{Conditions, Head, allowed};
pub use host::{Authority, AuthorityError, fold_host, parse_authority};
pub use path::{PathError, normalise};
pub use rate::{Limiter, Rate};
pub use rule::{Rule, Tie};
pub use sources::{Access, Sources};
pub use table::Table;
pub use verified::{Tag, Verified};
