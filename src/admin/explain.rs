//! Where a request would go and why, without sending anything.

mod cookie;
mod entry;
mod fate;

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, Uri};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::answer::refusal;
use super::facts::Facts;
use super::sessions::by;
use super::status::policy_word;
use super::view::explain::{Explained, Session, Share};
use crate::backend::Standing;
use crate::event::Refusal;
use crate::net::fields::Fields;
use crate::route;
use crate::route::host::fold_host;
use crate::route::path::normalise;
use crate::snapshot::forward::Forward;
use crate::snapshot::{Action, Listener, Pool, Route, Snapshot};

/// So many routes that a request does not get to are told.
const MOST_UNMET: usize = 8;

/// What the page takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    method: Option<String>,
    url: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    cookie: Option<String>,
    client: Option<IpAddr>,
}

/// A request, as far as it decides where it goes.
struct Request {
    https: bool,
    host: String,
    port: u16,
    method: Method,
    /// Normalised.
    path: String,
    path_and_query: String,
    query: Option<String>,
    headers: Fields,
    /// Whatever the operator has of the visitor's cookie.
    cookie: Option<String>,
    /// Whose it is, where that was said.
    client: Option<IpAddr>,
}

/// Explains one request.
///
/// # Errors
/// Where the body is no request that could be sent.
pub(super) fn explain(facts: &Facts, body: &[u8]) -> Result<Value, Refusal> {
    let asked: Asked = serde_json::from_slice(body)
        .map_err(|error| refusal(400, format!("the body is no request: {error}")))?;
    let request = Request::read(asked).map_err(|text| refusal(422, text))?;
    let snapshot = facts.current.load();
    let explained = walk(facts, &snapshot, &request, Timestamp::now());
    serde_json::to_value(explained)
        .map_err(|error| refusal(500, format!("the page cannot be written: {error}")))
}

impl Request {
    fn read(asked: Asked) -> Result<Self, String> {
        let url = asked.url.split('#').next().unwrap_or_default();
        let uri: Uri = url.parse().map_err(|error| format!("`{url}` is no URL: {error}"))?;
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err("write a whole URL, as https://shop.example.com/cart".to_owned()),
        };
        let mut buffer = [0; 256];
        let host = fold_host(uri.host().unwrap_or_default(), &mut buffer).to_owned();
        let path = normalise(uri.path()).map_err(|error| format!("it is refused: {error}"))?;
        let method = asked.method.as_deref().unwrap_or("GET");
        let method = Method::try_from(method).map_err(|_| format!("`{method}` is no method"))?;
        let mut headers = Fields::new();
        for (name, value) in &asked.headers {
            let wrong = || format!("`{name}: {value}` is no header field");
            let name = HeaderName::try_from(name).map_err(|_| wrong())?;
            headers.append(name, HeaderValue::try_from(value).map_err(|_| wrong())?);
        }
        Ok(Self {
            https,
            host,
            port: uri.port_u16().unwrap_or(if https { 443 } else { 80 }),
            method,
            path: path.into_owned(),
            path_and_query: uri.path_and_query().map_or("/", |it| it.as_str()).to_owned(),
            query: uri.query().map(str::to_owned),
            headers,
            cookie: asked.cookie.map(cookie::out_of_jar),
            client: asked.client,
        })
    }
}

fn walk(facts: &Facts, snapshot: &Snapshot, request: &Request, now: Timestamp) -> Explained {
    let mut explained = Explained {
        listener: None,
        listener_note: None,
        route: None,
        route_note: None,
        unmet: Vec::new(),
        access: None,
        rate: None,
        auth: None,
        action: "no route takes it: 404, reason no_route".to_owned(),
        pools: Vec::new(),
        session: None,
        now: None,
    };
    let (listener, note) = listener(facts, snapshot, request);
    explained.listener_note = note;
    let Some(listener) = listener else { return explained };
    explained.listener = Some(listener.name.to_string());
    if let Some(redirect) = &listener.redirect_https {
        let to = redirect.location("https", &request.host, &request.path_and_query);
        explained.action = format!("{} to {to}, whatever the route", redirect.status().as_u16());
        return explained;
    }
    let found = find(listener, request);
    explained.route_note = elsewhere(listener, request, found);
    explained.unmet = kept_away(listener, request, found);
    let Some(route) = found else {
        if let Some(allowed) = allow(listener, request) {
            let method = &request.method;
            explained.action =
                format!("no route takes {method}: 405, Allow: {allowed}, reason not_supported");
        }
        return explained;
    };
    explained.route = Some(route.name.to_string());
    explained.access = route.access.as_ref().map(entry::access);
    explained.rate = route.rate_limit.as_deref().map(entry::rate);
    explained.auth = route.auth.as_ref().map(entry::auth);
    if let (Some(access), Some(client)) = (&route.access, request.client)
        && !access.permits(client)
    {
        explained.action = format!("{client} is not let in: 403, reason denied");
        return explained;
    }
    match &route.action {
        Action::Redirect(plan) => {
            let scheme = if request.https { "https" } else { "http" };
            let to = plan.location(scheme, &request.host, &request.path_and_query);
            explained.action = format!("{} to {to}", plan.status().as_u16());
        }
        Action::Respond(plan) => {
            explained.action = format!("a fixed answer with status {}", plan.status.as_u16());
        }
        Action::Forward(forward) => follow(&mut explained, snapshot, forward, request, now),
    }
    if route.access.is_some() && request.client.is_none() {
        explained.action.push_str(", for clients who are let in: see --client");
    }
    explained
}

/// What becomes of a request that is forwarded.
fn follow(
    explained: &mut Explained,
    snapshot: &Snapshot,
    forward: &Forward,
    request: &Request,
    now: Timestamp,
) {
    explained.pools = forward.shares().iter().map(|it| share(&it.pool, it.weight)).collect();
    let names: Vec<&str> = explained.pools.iter().map(|share| &*share.pool).collect();
    explained.action = match names.as_slice() {
        [only] => format!("forward to pool {only}"),
        all => format!("forward to one of the pools {}", all.join(", ")),
    };
    let sticky = forward.sticky().map(|sticky| &**sticky);
    let given = sticky.map(|sticky| cookie::given(sticky, request)).unwrap_or_default();
    let presented = fate::presented(sticky, request, &given, now);
    explained.session = sticky.map(|sticky| Session {
        by: by(sticky.by()),
        scope: sticky.scope().to_owned(),
        cookies: given.iter().map(|value| cookie::open(snapshot, sticky, value, now)).collect(),
    });
    explained.now = Some(match presented {
        Ok(presented) => fate::of(snapshot, forward, sticky, presented, now),
        Err(why) => fate::unknown(forward, why),
    });
}

fn share(pool: &Pool, weight: u32) -> Share {
    let tier = pool.tier();
    let usable = pool.members.iter().filter(|member| {
        let backend = &member.backend;
        backend.standing() == Standing::Open && tier.is_none_or(|tier| tier == backend.tier)
    });
    Share {
        pool: pool.name.to_string(),
        weight,
        policy: policy_word(pool.policy).to_owned(),
        usable: usable.map(|member| member.backend.id.to_string()).collect(),
    }
}

/// The listener that has the port and speaks the scheme; where that does not tell, the first one
/// that knows a route.
fn listener<'a>(
    facts: &Facts,
    snapshot: &'a Snapshot,
    request: &Request,
) -> (Option<&'a Arc<Listener>>, Option<String>) {
    let bound = facts.bound();
    let has_port = |listener: &Listener| {
        bound.iter().any(|it| it.name == *listener.name && it.address.port() == request.port)
    };
    let speaks = |listener: &Listener| listener.tls.is_some() == request.https;
    let fits = |listener: &&Arc<Listener>| speaks(listener) && has_port(listener);
    let fitting: Vec<&Arc<Listener>> = snapshot.listeners.iter().filter(fits).collect();
    if let [only] = fitting.as_slice() {
        return (Some(only), None);
    }
    let scheme = if request.https { "https" } else { "http" };
    let (why, mut all) = if fitting.is_empty() {
        let why = format!("no listener serves {scheme} on port {}", request.port);
        (why, snapshot.listeners.iter().collect())
    } else {
        (format!("several listeners serve {scheme} on port {}", request.port), fitting)
    };
    // The port may be another one outside; the scheme hardly is.
    all.sort_by_key(|listener| !speaks(listener));
    let knows = |it: &&&Arc<Listener>| {
        it.redirect_https.is_none() && (find(it, request).is_some() || allow(it, request).is_some())
    };
    if let Some(found) = all.iter().find(knows) {
        return (Some(found), Some(format!("{why}: this is the first that has a route for it")));
    }
    let first = all.iter().find(|it| it.redirect_https.is_none()).or_else(|| all.first());
    let none = if all.is_empty() { "" } else { ", and none has a route for it: this is the first" };
    (first.copied(), Some(format!("{why}{none}")))
}

fn head(request: &Request) -> route::Head<'_> {
    route::Head {
        method: &request.method,
        headers: &request.headers,
        query: request.query.as_deref(),
        // Without a client, no route for certain sources is for it.
        client: request.client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
    }
}

fn find<'a>(listener: &'a Listener, request: &Request) -> Option<&'a Arc<Route>> {
    let asked = head(request);
    let met = |conditions: &route::Conditions| conditions.meet(&asked);
    listener.routes.find(Some(&request.host), &request.path, met)
}

/// For what no route takes: the methods by which one would.
fn allow(listener: &Listener, request: &Request) -> Option<String> {
    let others = listener.routes.conditions(Some(&request.host), &request.path);
    let allowed = route::allowed(&head(request), others.into_iter())?;
    allowed.to_str().map(str::to_owned).ok()
}

/// Where clients of certain networks would go instead, while nobody has said whose it is.
fn elsewhere(listener: &Listener, request: &Request, found: Option<&Arc<Route>>) -> Option<String> {
    if request.client.is_some() {
        return None;
    }
    let asked = head(request);
    let sources = RefCell::new(String::new());
    let met = |conditions: &route::Conditions| {
        let met = conditions.meet_from_anywhere(&asked);
        if met {
            *sources.borrow_mut() = entry::networks(conditions.sources());
        }
        met
    };
    let other = listener.routes.find(Some(&request.host), &request.path, met)?;
    let same = found.is_some_and(|found| Arc::ptr_eq(found, other));
    let sources = sources.into_inner();
    (!same).then(|| format!("for clients in {sources} route {}: see --client", other.name))
}

/// Routes that go before the one that was found, or are for this host and path where none was, and
/// which of their conditions the request does not meet.
fn kept_away(listener: &Listener, request: &Request, found: Option<&Arc<Route>>) -> Vec<String> {
    let asked = head(request);
    let mut told = Vec::new();
    for wanted in 0..MOST_UNMET {
        let (seen, unmet) = (Cell::new(0), RefCell::new(Vec::new()));
        let other = listener.routes.find(Some(&request.host), &request.path, |conditions| {
            let this = seen.replace(seen.get() + 1) == wanted;
            if this {
                *unmet.borrow_mut() = conditions.unmet(&asked, request.client.is_some());
            }
            this
        });
        let Some(other) = other.filter(|it| !found.is_some_and(|found| Arc::ptr_eq(found, it)))
        else {
            break;
        };
        let unmet = unmet.into_inner();
        // A condition on sources alone is told as what it would be for others.
        if !unmet.is_empty() {
            told.push(format!("not route {}, which asks for {}", other.name, unmet.join(" and ")));
        }
    }
    told
}

#[cfg(test)]
mod tests;
