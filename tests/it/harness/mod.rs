//! What the stories are told with: origins, the proxy, cookie jars and deadlines.

mod answers;
mod api;
mod client;
mod command;
mod config;
mod crowd;
mod dns;
pub(crate) mod frames;
mod grpc;
mod http2_origin;
mod jar;
mod origin;
pub(crate) mod pki;
mod proxy;
mod raw;
mod secure;

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

pub(crate) use self::answers::pattern_hash;
pub(crate) use self::client::{Answer, Connection, Door, Sent, read};
pub(crate) use self::command::{Output, ostler, ostler_in};
pub(crate) use self::config::{
    Config, PLAIN, SECURE, backend, default_route, pool, pool_of, sticky_farm, sticky_pool,
    unchecked,
};
pub(crate) use self::crowd::Crowd;
pub(crate) use self::dns::{Dns, Mood};
pub(crate) use self::grpc::GrpcHealth;
pub(crate) use self::http2_origin::Http2Origin;
pub(crate) use self::jar::Jar;
pub(crate) use self::origin::{After, Fault, Origin};
pub(crate) use self::pki::client_hello;
pub(crate) use self::proxy::Proxy;
pub(crate) use self::raw::{Raw, handshake, statuses, upgrading};
pub(crate) use self::secure::TlsOrigin;

/// Long enough for a loaded machine, short enough that a hang is a failure and not a stall.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Asks again and again until the closure has something, and panics with `what` at the deadline.
pub(crate) async fn within<T>(
    deadline: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < end, "not within {deadline:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until a count stands still for ten looks in a row, and returns it: what back pressure
/// should bring about.
pub(crate) async fn settled(what: &str, mut count: impl FnMut() -> u64) -> u64 {
    let mut last = None;
    let mut still = 0;
    within(SOON, what, async || {
        let now = count();
        still = if last == Some(now) { still + 1 } else { 0 };
        last = Some(now);
        tokio::time::sleep(Duration::from_millis(30)).await;
        (still >= 10 && now > 0).then_some(now)
    })
    .await
}

/// Awaits a future that must not hang.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let outcome = tokio::time::timeout(SOON, future).await;
    outcome.unwrap_or_else(|_| panic!("not within {SOON:?}: {what}"))
}

/// The crate bans `tokio::spawn` for the product's sake; the tests have one door of their own.
pub(crate) fn spawn<F>(future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    tokio::runtime::Handle::current().spawn(future)
}

/// The distinct values of a list, sorted.
pub(crate) fn distinct<T: Ord + Clone + Debug>(values: &[T]) -> Vec<T> {
    let mut values = values.to_vec();
    values.sort();
    values.dedup();
    values
}
