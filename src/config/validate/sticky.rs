//! Session keeping of a pool: scope, and cookies that browsers will take.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::Object;
use super::check::{Check, is_token, located};
use super::host::is_dns_name;
use crate::config::defaults as d;
use crate::config::model::{Located, OnCacheable, Place, Pool, SameSite, SecretKey, Sticky};
use crate::config::text::{At, OnCacheableWord, PoolText, SameSiteWord, StickyText};

const HOST_PREFIX: &str = "__Host-";
const SECURE_PREFIX: &str = "__Secure-";

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
    attributes(text, check);
    let (cookie_https, cookie_http) = cookies(&scope, text, check);
    let second = Duration::from_secs(1);
    Sticky {
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
        idle: check.finite("idle", text.idle.as_ref(), second, d::STICKY_IDLE),
        lifetime: check.wait("lifetime", text.lifetime.as_ref(), None),
        on_cacheable: match text.on_cacheable.as_ref().map(|at| at.value) {
            Some(OnCacheableWord::Private) => OnCacheable::Private,
            Some(OnCacheableWord::Skip) | None => OnCacheable::Skip,
        },
        pass: text.pass.as_ref().is_some_and(|at| at.value),
        keys: keys(object, text, check),
        scope,
    }
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
fn cookies(
    scope: &Located<Arc<str>>,
    text: &StickyText,
    check: &mut Check<'_>,
) -> (Arc<str>, Arc<str>) {
    let insecure = text.secure.as_ref().filter(|at| !at.value).map(At::place);
    let path = text.path.as_ref().filter(|at| at.value != "/").map(At::place);
    let narrowed = path.or_else(|| text.domain.as_ref().map(At::place));
    let Some(at) = &text.cookie else {
        let prefix = match (&insecure, &narrowed) {
            (Some(_), _) => "",
            (None, Some(_)) => SECURE_PREFIX,
            (None, None) => HOST_PREFIX,
        };
        let http = format!("ostler-{}", scope.value);
        return (Arc::from(format!("{prefix}{http}")), Arc::from(http));
    };
    let name = at.value.as_str();
    if !is_token(name) {
        check
            .error(format!("`{name}` is no cookie name"), &at.place())
            .hint("letters, digits and !#$%&'*+-.^_`|~ (RFC 6265 §4.1.1)");
    }
    let host = prefixed(name, HOST_PREFIX);
    let secure = host.or_else(|| prefixed(name, SECURE_PREFIX));
    if let (Some(_), Some(place)) = (host, &narrowed) {
        refused(at, "a __Host- cookie with a domain or a path but `/`", place, check);
    }
    if let (Some(_), Some(place)) = (secure, &insecure) {
        refused(at, "a cookie with this prefix without Secure", place, check);
    }
    if secure == Some("") {
        check
            .error("a cookie name of a prefix alone", &at.place())
            .hint("write a name behind the prefix");
    }
    // Over http a browser refuses the prefixes, so there the name goes without.
    (Arc::from(name), Arc::from(secure.unwrap_or(name)))
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

/// Two scopes under one cookie name: each pool overwrites what the other has bound.
pub(super) fn warn_of_shared_cookies(pools: &[Pool], check: &mut Check<'_>) {
    let mut seen: HashMap<(&str, &str, Option<&str>), (&Pool, &Sticky)> = HashMap::new();
    for pool in pools {
        let Some(sticky) = &pool.sticky else { continue };
        let key = (&*sticky.cookie_https, sticky.path.as_str(), sticky.domain.as_deref());
        match seen.get(&key) {
            Some((first, other)) if other.scope.value != sticky.scope.value => {
                check
                    .warning(
                        format!(
                            "pools \"{}\" and \"{}\" bind under one cookie, `{}`, but not in one \
                             scope",
                            first.name.value, pool.name.value, sticky.cookie_https
                        ),
                        &pool.name.place,
                    )
                    .also(&first.name.place, "the other")
                    .hint(
                        "on one site each would undo the other's: give them cookies of their own",
                    );
            }
            Some(_) => {}
            None => {
                seen.insert(key, (pool, sticky));
            }
        }
    }
}
