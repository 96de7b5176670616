//! Routes: hosts, path, action, overrides and retries.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use regex::RegexBuilder;

use super::check::{Check, Names, located, whole_regex};
use super::error_page::error_pages;
use super::template;
use super::{Object, Pieces, auth, condition, host, scope, split, tie};
use crate::config::defaults as d;
use crate::config::model::{
    Action, HostPattern, Located, PathPattern, Pool, Redirect, Respond, Retry, Route, RouteTimeouts,
};
use crate::config::text::{
    At, ListenerText, PoolText, RedirectText, RespondText, RetryText, RetryWord, RouteText,
    RouteTimeoutsText,
};
use crate::config::unit::Time;

pub(super) fn routes(pieces: &Pieces, models: &[Pool], check: &mut Check<'_>) -> Vec<Route> {
    if let Some(extra) = pieces.routes.get(d::MAX_ROUTES) {
        check.error(format!("more than {} routes", d::MAX_ROUTES), &extra.place);
    }
    let names = Names::new(&pieces.listeners);
    let pools = Names::new(&pieces.pools);
    let mut routes = Vec::with_capacity(pieces.routes.len());
    let mut objects = Vec::with_capacity(pieces.routes.len());
    let mut files = auth::Files::default();
    for object in &pieces.routes {
        if let Some(route) = route(object, &names, &pools, &mut files, check) {
            routes.push(route);
            objects.push(object);
        }
    }
    name(&pieces.routes, &mut routes, check);
    let mut limited = routes.iter().filter(|route| route.rate_limit.is_some());
    if let Some(extra) = limited.nth(d::MAX_RATE_LIMITS) {
        let message = format!("more than {} routes with a rate_limit", d::MAX_RATE_LIMITS);
        check
            .error(message, &extra.name.place)
            .hint("each has a table of 512 KiB: let some routes be one");
    }
    scope::bind(&objects, &mut routes, &pieces.pools, models, check);
    tie::routes(&routes, check);
    routes
}

fn route(
    object: &Object<RouteText>,
    names: &Names<'_, ListenerText>,
    pools: &Names<'_, PoolText>,
    files: &mut auth::Files,
    check: &mut Check<'_>,
) -> Option<Route> {
    let text = &object.text;
    let listeners = listeners(object, names, check);
    let hosts = hosts(object, check);
    let path = path(object, check);
    let conditions = condition::conditions(text, check);
    let access = condition::access(text, check);
    let rate_limit = condition::rate_limit(text, check);
    let auth = auth::auth(object, pools, files, check);
    let timeouts = timeouts(&text.timeouts, check);
    let retry = retry(&text.retry, check);
    let error_pages = error_pages(&text.error_pages, check);
    let limits = text.limits.body_size.as_ref();
    let action = action(object, pools, check)?;
    Some(Route {
        name: match &text.name {
            Some(at) => located(at),
            None => Located { value: made_name(&hosts, &path), place: object.place.clone() },
        },
        listeners,
        on_all: text.listeners.is_none(),
        hosts,
        path,
        conditions,
        access,
        rate_limit,
        auth,
        action,
        // Known once every route has its name.
        sticky: None,
        error_pages,
        body_size: limits.map(|at| at.value.0),
        timeouts,
        retry,
    })
}

fn listeners(
    object: &Object<RouteText>,
    names: &Names<'_, ListenerText>,
    check: &mut Check<'_>,
) -> Vec<usize> {
    let Some(list) = &object.text.listeners else { return names.all() };
    if list.value.is_empty() && !object.broken {
        check
            .error("a route on no listener", &list.place())
            .hint("leave `listeners` out for all of them");
    }
    let mut seen = HashSet::new();
    list.value
        .iter()
        .filter_map(|at| check.reference("listener", at, names))
        .filter(|index| seen.insert(*index))
        .collect()
}

fn hosts(object: &Object<RouteText>, check: &mut Check<'_>) -> Vec<Located<HostPattern>> {
    let Some(list) = &object.text.hosts else { return Vec::new() };
    if list.value.is_empty() && !object.broken {
        check.error("a route for no host", &list.place()).hint("leave `hosts` out for any host");
    }
    let mut hosts: Vec<Located<HostPattern>> = Vec::with_capacity(list.value.len());
    for at in &list.value {
        match host::pattern(&at.value) {
            Ok(value) => match hosts.iter().find(|other| other.value == value) {
                Some(first) => {
                    check
                        .error(format!("`{}` stands here twice", at.value), &at.place())
                        .also(&first.place, "the first");
                }
                None => hosts.push(Located { value, place: at.place() }),
            },
            Err((message, hint)) => {
                check.error(message, &at.place()).hint(hint);
            }
        }
    }
    hosts
}

fn path(object: &Object<RouteText>, check: &mut Check<'_>) -> Located<PathPattern> {
    let text = &object.text;
    let given = [&text.path, &text.path_exact, &text.path_regex];
    if let [first, second, ..] = given.into_iter().flatten().collect::<Vec<_>>().as_slice() {
        check
            .error("one of `path`, `path_exact` and `path_regex` is enough", &second.place())
            .also(&first.place(), "this one stands already")
            .hint("make two routes of it");
    }
    if let Some(at) = &text.path_regex {
        let build = |text: &str| RegexBuilder::new(text).size_limit(d::MAX_REGEX).build();
        let regex = whole_regex(at, "path", build, check);
        let value = regex.map_or(PathPattern::Any, PathPattern::Regex);
        return Located { value, place: at.place() };
    }
    let Some(at) = text.path_exact.as_ref().or(text.path.as_ref()) else {
        return Located { value: PathPattern::Any, place: object.place.clone() };
    };
    let legal = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'*');
    if !at.value.starts_with('/') || !at.value.bytes().all(legal) {
        check.error(format!("`{}` is no path", at.value), &at.place()).hint(
            "it begins with `/`, has no `?`, `#` or `*`, and other characters percent-encoded",
        );
    }
    let value = Arc::from(at.value.as_str());
    let value = match (&text.path_exact, at.value.as_str()) {
        (Some(_), _) => PathPattern::Exact(value),
        (None, "/") => PathPattern::Any,
        (None, _) => PathPattern::Prefix(value),
    };
    Located { value, place: at.place() }
}

fn action(
    object: &Object<RouteText>,
    pools: &Names<'_, PoolText>,
    check: &mut Check<'_>,
) -> Option<Action> {
    let text = &object.text;
    let given = [
        text.pool.as_ref().map(At::place),
        text.split.as_ref().map(At::place),
        text.redirect.as_ref().map(At::place),
        text.respond.as_ref().map(At::place),
    ];
    if let [first, second, ..] = given.into_iter().flatten().collect::<Vec<_>>().as_slice() {
        check
            .error("a route does one thing: `pool`, `split`, `redirect` or `respond`", second)
            .also(first, "this one stands already")
            .hint("make two routes of it");
        return None;
    }
    if let Some(at) = &text.pool {
        return check.reference("pool", at, pools).map(Action::Pool);
    }
    if let Some(list) = &text.split {
        return split::shares(object, list, pools, check).map(Action::Split);
    }
    if let Some(at) = &text.redirect {
        return redirect(object, at, check).map(Action::Redirect);
    }
    if let Some(at) = &text.respond {
        return Some(Action::Respond(respond(&at.value, d::RESPOND_STATUS, check)));
    }
    check.missing(object, "a route that does nothing", "add pool, split, redirect or respond");
    None
}

fn redirect(
    object: &Object<RouteText>,
    at: &At<RedirectText>,
    check: &mut Check<'_>,
) -> Option<Redirect> {
    let text = &at.value;
    let status = check.number("status", text.status.as_ref(), 300..=399, d::REDIRECT_STATUS);
    if let Some(at) = text.status.as_ref()
        && (300..=399).contains(&at.value)
        && !matches!(at.value, 301 | 302 | 303 | 307 | 308)
    {
        check
            .error(format!("{} is no redirect with a Location", at.value), &at.place())
            .hint("301, 302, 303, 307 or 308");
    }
    let Some(to) = &text.to else {
        check.missing(object, "a redirect without `to`", "add to = \"https://{host}{path}\"");
        return None;
    };
    if to.value.is_empty() || !to.value.bytes().all(|byte| byte.is_ascii_graphic()) {
        check
            .error(format!("`{}` is no place to redirect to", to.value), &to.place())
            .hint("a URL or a path, other characters percent-encoded");
    }
    match template::pieces(&to.value) {
        Ok(to) => Some(Redirect { to, status }),
        Err(message) => {
            check.error(message, &to.place()).hint(
                "known are {scheme}, {host} and {path}; for the braces themselves write {{ and }}",
            );
            None
        }
    }
}

/// A fixed response, of this status where the file says none.
pub(super) fn respond(text: &RespondText, status: u16, check: &mut Check<'_>) -> Respond {
    let status = check.number("status", text.status.as_ref(), 200..=599, status);
    if let Some(at) = &text.body {
        if matches!(status, 204 | 205 | 304) && !at.value.is_empty() {
            check
                .error(format!("a {status} has no body"), &at.place())
                .hint("leave `body` out, or choose another status");
        }
        if at.value.len() > d::MAX_RESPOND_BODY {
            check
                .error(format!("a body of more than {} bytes", d::MAX_RESPOND_BODY), &at.place())
                .hint("let a backend serve it");
        }
    }
    let content_type =
        text.content_type.as_ref().map_or(d::RESPOND_CONTENT_TYPE, |at| at.value.as_str());
    let legal = content_type.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if let Some(at) = text.content_type.as_ref().filter(|_| !legal || !content_type.contains('/')) {
        check
            .error(format!("`{}` is no content type", at.value), &at.place())
            .hint("as in \"text/html; charset=utf-8\"");
    }
    Respond {
        status,
        body: text.body.as_ref().map(|at| at.value.clone()).unwrap_or_default(),
        content_type: content_type.to_owned(),
    }
}

fn timeouts(text: &RouteTimeoutsText, check: &mut Check<'_>) -> RouteTimeouts {
    let mut over =
        |key: &str, value: Option<&At<Time>>| value.map(|at| check.wait(key, Some(at), None));
    let (body, write, tunnel) = (
        over("body", text.body.as_ref()),
        over("write", text.write.as_ref()),
        over("tunnel", text.tunnel.as_ref()),
    );
    let head = text.response_header.as_ref();
    RouteTimeouts {
        request: check.wait("request", text.request.as_ref(), None),
        response_header: check.wait("response_header", head, Some(d::RESPONSE_HEADER_TIMEOUT)),
        body,
        write,
        tunnel,
    }
}

fn retry(text: &RetryText, check: &mut Check<'_>) -> Retry {
    let on = |word: RetryWord| match &text.on {
        Some(list) => list.value.iter().any(|at| at.value == word),
        None => matches!(word, RetryWord::Unsent | RetryWord::Stale | RetryWord::Reset),
    };
    let tries = check.number("tries", text.tries.as_ref(), 1..=d::MAX_RETRY_TRIES, d::RETRY_TRIES);
    let hedge = check.wait("hedge", text.hedge.as_ref(), None);
    if let Some(at) = text.hedge.as_ref().filter(|_| hedge.is_some() && tries == 1) {
        check
            .error("hedge with tries = 1", &at.place())
            .hint("the second attempt is one of the tries");
    }
    Retry {
        tries,
        unsent: on(RetryWord::Unsent),
        stale: on(RetryWord::Stale),
        reset: on(RetryWord::Reset),
        response_timeout: on(RetryWord::ResponseTimeout),
        status_5xx: on(RetryWord::Status5xx),
        budget_percent: text.budget.as_ref().map_or(d::RETRY_BUDGET, |at| at.value.0),
        hedge,
        hedge_percent: text.hedge_budget.as_ref().map_or(d::HEDGE_BUDGET, |at| at.value.0),
    }
}

/// A name of host and path, as in `shop.example.com/api`: a label that tells what it is.
fn made_name(hosts: &[Located<HostPattern>], path: &PathPattern) -> Arc<str> {
    let host = match hosts.first().map(|host| &host.value) {
        Some(HostPattern::Exact(name)) => name.to_string(),
        Some(HostPattern::Wildcard(below)) => format!("*.{below}"),
        None => String::new(),
    };
    let path = match path {
        PathPattern::Any => "",
        PathPattern::Exact(path) | PathPattern::Prefix(path) => path,
        PathPattern::Regex(regex) => {
            let pattern = regex.as_str();
            let inner = pattern.strip_prefix(r"\A(?:").and_then(|rest| rest.strip_suffix(r")\z"));
            &format!("~{}", inner.unwrap_or(pattern))
        }
    };
    let name: String = host
        .chars()
        .chain(path.chars())
        .map(|c| if c.is_ascii_graphic() && !matches!(c, '"' | '\\') { c } else { '-' })
        .collect();
    if name.is_empty() { Arc::from("any") } else { Arc::from(name) }
}

/// Given names must be unique; made ones are made so, in the order of the file.
fn name(objects: &[Object<RouteText>], routes: &mut [Route], check: &mut Check<'_>) {
    let mut given = HashMap::new();
    for at in objects.iter().filter_map(|object| object.text.name.as_ref()) {
        check.name("route", &at.value, &at.place());
        match given.get(at.value.as_str()) {
            Some(first) => {
                check
                    .error(format!("two routes have the name \"{}\"", at.value), &at.place())
                    .also(first, "the first")
                    .hint("a name is a metric label: each route needs its own");
            }
            None => {
                given.insert(at.value.as_str(), at.place());
            }
        }
    }
    let mut taken: HashSet<Arc<str>> = given.keys().map(|name| Arc::from(*name)).collect();
    let mut next: HashMap<Arc<str>, u32> = HashMap::new();
    let is_made = |route: &Route| {
        given.get(&*route.name.value).is_none_or(|place| *place != route.name.place)
    };
    for route in routes.iter_mut().filter(|route| is_made(route)) {
        let made = Arc::clone(&route.name.value);
        while !taken.insert(Arc::clone(&route.name.value)) {
            let number = next.entry(Arc::clone(&made)).or_insert(1);
            *number += 1;
            route.name.value = Arc::from(format!("{made}#{number}"));
        }
    }
}
