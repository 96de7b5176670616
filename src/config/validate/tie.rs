//! Routes that tie, routes that never match, and what nobody uses.

use std::collections::HashMap;

use super::Pieces;
use super::check::Check;
use crate::config::model::{
    Action, Auth, Conditions, FieldCondition, FieldName, HostPattern, Listener, Metrics,
    PathPattern, Place, Pool, Route, ValueTest, WhenAllDown,
};

/// What one route and another must have in common to tie.
#[derive(PartialEq, Eq, Hash)]
struct Condition<'a> {
    listener: usize,
    host: Option<&'a HostPattern>,
    kind: u8,
    path: &'a str,
}

/// Two routes with one host and path and equal conditions on one listener are an error that names
/// both; of two equal
/// regular expressions the first in the file wins, so that the second never matches.
pub(super) fn routes(routes: &[Route], check: &mut Check<'_>) {
    let mut seen: HashMap<Condition<'_>, Vec<&Route>> = HashMap::new();
    for route in routes {
        let (kind, path) = match &route.path.value {
            PathPattern::Any => (0, ""),
            PathPattern::Exact(path) => (1, &**path),
            PathPattern::Prefix(path) => (2, &**path),
            PathPattern::Regex(regex) => (3, regex.as_str()),
        };
        let hosts = || {
            let named = route.hosts.iter().map(|host| (Some(&host.value), &host.place));
            named.chain(route.hosts.is_empty().then_some((None, &route.path.place)))
        };
        let mut covered = 0_usize;
        let mut first: Option<(&Route, &Place)> = None;
        for (host, place) in hosts() {
            for listener in &route.listeners {
                let condition = Condition { listener: *listener, host, kind, path };
                let others = seen.entry(condition).or_default();
                match others.iter().find(|other| equal(&other.conditions, &route.conditions)) {
                    Some(other) => {
                        covered += 1;
                        first.get_or_insert((other, place));
                    }
                    None => others.push(route),
                }
            }
        }
        let Some((other, place)) = first else { continue };
        if kind != 3 {
            check
                .error(
                    format!(
                        "routes \"{}\" and \"{}\" tie: they have one host and path{}",
                        other.name.value,
                        route.name.value,
                        match route.conditions.count() {
                            0 => "",
                            _ => ", and as many conditions, which one request may meet",
                        }
                    ),
                    place,
                )
                .also(&other.path.place, "the other route")
                .hint(match route.conditions.count() {
                    0 => "change the host or path of one, let them have different listeners, or \
                          give one a condition: methods, headers, query, cookies or sources"
                        .to_owned(),
                    _ => format!(
                        "\"{}\" has {}, \"{}\" has {}: give the one that is to be asked first a \
                         further condition",
                        other.name.value,
                        named(&other.conditions),
                        route.name.value,
                        named(&route.conditions)
                    ),
                });
        } else if covered == hosts().count() * route.listeners.len() {
            check
                .warning(format!("route \"{}\" never matches", route.name.value), place)
                .also(&other.path.place, "this route has it all")
                .hint("of equal regular expressions the first in the file wins");
        }
    }
}

/// What conditions ask about, as the file has it.
fn named(conditions: &Conditions) -> String {
    let mut names = Vec::new();
    if !conditions.methods.is_empty() {
        names.push("methods".to_owned());
    }
    names.extend(conditions.fields.iter().map(|condition| match &condition.field {
        FieldName::Header(name) => format!("header {name}"),
        FieldName::Query(name) => format!("query {name}"),
        FieldName::Cookie(name) => format!("cookie {name}"),
    }));
    if !conditions.sources.is_empty() {
        names.push("sources".to_owned());
    }
    names.join(" and ")
}

/// Whether none of two routes with one host and path is the more specific, or tells its requests
/// from those of the other.
fn equal(one: &Conditions, other: &Conditions) -> bool {
    one.count() == other.count() && !one.exclude(other)
}

/// What is legal but surely wrong: listeners without routes, routes on listeners that only
/// redirect, pools that nobody uses.
pub(super) fn warn_of_unused(
    pieces: &Pieces,
    listeners: &[Listener],
    routes: &[Route],
    pools: &[Pool],
    metrics: &Metrics,
    check: &mut Check<'_>,
) {
    if pieces.routes.len() > routes.len() {
        // A route that could not be read may well use what would be named here.
        return;
    }
    let mut routed = vec![false; listeners.len()];
    let mut used = vec![false; pieces.pools.len()];
    for pool in &metrics.ready_requires {
        mark(&mut used, *pool);
    }
    for pool in pools {
        if let WhenAllDown::Pool(spare) = pool.when_all_down {
            mark(&mut used, spare);
        }
        if let Some(quorum) = pool.quorum {
            mark(&mut used, quorum.pool);
        }
    }
    for (object, route) in pieces.routes.iter().zip(routes) {
        for listener in &route.listeners {
            mark(&mut routed, *listener);
        }
        if let Some(Auth::Forward(forward)) = &route.auth {
            mark(&mut used, forward.pool);
        }
        match &route.action {
            Action::Pool(pool) => mark(&mut used, *pool),
            Action::Split(shares) => shares.iter().for_each(|share| mark(&mut used, share.pool)),
            Action::Redirect(_) | Action::Respond(_) => {}
        }
        let of = |at: &usize| listeners.get(*at);
        if route.conditions.fields.iter().any(wants_certificate)
            && !route.listeners.iter().filter_map(of).any(tells_certificates)
        {
            check
                .warning(format!("route \"{}\" never matches", route.name.value), &object.place)
                .hint(
                    "none of its listeners has a client-cert to go by: client_cert_header = true \
                     with client_auth, or trusted_proxies that tell it",
                );
        }
        let redirects = |at: &usize| of(at).is_some_and(|it| it.redirect_https.is_some());
        if !route.listeners.is_empty() && route.listeners.iter().all(redirects) {
            check
                .warning(format!("route \"{}\" never matches", route.name.value), &object.place)
                .hint("all its listeners answer everything with redirect_https");
        }
    }
    for (listener, routed) in listeners.iter().zip(routed) {
        if !routed && listener.redirect_https.is_none() {
            check
                .warning(
                    format!("listener \"{}\" has no route", listener.name.value),
                    &listener.name.place,
                )
                .hint("it answers everything with 404: add a route, or redirect_https");
        }
    }
    for (pool, used) in pieces.pools.iter().zip(used) {
        if !used {
            check
                .warning(format!("pool \"{}\" is never used", pool.name), &pool.place)
                .hint("name it in a route, or drop it");
        }
    }
}

/// Whether a route is for clients with a certificate.
fn wants_certificate(condition: &FieldCondition) -> bool {
    let field = matches!(&condition.field, FieldName::Header(name) if name == "client-cert");
    field && !matches!(condition.test, ValueTest::Absent)
}

/// Whether a request can come with the certificate of its client.
fn tells_certificates(listener: &Listener) -> bool {
    let auth = listener.tls.as_ref().and_then(|tls| tls.client_auth.as_ref());
    auth.is_some_and(|auth| auth.header) || !listener.trusted_proxies.is_empty()
}

fn mark(flags: &mut [bool], index: usize) {
    if let Some(flag) = flags.get_mut(index) {
        *flag = true;
    }
}
