//! `[metrics]`, `[sessions]`, `[runtime]` and `[log]`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::Object;
use super::check::{Check, Names};
use crate::config::defaults as d;
use crate::config::level;
use crate::config::model::{
    Located, Log, LogTarget, Metrics, Place, QueryPolicy, Runtime, Sessions,
};
use crate::config::text::{
    AccessWord, At, LogText, MetricsText, PoolText, QueryWord, RuntimeText, SessionsText, WatchWord,
};

pub(super) fn metrics(
    text: &MetricsText,
    pools: &[Object<PoolText>],
    check: &mut Check<'_>,
) -> Metrics {
    let (bind, place) = match &text.bind {
        Some(at) => (at.value.as_str(), at.place()),
        None => (d::METRICS_BIND, Place::default()),
    };
    let bind = match bind {
        "none" => None,
        _ => socket(bind, &place, check).map(|value| Located { value, place }),
    };
    let names = Names::new(pools);
    let required = text.ready_requires.iter().flat_map(|list| &list.value);
    let ready_requires = required.filter_map(|at| check.reference("pool", at, &names)).collect();
    Metrics { bind, ready_requires }
}

/// An address to listen on.
pub(super) fn socket(text: &str, place: &Place, check: &mut Check<'_>) -> Option<SocketAddr> {
    let parsed = text.parse().ok();
    if parsed.is_none() {
        let hint = match text.strip_prefix(':') {
            Some(port) => format!("for every address write \"0.0.0.0:{port}\" and \"[::]:{port}\""),
            None => "an IP address and a port: \"127.0.0.1:8080\", \"[::1]:8080\"".to_owned(),
        };
        check.error(format!("`{text}` is no address to listen on"), place).hint(hint);
    }
    parsed
}

pub(super) fn sessions(text: &SessionsText, check: &mut Check<'_>) -> Sessions {
    Sessions { keys: text.keys.as_ref().map(|list| check.keys(list)).unwrap_or_default() }
}

pub(super) fn runtime(text: &RuntimeText, check: &mut Check<'_>) -> Runtime {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let watches = |word: WatchWord| match &text.watch {
        Some(list) => list.value.iter().any(|at| at.value == word),
        None => word == WatchWord::Certificates,
    };
    let max = text.max_connections.as_ref();
    Runtime {
        workers: check.number("workers", text.workers.as_ref(), 1..=d::MAX_WORKERS, cores),
        state_dir: text.state_dir.as_ref().map(|at| check.path("state_dir", at)),
        watch_file: watches(WatchWord::File),
        watch_certificates: watches(WatchWord::Certificates),
        stop_delay: check.finite(
            "stop_delay",
            text.stop_delay.as_ref(),
            Duration::ZERO,
            d::STOP_DELAY,
        ),
        drain_timeout: check.finite(
            "drain_timeout",
            text.drain_timeout.as_ref(),
            Duration::ZERO,
            d::DRAIN_TIMEOUT,
        ),
        max_connections: max
            .map(|at| check.number("max_connections", Some(at), 1..=i64::from(u32::MAX), 1)),
        memory: text.memory.as_ref().and_then(|at| {
            let value = check.at_least("memory", at, d::LEAST_MEMORY)?;
            Some(Located { value, place: at.place() })
        }),
        blind_guard: text.blind_guard.as_ref().is_some_and(|at| at.value),
        resolvers: resolvers(text, check),
    }
}

fn resolvers(text: &RuntimeText, check: &mut Check<'_>) -> Vec<SocketAddr> {
    const DNS: u16 = 53;
    let Some(list) = &text.resolvers else { return Vec::new() };
    let mut all = Vec::new();
    for at in &list.value {
        let bare = at.value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let ip = bare.unwrap_or(&at.value).parse().map(|ip: IpAddr| SocketAddr::new(ip, DNS));
        match at.value.parse().or(ip) {
            Ok(server) if server.port() != 0 => all.push(server),
            _ => {
                check
                    .error(format!("`{}` is no name server", at.value), &at.place())
                    .hint("an IP address, with a port if it is not 53: \"10.0.0.53\"");
            }
        }
    }
    if all.len() > d::MAX_RESOLVERS {
        check.error(format!("more than {} name servers", d::MAX_RESOLVERS), &list.place());
    }
    all
}

pub(super) fn log(text: &LogText, check: &mut Check<'_>) -> Log {
    let level = match &text.level {
        Some(at) => {
            level(at, check);
            at.value.clone()
        }
        None => d::LOG_LEVEL.to_owned(),
    };
    let to = match text.to.as_ref().map(|at| (at, at.value.as_str())) {
        None | Some((_, "stdout")) => LogTarget::Stdout,
        Some((_, "stderr")) => LogTarget::Stderr,
        Some((at, _)) => LogTarget::File(PathBuf::clone(&check.path("to", at))),
    };
    Log {
        level,
        access: text.access.as_ref().is_none_or(|at| at.value == AccessWord::Json),
        to,
        to_place: text.to.as_ref().map(At::place).unwrap_or_default(),
        query: match text.query.as_ref().map(|at| at.value) {
            Some(QueryWord::Keep) => QueryPolicy::Keep,
            Some(QueryWord::Drop) => QueryPolicy::Drop,
            Some(QueryWord::Redact) | None => QueryPolicy::Redact,
        },
    }
}

fn level(at: &At<String>, check: &mut Check<'_>) {
    if level::filter(&at.value).is_ok() {
        return;
    }
    check
        .error(format!("level = \"{}\" is no level", at.value), &at.place())
        .hint("error, warn, info, debug or off, also by module: \"info,ostler::tls=debug\"");
}
