//! Whom a route lets in, how often, and who has to say who they are, in words.

use ipnet::IpNet;

use crate::config::unit::Rate;
use crate::route::Access;
use crate::snapshot::{Auth, HashOn, RateLimit};

/// So many networks are named one by one.
const NAMED: usize = 8;

/// Whom a route lets in by address.
pub(super) fn access(access: &Access) -> String {
    let written = access.written();
    let list = |what: &str, list: &[IpNet]| match list {
        [] => None,
        list => Some(format!("{what} {}", networks(list))),
    };
    let lists = [list("deny", &written.deny), list("allow", &written.allow)];
    lists.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// The first of some networks, and how many more there are.
pub(super) fn networks(list: &[IpNet]) -> String {
    let named: Vec<String> = list.iter().take(NAMED).map(IpNet::to_string).collect();
    let more = match list.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", named.join(", "))
}

/// How often a client may ask.
pub(super) fn rate(limit: &RateLimit) -> String {
    let rate = limit.limiter.rate();
    let by = match &limit.by {
        HashOn::Source => "client_ip".to_owned(),
        HashOn::Header(name) => format!("header:{name}"),
        HashOn::Cookie(name) => format!("cookie:{name}"),
        HashOn::Query(name) => format!("query:{name}"),
        HashOn::Path => "path".to_owned(),
    };
    let each = Rate { count: rate.count, per: rate.per };
    format!("{each} by {by}, {} at once; beyond it 429, reason rate_limited", rate.burst)
}

/// Who has to say who they are.
pub(super) fn auth(auth: &Auth) -> String {
    match auth {
        Auth::Basic(basic) => match basic.users.count() {
            1 => "basic_auth, one user".to_owned(),
            users => format!("basic_auth, {users} users"),
        },
        Auth::Forward(asked) => {
            let pools = asked.forward.shares().iter().map(|share| &*share.pool.name);
            let pools: Vec<&str> = pools.collect();
            format!("forward_auth, by {} of pool {}", asked.path, pools.join(", "))
        }
    }
}
