//! Pools: backends, policy, TLS, connections and checks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::Object;
use super::check::{Check, located};
use super::host::{address, is_dns_name};
use super::{by, discovery, health, outage, quorum, sticky};
use crate::config::defaults as d;
use crate::config::model::{
    Address, AdminState, Backend, Located, Place, PolicyKind, Pool, PoolConnections, PoolTls,
    Queue, WhenAllDown, folded,
};
use crate::config::text::{
    At, BackendText, ConnectionsText, PolicyWord, PoolProtocolWord, PoolText, PoolTlsText,
    QueueText, SendProxyWord,
};
use crate::net::proxy_header::Version;

pub(super) fn pools(objects: &[Object<PoolText>], check: &mut Check<'_>) -> Vec<Pool> {
    if let Some(extra) = objects.get(d::MAX_POOLS) {
        check.error(format!("more than {} pools", d::MAX_POOLS), &extra.place);
    }
    let mut left = d::MAX_BACKENDS;
    let mut pools = Vec::with_capacity(objects.len());
    for object in objects {
        let count = object.text.backends.as_ref().map_or(0, |list| list.value.len());
        if left > 0 && count >= left {
            check.error(format!("more than {} backends", d::MAX_BACKENDS - 1), &object.place);
        }
        left = left.saturating_sub(count);
        pools.push(pool(object, check));
    }
    outage::when_all_down(objects, &mut pools, check);
    quorum::quorums(objects, &mut pools, check);
    pools
}

fn pool(object: &Object<PoolText>, check: &mut Check<'_>) -> Pool {
    let text = &object.text;
    check.name("pool", &object.name, &object.place);
    let backends = backends(object, check);
    // An address that DNS tells is what it is called by.
    let named = |backend: &Backend| backend.id_given || backend.discover.is_some();
    if let (Some(at), false) = (&text.sticky, backends.iter().all(named)) {
        let place = if at.span.is_empty() { object.place.clone() } else { at.place() };
        check
            .warning(
                format!(
                    "pool \"{}\" is sticky, but not all its backends have an `id`",
                    object.name
                ),
                &place,
            )
            .hint("a session knows its backend by `id`; without one, a new address loses it");
    }
    Pool {
        name: Located { value: object.name.as_str().into(), place: object.place.clone() },
        policy: match text.policy.as_ref().map(|at| at.value) {
            Some(PolicyWord::RoundRobin) => PolicyKind::RoundRobin,
            Some(PolicyWord::Random) => PolicyKind::Random,
            Some(PolicyWord::PeakEwma) => PolicyKind::PeakEwma,
            Some(PolicyWord::Hash) => PolicyKind::Hash,
            Some(PolicyWord::LeastRequest) | None => PolicyKind::LeastRequest,
        },
        hash_on: by::hash_on(object, check),
        backends,
        tls: text.tls.as_ref().map(|text| tls(text, check)),
        http2: http2(text, check),
        connections: connections(&text.connections, check),
        health: text.health.as_ref().and_then(|at| health::health(object, at, check)),
        sticky: text.sticky.as_ref().map(|at| sticky::sticky(object, &at.value, check)),
        queue: queue(&text.queue, check),
        concurrency: outage::concurrency(text.concurrency.as_ref(), check),
        drain_deadline: check.wait(
            "deadline",
            text.drain.deadline.as_ref(),
            Some(d::DRAIN_DEADLINE),
        ),
        send_proxy: match text.send_proxy.as_ref().map(|at| at.value) {
            Some(SendProxyWord::V1) => Some(Version::V1),
            Some(SendProxyWord::V2) => Some(Version::V2),
            Some(SendProxyWord::Off) | None => None,
        },
        slow_start: outage::slow_start(text.slow_start.as_ref(), check),
        ejection: outage::ejection(object, check),
        // Known once every pool is read.
        when_all_down: WhenAllDown::Fail,
        quorum: None,
        failback: outage::failback(object, check),
    }
}

fn http2(text: &PoolText, check: &mut Check<'_>) -> bool {
    let Some(at) = &text.protocol else { return false };
    match (at.value, text.tls.is_some()) {
        (PoolProtocolWord::Http1, _) => return false,
        (PoolProtocolWord::Http2, false) => {
            check
                .error("protocol \"h2\" needs TLS, by which it is agreed on", &at.place())
                .hint("add `tls = {}`, or use \"h2c\" for HTTP/2 without TLS");
        }
        (PoolProtocolWord::Http2Plain, true) => {
            check
                .error(
                    "protocol \"h2c\" is HTTP/2 without TLS, but the pool has `tls`",
                    &at.place(),
                )
                .hint("use \"h2\" for HTTP/2 over TLS");
        }
        (PoolProtocolWord::Http2, true) | (PoolProtocolWord::Http2Plain, false) => {}
    }
    let told = text.send_proxy.as_ref().filter(|at| at.value != SendProxyWord::Off);
    if let Some(told) = told {
        check
            .error(
                "send_proxy tells of one client, and HTTP/2 to backends carries many",
                &told.place(),
            )
            .hint("leave it out: the backends read X-Forwarded-For");
    }
    true
}

fn queue(text: &QueueText, check: &mut Check<'_>) -> Queue {
    Queue {
        size: check.number("size", text.size.as_ref(), 0..=d::MAX_QUEUE, d::QUEUE_SIZE),
        timeout: check.finite(
            "timeout",
            text.timeout.as_ref(),
            Duration::from_millis(1),
            d::QUEUE_TIMEOUT,
        ),
    }
}

fn backends(object: &Object<PoolText>, check: &mut Check<'_>) -> Vec<Backend> {
    let list = object.text.backends.as_ref().map(|list| list.value.as_slice()).unwrap_or_default();
    if list.is_empty() && !object.broken {
        check
            .warning(format!("pool \"{}\" has no backends", object.name), &object.place)
            .hint("until it has some, its requests are answered by 503");
    }
    let mut ids: HashMap<Arc<str>, Place> = HashMap::new();
    let mut addresses: HashMap<Address, Place> = HashMap::new();
    let mut backends = Vec::with_capacity(list.len());
    for entry in list {
        let read = backend(object, entry, check);
        // Also of one that has no address yet.
        let id = read.as_ref().map(|backend| backend.id.clone());
        if let Some(id) = id.or_else(|| entry.value.id.as_ref().map(located)) {
            if let Some(first) = ids.get(&id.value) {
                check
                    .error(
                        format!("two backends of this pool have the id \"{}\"", id.value),
                        &id.place,
                    )
                    .also(first, "the first")
                    .hint("an id names one backend, for sessions, marks and metrics");
            }
            ids.entry(id.value).or_insert(id.place);
        }
        let Some(backend) = read else { continue };
        if let Some(first) = addresses.get(&backend.address.value) {
            check
                .error(
                    format!("two backends of this pool have the address {}", backend.address.value),
                    &backend.address.place,
                )
                .also(first, "the first")
                .hint("to send more there, raise its weight");
        }
        addresses
            .entry(backend.address.value.clone())
            .or_insert_with(|| backend.address.place.clone());
        backends.push(backend);
    }
    backends
}

fn backend(
    object: &Object<PoolText>,
    entry: &At<BackendText>,
    check: &mut Check<'_>,
) -> Option<Backend> {
    let text = &entry.value;
    let weight = check.number("weight", text.weight.as_ref(), 0..=d::MAX_WEIGHT, d::WEIGHT);
    let max_requests =
        check.number("max_requests", text.max_requests.as_ref(), 0..=d::MAX_REQUESTS, 0);
    if let Some(at) = &text.id {
        check.name("backend", &at.value, &at.place());
    }
    let Some(at) = &text.address else {
        if !object.broken {
            check
                .error("a backend without `address`", &entry.place())
                .hint("add address = \"10.0.0.11:8080\"");
        }
        return None;
    };
    let discover = text.discover.as_ref().map(|at| at.value);
    let read = match discover {
        None => address(&at.value),
        Some(discover) => discovery::discovered(&at.value, discover),
    };
    let address = match read {
        Ok(address) => address,
        Err((message, hint)) => {
            check.error(message, &at.place()).hint(hint);
            return None;
        }
    };
    discovery::beside(text, check);
    let id = match &text.id {
        Some(id) => Located { value: Arc::from(id.value.as_str()), place: id.place() },
        None => Located { value: folded(&address.to_string()), place: at.place() },
    };
    Some(Backend {
        id,
        id_given: text.id.is_some(),
        address: Located { value: address, place: at.place() },
        weight,
        state: text.state.as_ref().map_or(AdminState::Up, |at| at.value),
        max_requests,
        tier: check.number("tier", text.tier.as_ref(), 0..=d::MAX_TIER, 0),
        discover,
        found: None,
    })
}

fn tls(text: &PoolTlsText, check: &mut Check<'_>) -> PoolTls {
    if let Some(at) = &text.server_name
        && !is_dns_name(&at.value.to_ascii_lowercase())
    {
        check
            .error(format!("`{}` is no server name", at.value), &at.place())
            .hint("a DNS name, as it stands in the backends' certificate");
    }
    PoolTls {
        server_name: text.server_name.as_ref().map(|at| at.value.to_ascii_lowercase()),
        ca: text.ca.as_ref().map(|at| check.path("ca", at)),
        verify: text.verify.as_ref().is_none_or(|at| at.value),
    }
}

fn connections(text: &ConnectionsText, check: &mut Check<'_>) -> PoolConnections {
    let least = Duration::from_millis(1);
    PoolConnections {
        idle: check.number("idle", text.idle.as_ref(), 0..=d::MAX_POOL_IDLE, d::POOL_IDLE),
        idle_timeout: check.finite(
            "idle_timeout",
            text.idle_timeout.as_ref(),
            least,
            d::POOL_IDLE_TIMEOUT,
        ),
        max_age: check.wait("max_age", text.max_age.as_ref(), Some(d::POOL_MAX_AGE)),
        connect_timeout: check.finite(
            "connect_timeout",
            text.connect_timeout.as_ref(),
            least,
            d::CONNECT_TIMEOUT,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_folds_to_an_id() {
        let id = |text: &str| folded(&address(text).unwrap().to_string());
        assert_eq!(&*id("[::1]:80"), "---1--80");
        assert_eq!(&*id("app.internal:80"), "app.internal-80");
    }
}
