//! Where the visitors of a route are bound: scopes of its own, and cookies that scopes share.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::Object;
use super::check::{Check, is_name, located};
use super::sticky::in_scope;
use crate::config::model::{self, Action, By, Located, Place, Pool, Route, Sticky};
use crate::config::text::{At, PoolText, RouteText, StickyText};

/// A pool with its text.
#[derive(Clone, Copy)]
struct Member<'a> {
    pool: &'a Pool,
    object: &'a Object<PoolText>,
}

/// Session keeping of a member, with its text.
type Kept<'a> = (&'a Sticky, &'a StickyText);

/// Gives each route that binds in a scope of its own its session keeping. `objects` are the texts
/// of `routes`, `texts` those of `pools`.
pub(super) fn bind(
    objects: &[&Object<RouteText>],
    routes: &mut [Route],
    texts: &[Object<PoolText>],
    pools: &[Pool],
    check: &mut Check<'_>,
) {
    let member =
        |index: &usize| Some(Member { pool: pools.get(*index)?, object: texts.get(*index)? });
    for (object, route) in objects.iter().zip(routes.iter_mut()) {
        let given = object.text.sticky_scope.as_ref();
        if let Some(at) = given {
            check.name("scope", &at.value, &at.place());
        }
        let members: Vec<Member<'_>> = match &route.action {
            Action::Split(shares) => {
                shares.iter().filter_map(|share| member(&share.pool)).collect()
            }
            Action::Pool(pool) if given.is_some() => member(pool).into_iter().collect(),
            Action::Pool(_) => continue,
            Action::Redirect(_) | Action::Respond(_) => {
                if let Some(at) = given {
                    check
                        .error("sticky_scope in a route that has no pool", &at.place())
                        .hint("leave it out: such a route binds nobody");
                }
                continue;
            }
        };
        route.sticky = sticky(object, &route.name, &members, check);
    }
    warn_of_shared_cookies(routes, pools, check);
    warn_of_siblings(routes, pools, member, check);
}

fn sticky(
    object: &Object<RouteText>,
    name: &Located<Arc<str>>,
    members: &[Member<'_>],
    check: &mut Check<'_>,
) -> Option<Sticky> {
    let given = object.text.sticky_scope.as_ref();
    // What was taken out of a pool may be what it needs to agree.
    let whole = members.iter().all(|member| !member.object.broken);
    let agreed = whole && agree(object, members, check);
    let Some((sticky, text)) = members.first().and_then(Member::kept) else {
        if let Some(at) = given.filter(|_| agreed) {
            check
                .error("sticky_scope, but nobody is bound here", &at.place())
                .hint("write sticky.by = \"cookie\" in the pool, or leave it out");
        }
        return None;
    };
    if let Some(at) = given.filter(|_| whole && sticky.by != By::Cookie) {
        check
            .error("sticky_scope: only with by = \"cookie\"", &at.place())
            .also(&by_place(text), "visitors are bound by this")
            .hint("leave it out: a scope is sealed into our own cookie");
    }
    let made = given.is_none() && object.text.name.is_none();
    let scope = given.map_or_else(|| name.clone(), located);
    if made && sticky.by == By::Cookie && !is_name(&scope) {
        check
            .error(
                format!("route \"{}\" needs another name to bind its visitors under", &*scope),
                &scope.place,
            )
            .hint(
                "add name = \"…\", or sticky_scope = \"…\": it becomes part of the cookie's name",
            );
    }
    Some(in_scope(sticky, scope, text))
}

/// Whether the pools of a split bind alike; if not, what differs is said.
fn agree(object: &Object<RouteText>, members: &[Member<'_>], check: &mut Check<'_>) -> bool {
    let Some((first, others)) = members.split_first() else { return true };
    let learns = |kept: &Kept<'_>| matches!(kept.0.by, By::LearnHeader(_) | By::LearnCookie(_));
    let learned = members.iter().filter_map(Member::kept).find(learns);
    if let Some((_, text)) = learned.filter(|_| object.text.split.is_some()) {
        check
            .error("a learned table belongs to one pool", &by_place(text))
            .also(&place(object, first.pool), "this route splits visitors over several")
            .hint("bind by \"cookie\" or \"app_cookie:NAME\", or forward to one pool");
        return false;
    }
    let mut agreed = true;
    for other in others {
        let at = place(object, other.pool);
        let names = (&*first.pool.name.value, &*other.pool.name.value);
        match (first.kept(), other.kept()) {
            (Some(one), Some(two)) => {
                for key in differences(one, two) {
                    agreed = false;
                    check
                        .error(
                            format!(
                                "pools \"{}\" and \"{}\" do not agree on sticky.{key}",
                                names.0, names.1
                            ),
                            &at,
                        )
                        .also(&place(object, first.pool), "the other pool")
                        .hint("one cookie binds to all pools of a split: let them say the same");
                }
            }
            (None, None) => {}
            (one, _) => {
                agreed = false;
                let (sticky, loose) = if one.is_some() { names } else { (names.1, names.0) };
                check
                    .error(format!("pool \"{sticky}\" is sticky, but \"{loose}\" is not"), &at)
                    .also(&place(object, first.pool), "the other pool")
                    .hint("make all pools of a split sticky, or none");
            }
        }
    }
    agreed
}

/// Keys on which two pools of a split must agree, and do not.
fn differences((a, x): Kept<'_>, (b, y): Kept<'_>) -> impl Iterator<Item = &'static str> {
    fn value<T: Clone>(at: Option<&At<T>>) -> Option<T> {
        at.map(|at| at.value.clone())
    }
    let cookie = |text: &StickyText| value(text.cookie.as_ref());
    let hash = |text: &StickyText| value(text.cookie_hash.as_ref()).unwrap_or_default();
    let by = match (&a.by, &b.by) {
        (By::Source { .. }, By::Source { .. }) => "source_prefix",
        _ => "by",
    };
    [
        (by, a.by == b.by),
        ("cookie", cookie(x) == cookie(y)),
        ("cookie_hash", hash(x) == hash(y)),
        ("path", a.path == b.path),
        ("domain", a.domain == b.domain),
        ("same_site", a.same_site == b.same_site),
        ("secure", a.secure == b.secure),
        ("http_only", a.http_only == b.http_only),
        ("partitioned", a.partitioned == b.partitioned),
        ("max_age", a.max_age == b.max_age),
        ("idle", a.idle == b.idle),
        ("lifetime", a.lifetime == b.lifetime),
        ("on_down", a.on_down == b.on_down),
        ("home_stable", a.home_stable == b.home_stable),
        ("on_full", a.on_full == b.on_full),
        ("on_cacheable", a.on_cacheable == b.on_cacheable),
        ("rebalance", a.rebalance == b.rebalance),
        ("pass", a.pass == b.pass),
        ("keys", a.keys == b.keys),
    ]
    .into_iter()
    .filter_map(|(key, equal)| (!equal).then_some(key))
}

impl<'a> Member<'a> {
    fn kept(&self) -> Option<Kept<'a>> {
        let text = self.object.text.sticky.as_ref()?;
        Some((self.pool.sticky.as_ref()?, &text.value))
    }
}

/// Where a split names this pool.
fn place(object: &Object<RouteText>, pool: &Pool) -> Place {
    let shares = object.text.split.iter().flat_map(|list| &list.value);
    shares
        .filter_map(|share| share.value.pool.as_ref())
        .find(|at| *at.value == *pool.name.value)
        .map_or_else(|| object.place.clone(), At::place)
}

fn by_place(text: &StickyText) -> Place {
    text.by.as_ref().map(At::place).unwrap_or_default()
}

/// Two scopes under one cookie name: each overwrites what the other has bound. A pool counts where
/// a route binds in its scope.
fn warn_of_shared_cookies(routes: &[Route], pools: &[Pool], check: &mut Check<'_>) {
    type Cookie<'a> = (&'a str, &'a str, Option<&'a str>);
    let mut seen: HashMap<Cookie<'_>, (String, &Place, &Sticky)> = HashMap::new();
    let mut warned = Vec::new();
    for route in routes {
        let (what, name, sticky) = match (&route.sticky, &route.action) {
            (Some(sticky), _) => ("route", &route.name, sticky),
            (None, Action::Pool(pool)) => {
                let Some(pool) = pools.get(*pool) else { continue };
                let Some(sticky) = &pool.sticky else { continue };
                ("pool", &pool.name, sticky)
            }
            (None, _) => continue,
        };
        if sticky.by != By::Cookie {
            continue;
        }
        let key = (&*sticky.cookie_https, sticky.path.as_str(), sticky.domain.as_deref());
        let label = format!("{what} \"{}\"", name.value);
        let Some((first, place, other)) = seen.get(&key) else {
            seen.insert(key, (label, &name.place, sticky));
            continue;
        };
        if other.scope.value != sticky.scope.value && !warned.contains(&label) {
            check
                .warning(
                    format!(
                        "{first} and {label} bind under one cookie, `{}`, but not in one scope",
                        sticky.cookie_https
                    ),
                    &name.place,
                )
                .also(place, "the other")
                .hint("on one site each would undo the other's: give them cookies of their own");
            warned.push(label);
        }
    }
}

/// Keys by which pools of one scope make one cookie that lasts as long for all.
const OF_THE_COOKIE: [&str; 8] =
    ["keys", "cookie", "cookie_hash", "path", "domain", "max_age", "idle", "lifetime"];

/// Pools of one scope between which no route chooses: a visitor goes from one to the other with
/// its cookie, and finds its backend there by its id.
fn warn_of_siblings<'a>(
    routes: &'a [Route],
    pools: &'a [Pool],
    member: impl Fn(&usize) -> Option<Member<'a>>,
    check: &mut Check<'_>,
) {
    let mut seen: HashMap<&str, (Member<'a>, Kept<'a>)> = HashMap::new();
    let mut named: HashMap<&str, (&'a Pool, BTreeSet<&str>)> = HashMap::new();
    let mut warned: HashSet<(&str, &str)> = HashSet::new();
    let scopes = model::scopes(pools, routes);
    for route in routes {
        let Action::Pool(index) = &route.action else { continue };
        let Some(member) = member(index) else { continue };
        let Some((of_pool, text)) = member.kept() else { continue };
        let sticky = route.sticky.as_ref().unwrap_or(of_pool);
        let (scope, pool) = (&*sticky.scope.value, &*member.pool.name.value);
        if sticky.by != By::Cookie || !warned.insert((scope, pool)) {
            continue;
        }
        let (first, kept) = *seen.entry(scope).or_insert((member, (sticky, text)));
        let split = scopes.get(scope).map(|scope| &scope.split);
        if let Some(shares) = split.filter(|split| !split.is_empty()) {
            // There a backend is told from those of the same id in other pools.
            if !shares.contains(index) || !std::ptr::eq(first.pool, member.pool) {
                check
                    .warning(
                        format!("the pool {pool} binds in \"{scope}\", which a route splits"),
                        &sticky.scope.place,
                    )
                    .hint(
                        "who comes here from another of its pools is moved, and again on the way \
                         back: give this one a scope of its own",
                    );
            }
            continue;
        }
        let differ = differences(kept, (sticky, text)).filter(|key| OF_THE_COOKIE.contains(key));
        let differ: Vec<&str> = differ.collect();
        if !differ.is_empty() {
            let (one, keys) = (&*first.pool.name.value, differ.join(", "));
            check
                .warning(
                    format!(
                        "the pools {one} and {pool} bind in one scope, \"{scope}\", but do not \
                         agree on sticky.{keys}"
                    ),
                    &sticky.scope.place,
                )
                .also(&first.pool.name.place, "the other pool")
                .hint(
                    "one cookie is meant to bind in both: let them say the same, or give them \
                     scopes of their own",
                );
        }
        let Some(ids) = ids(member.pool) else { continue };
        let (first, known) = named.entry(scope).or_insert_with(|| (member.pool, ids.clone()));
        if ids != *known {
            let one = &*first.name.value;
            check
                .warning(
                    format!(
                        "the pools {one} and {pool} bind in one scope, \"{scope}\", but have not \
                         the same ids"
                    ),
                    &sticky.scope.place,
                )
                .also(&first.name.place, "the other pool")
                .hint(
                    "who goes from one to the other is moved whenever its backend's id is not \
                     there: give both the same ids, or scopes of their own",
                );
        }
    }
}

/// Ids of a pool's backends; none where DNS will say which they are.
fn ids(pool: &Pool) -> Option<BTreeSet<&str>> {
    let named = pool.backends.iter().all(|backend| backend.discover.is_none());
    named.then(|| pool.backends.iter().map(|backend| &*backend.id.value).collect())
}
