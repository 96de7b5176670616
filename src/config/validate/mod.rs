//! From what was typed to what holds, collecting every mistake.

mod admin;
mod auth;
mod by;
mod check;
mod condition;
mod discovery;
mod error_page;
mod health;
mod host;
mod listener;
mod outage;
mod pool;
mod quorum;
mod route;
mod scope;
mod section;
mod split;
mod sticky;
mod template;
mod tie;

use super::expand::Expander;
use super::model::{Model, Place};
use super::report::Report;
use super::text::{
    AdminText, ListenerText, LogText, MetricsText, PoolText, RouteText, RuntimeText, SessionsText,
};
use check::Check;

/// A listener, route or pool as it is typed, with the defaults laid under it.
#[derive(Debug)]
pub(crate) struct Object<T> {
    /// Its key; empty for a route.
    pub(crate) name: String,
    /// Where its name, or a route's header, stands.
    pub(crate) place: Place,
    /// Its keys.
    pub(crate) text: T,
    /// Whether keys were taken out of it, so that what is missing may have been there.
    pub(crate) broken: bool,
}

/// The whole file in pieces, objects in the order of the file.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    pub(crate) metrics: MetricsText,
    pub(crate) sessions: SessionsText,
    pub(crate) admin: AdminText,
    pub(crate) runtime: RuntimeText,
    pub(crate) log: LogText,
    pub(crate) listeners: Vec<Object<ListenerText>>,
    pub(crate) routes: Vec<Object<RouteText>>,
    pub(crate) pools: Vec<Object<PoolText>>,
}

/// The model of the pieces; it means nothing where the report has errors.
pub(crate) fn model(pieces: &Pieces, expander: &Expander<'_>, report: &mut Report) -> Model {
    let mut check = Check { report, expander };
    let metrics = section::metrics(&pieces.metrics, &pieces.pools, &mut check);
    let listeners = listener::listeners(&pieces.listeners, metrics.bind.as_ref(), &mut check);
    let pools = pool::pools(&pieces.pools, &mut check);
    let routes = route::routes(pieces, &pools, &mut check);
    tie::warn_of_unused(pieces, &listeners, &routes, &pools, &metrics, &mut check);
    let sessions = section::sessions(&pieces.sessions, &mut check);
    let admin = admin::admin(&pieces.admin, &listeners, &metrics, &mut check);
    admin::peers_share(pieces, &sessions, &pools, &mut check);
    Model {
        listeners,
        routes,
        pools,
        metrics,
        sessions,
        admin,
        runtime: section::runtime(&pieces.runtime, &mut check),
        log: section::log(&pieces.log, &mut check),
    }
}
