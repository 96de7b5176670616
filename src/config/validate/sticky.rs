//! Session keeping of a pool: scope, cookies that browsers will take, and what moves a visitor.

use std::sync::Arc;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use super::Object;
use super::by::{by, meaningless};
use super::check::{Check, is_token, located};
use super::host::is_dns_name;
use crate::config::defaults as d;
use crate::config::model::{
    By, Located, OnCacheable, OnDown, OnFull, OnRemove, Place, Rebalance, SameSite, SecretKey,
    Sticky,
};
use crate::config::text::{
    At, OnCacheableWord, OnDownWord, OnFullWord, PoolText, SameSiteWord, StickyText, WordOr,
};
use crate::config::unit::Time;

const HOST_PREFIX: &str = "__Host-";
const SECURE_PREFIX: &str = "__Secure-";
const SECOND: Duration = Duration::from_secs(1);

pub(super) fn sticky(
    object: &Object<PoolText>,
    text: &StickyText,
    check: &mut Check<'_>,
) -> Sticky {
    let scope = match &text.scope {
        Some(at) => {
            check.name("scope", &at.value, &at.place());
            located(at)
        }
        None => Located { value: object.name.as_str().into(), place: object.place.clone() },
    };
    let read = by(text, check);
    if let Some(by) = read.as_ref().filter(|_| !object.broken) {
        meaningless(text, by, check);
    }
    attributes(text, check);
    cookie(text, check);
    let (cookie_https, cookie_http) = cookie_names(&scope, text);
    Sticky {
        by: read.unwrap_or(By::Cookie),
        cookie_https,
        cookie_http,
        path: text.path.as_ref().map_or(d::STICKY_PATH, |at| at.value.as_str()).to_owned(),
        domain: text.domain.as_ref().map(|at| domain(&at.value).to_ascii_lowercase()),
        same_site: match text.same_site.as_ref().map(|at| at.value) {
            Some(SameSiteWord::None) => Some(SameSite::None),
            Some(SameSiteWord::Lax) => Some(SameSite::Lax),
            Some(SameSiteWord::Strict) => Some(SameSite::Strict),
            Some(SameSiteWord::Auto) | None => None,
        },
        secure: text.secure.as_ref().map(|at| at.value),
        http_only: text.http_only.as_ref().is_none_or(|at| at.value),
        partitioned: text.partitioned.as_ref().is_some_and(|at| at.value),
        max_age: check.wait("max_age", text.max_age.as_ref(), None),
        idle: idle(text.idle.as_ref(), check),
        lifetime: check.wait("lifetime", text.lifetime.as_ref(), None),
        on_cacheable: match text.on_cacheable.as_ref().map(|at| at.value) {
            Some(OnCacheableWord::Private) => OnCacheable::Private,
            Some(OnCacheableWord::Skip) | None => OnCacheable::Skip,
        },
        pass: text.pass.as_ref().is_some_and(|at| at.value),
        keys: keys(object, text, check),
        on_down: match text.on_down.as_ref().map(|at| at.value) {
            Some(OnDownWord::Strict) => OnDown::Strict,
            Some(OnDownWord::ReturnHome) => OnDown::ReturnHome,
            Some(OnDownWord::Rebind) | None => OnDown::Rebind,
        },
        home_stable: check.finite(
            "home_stable",
            text.home_stable.as_ref(),
            SECOND,
            d::STICKY_HOME_STABLE,
        ),
        on_full: match text.on_full.as_ref().map(|at| at.value) {
            Some(OnFullWord::Spill) => OnFull::Spill,
            Some(OnFullWord::Rebind) => OnFull::Rebind,
            Some(OnFullWord::Reject) => OnFull::Reject,
            Some(OnFullWord::Wait) | None => OnFull::Wait,
        },
        on_remove: on_remove(object, text, check),
        max_sessions: check.number(
            "max_sessions",
            text.max_sessions.as_ref(),
            0..=d::MAX_SESSIONS,
            0,
        ),
        rebalance: rebalance(text, check),
        scope,
    }
}

/// The same session keeping in another scope; `text` is that of the pool.
pub(super) fn in_scope(sticky: &Sticky, scope: Located<Arc<str>>, text: &StickyText) -> Sticky {
    let (cookie_https, cookie_http) = cookie_names(&scope, text);
    Sticky { scope, cookie_https, cookie_http, ..sticky.clone() }
}

fn idle(at: Option<&At<Time>>, check: &mut Check<'_>) -> Duration {
    check.at_most("idle", at, d::MAX_STICKY_IDLE);
    check.finite("idle", at, SECOND, d::STICKY_IDLE)
}

fn on_remove(object: &Object<PoolText>, text: &StickyText, check: &mut Check<'_>) -> OnRemove {
    match text.on_remove.as_ref().map(|at| &at.value) {
        Some(WordOr::Table(ghost)) => {
            OnRemove::Ghost(check.finite("ghost", ghost.ghost.as_ref(), SECOND, d::STICKY_GHOST))
        }
        // Only where checks would find out that it is gone for good.
        None if object.text.health.is_some() => OnRemove::Ghost(d::STICKY_GHOST),
        Some(WordOr::Word(_)) | None => OnRemove::Move,
    }
}

fn rebalance(text: &StickyText, check: &mut Check<'_>) -> Option<Rebalance> {
    let WordOr::Table(text) = &text.rebalance.as_ref()?.value else { return None };
    Some(Rebalance {
        idle: check.finite("idle", text.idle.as_ref(), SECOND, d::REBALANCE_IDLE),
        percent: check.number("percent", text.percent.as_ref(), 1..=100, d::REBALANCE_PERCENT),
        per: check.finite("per", text.per.as_ref(), SECOND, d::REBALANCE_PER),
    })
}

fn keys(
    object: &Object<PoolText>,
    text: &StickyText,
    check: &mut Check<'_>,
) -> Option<Vec<SecretKey>> {
    let list = text.keys.as_ref()?;
    if list.value.is_empty() && !object.broken {
        check
            .error("a list of keys without a key", &list.place())
            .hint("leave `keys` out to use those of [sessions]");
    }
    Some(check.keys(list))
}

/// Attributes that a browser would refuse (RFC 6265bis §4.1, CHIPS).
fn attributes(text: &StickyText, check: &mut Check<'_>) {
    let insecure = text.secure.as_ref().is_some_and(|at| !at.value);
    if let Some(at) = &text.same_site
        && at.value == SameSiteWord::None
        && insecure
    {
        check
            .error("browsers refuse SameSite=None without Secure", &at.place())
            .hint("leave `secure` out, or write same_site = \"lax\"");
    }
    if let Some(at) = &text.partitioned
        && at.value
        && insecure
    {
        check
            .error("browsers refuse Partitioned without Secure", &at.place())
            .hint("leave `secure` out, or `partitioned`");
    }
    let legal = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b';';
    if let Some(at) = &text.path
        && !(at.value.starts_with('/') && at.value.bytes().all(legal))
    {
        check
            .error(format!("`{}` is no path of a cookie", at.value), &at.place())
            .hint("it begins with `/` and holds no `;`");
    }
    if let Some(at) = &text.domain
        && !is_dns_name(&domain(&at.value).to_ascii_lowercase())
    {
        check
            .error(format!("`{}` is no domain", at.value), &at.place())
            .hint("a DNS name, as in \"example.com\"");
    }
}

/// A leading dot means nothing since RFC 6265.
fn domain(text: &str) -> &str {
    text.strip_prefix('.').unwrap_or(text)
}

/// The cookie's names over https and http.
fn cookie_names(scope: &str, text: &StickyText) -> (Arc<str>, Arc<str>) {
    if let Some(at) = &text.cookie {
        // Over http a browser refuses the prefixes, so there the name goes without.
        let name = at.value.as_str();
        let bare = prefixed(name, HOST_PREFIX).or_else(|| prefixed(name, SECURE_PREFIX));
        return (Arc::from(name), Arc::from(bare.unwrap_or(name)));
    }
    let prefix = match (insecure(text), narrowed(text)) {
        (Some(_), _) => "",
        (None, Some(_)) => SECURE_PREFIX,
        (None, None) => HOST_PREFIX,
    };
    let http = if text.cookie_hash.as_ref().is_some_and(|at| at.value) {
        format!("ostler-{:016x}", xxh3_64(scope.as_bytes()))
    } else {
        format!("ostler-{scope}")
    };
    (Arc::from(format!("{prefix}{http}")), Arc::from(http))
}

/// Where the file says that cookies go without Secure.
fn insecure(text: &StickyText) -> Option<Place> {
    text.secure.as_ref().filter(|at| !at.value).map(At::place)
}

/// Where the file says that cookies are for a part of the site, or for more than one host.
fn narrowed(text: &StickyText) -> Option<Place> {
    let path = text.path.as_ref().filter(|at| at.value != "/").map(At::place);
    path.or_else(|| text.domain.as_ref().map(At::place))
}

/// A name that a browser would refuse.
fn cookie(text: &StickyText, check: &mut Check<'_>) {
    let Some(at) = &text.cookie else { return };
    let name = at.value.as_str();
    if let Some(hash) = text.cookie_hash.as_ref().filter(|at| at.value) {
        check
            .error("a cookie's name is either given or hashed", &hash.place())
            .also(&at.place(), "it is given here")
            .hint("leave `cookie` or `cookie_hash` out");
    }
    if !is_token(name) {
        check
            .error(format!("`{name}` is no cookie name"), &at.place())
            .hint("letters, digits and !#$%&'*+-.^_`|~ (RFC 6265 §4.1.1)");
    }
    let host = prefixed(name, HOST_PREFIX);
    let secure = host.or_else(|| prefixed(name, SECURE_PREFIX));
    if let (Some(_), Some(place)) = (host, narrowed(text)) {
        refused(at, "a __Host- cookie with a domain or a path but `/`", &place, check);
    }
    if let (Some(_), Some(place)) = (secure, insecure(text)) {
        refused(at, "a cookie with this prefix without Secure", &place, check);
    }
    if secure == Some("") {
        check
            .error("a cookie name of a prefix alone", &at.place())
            .hint("write a name behind the prefix");
    }
}

fn refused(at: &At<String>, what: &str, other: &Place, check: &mut Check<'_>) {
    check
        .error(format!("browsers refuse {what}"), &at.place())
        .also(other, "because of this")
        .hint("leave one of the two out");
}

/// What follows the prefix; browsers compare it without regard to case.
fn prefixed<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = name.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}
