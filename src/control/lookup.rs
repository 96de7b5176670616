//! Questions to DNS: the system's name servers, or those of the file.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
};
use hickory_resolver::lookup::Lookup as Records;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::proto::rr::rdata::SRV;
use tokio::time::Instant;

use super::discover::{Answer, Target};
use crate::admin::facts::lock;
use crate::config::defaults::MAX_DISCOVERED;
use crate::telemetry::chain;

/// An answer is asked for again not sooner, whatever its TTL says.
const SOONEST: Duration = Duration::from_secs(1);
/// And not later: a name that moved is followed within a minute.
const LATEST: Duration = Duration::from_mins(1);
/// After failures the pause doubles up to this.
const LATEST_AFTER_FAILURE: Duration = Duration::from_secs(15);
/// Hosts of SRV records that are asked about at once.
const HOSTS_AT_ONCE: usize = 16;
/// Read anew when one of them was written.
const SYSTEM_FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// How long to wait after so many failures in a row.
pub(super) fn after_failures(failures: u32) -> Duration {
    let pause = SOONEST.saturating_mul(1 << failures.min(6).saturating_sub(1));
    pause.min(LATEST_AFTER_FAILURE)
}

/// The resolver, made again when the system's files or the file's name servers change.
#[derive(Default)]
pub(super) struct Lookup {
    /// Name servers of the file; empty: the system's.
    servers: Mutex<Vec<SocketAddr>>,
    made: Mutex<Option<(Made, TokioResolver)>>,
}

/// What a resolver was made of: when the system's files were written, and the file's servers.
#[derive(PartialEq, Eq)]
struct Made([Option<SystemTime>; SYSTEM_FILES.len()], Vec<SocketAddr>);

impl std::fmt::Debug for Lookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lookup")
    }
}

impl Lookup {
    /// Asks these from now on; none: the system's.
    pub(super) fn ask(&self, servers: &[SocketAddr]) {
        servers.clone_into(&mut lock(&self.servers));
    }

    /// Addresses of a name, IPv4 first, and how long they hold.
    pub(super) async fn addresses(&self, host: &str) -> Result<(Vec<IpAddr>, Duration), String> {
        let answer = self.resolver()?.lookup_ip(host).await.map_err(|error| told(&error))?;
        let mut addresses: Vec<IpAddr> = answer.iter().collect();
        addresses.dedup();
        if addresses.is_empty() {
            return Err("it has no address".to_owned());
        }
        Ok((addresses, holds(answer.valid_until())))
    }

    /// Every address of a name, each a backend at this port. `before`: the last good answer,
    /// which tells whether a family that cannot be asked about may be left out.
    pub(super) async fn each_address(
        &self,
        host: &Arc<str>,
        port: u16,
        before: Option<&Answer>,
    ) -> Result<(Answer, Duration), String> {
        let (addresses, holds) = self.both_families(host, before).await?;
        let target =
            |ip| Target { address: SocketAddr::new(ip, port), host: Arc::clone(host), weight: 1 };
        let answer = Answer::new(addresses.into_iter().map(target));
        Ok((answer.ok_or("it has no address")?, holds))
    }

    /// Every address of every host of the SRV records with the best priority (RFC 2782), each a
    /// backend at its record's port with its record's weight.
    pub(super) async fn each_host(
        &self,
        name: &str,
        before: Option<&Answer>,
    ) -> Result<(Answer, Duration), String> {
        let records = self.resolver()?.srv_lookup(name).await.map_err(|error| told(&error))?;
        let mut pause = holds(records.valid_until());
        let hosts = best(&records);
        if hosts.is_empty() {
            return Err("its records say that there is no such service".to_owned());
        }
        let mut targets = Vec::new();
        let mut missing = None;
        for some in hosts.chunks(HOSTS_AT_ONCE) {
            let asked = join_all(some.iter().map(|(host, ..)| self.whole(host, before))).await;
            for ((host, port, weight), found) in some.iter().zip(asked) {
                match found {
                    Ok((addresses, holds)) => {
                        pause = pause.min(holds);
                        targets.extend(addresses.into_iter().map(|ip| Target {
                            address: SocketAddr::new(ip, *port),
                            host: Arc::clone(host),
                            weight: *weight,
                        }));
                    }
                    // What is known to have gone is no reason to keep the others from coming.
                    Err(error) if error == NOTHING => missing = Some(format!("{host}: {error}")),
                    Err(error) => return Err(format!("{host}: {error}")),
                }
            }
        }
        let none = || missing.unwrap_or_else(|| "it has no address".to_owned());
        Ok((Answer::new(targets.into_iter()).ok_or_else(none)?, pause))
    }

    /// Of a name that is complete: no search domain is tried with it.
    async fn whole(
        &self,
        host: &str,
        before: Option<&Answer>,
    ) -> Result<(Vec<IpAddr>, Duration), String> {
        self.both_families(&format!("{host}."), before).await
    }

    /// IPv4 and IPv6 are two questions. Where one is answered and the other fails, the answer is
    /// whole only if that family had nothing before: else its backends would be sent away for a
    /// lost packet.
    async fn both_families(
        &self,
        host: &str,
        before: Option<&Answer>,
    ) -> Result<(Vec<IpAddr>, Duration), String> {
        let resolver = self.resolver()?;
        let (four, six) = tokio::join!(resolver.ipv4_lookup(host), resolver.ipv6_lookup(host));
        let had = |six| before.is_some_and(|answer| answer.has_family(six));
        let (four, six) = (family(four), family(six));
        let (four, six) = match (four, six) {
            (Ok(four), Ok(six)) => (four, six),
            (Ok(four), Err(error)) if four.0.is_empty() || had(true) => return Err(error),
            (Err(error), Ok(six)) if six.0.is_empty() || had(false) => return Err(error),
            (Ok(four), Err(_)) => (four, (Vec::new(), LATEST)),
            (Err(_), Ok(six)) => ((Vec::new(), LATEST), six),
            (Err(error), Err(_)) => return Err(error),
        };
        let mut addresses = four.0;
        addresses.extend(six.0);
        if addresses.is_empty() {
            return Err(NOTHING.to_owned());
        }
        Ok((addresses, four.1.min(six.1)))
    }

    fn resolver(&self) -> Result<TokioResolver, String> {
        let stamp = |path: &str| fs::metadata(path).and_then(|facts| facts.modified()).ok();
        let of = Made(SYSTEM_FILES.map(stamp), lock(&self.servers).clone());
        let mut known = lock(&self.made);
        if let Some((made, resolver)) = &*known
            && *made == of
        {
            return Ok(resolver.clone());
        }
        let resolver = build(&of.1).map_err(|error| chain(&error))?;
        *known = Some((of, resolver.clone()));
        Ok(resolver)
    }
}

/// Why a name has no answer that one could go by, though its name server has answered.
const NOTHING: &str = "it has no address (NXDOMAIN, or an empty answer)";

/// Addresses of one family and how long they hold; an answer without any is none.
fn family(answer: Result<Records, NetError>) -> Result<(Vec<IpAddr>, Duration), String> {
    let records = match answer {
        Ok(records) => records,
        Err(NetError::Dns(DnsError::NoRecordsFound(_))) => return Ok((Vec::new(), LATEST)),
        Err(error) => return Err(told(&error)),
    };
    let address = |data: &RData| match data {
        RData::A(ip) => Some(IpAddr::V4(ip.0)),
        RData::AAAA(ip) => Some(IpAddr::V6(ip.0)),
        _ => None,
    };
    let addresses = records.answers().iter().filter_map(|record| address(&record.data)).collect();
    Ok((addresses, holds(records.valid_until())))
}

/// Hosts, ports and weights of the records of the best priority; not more than are taken.
fn best(records: &Records) -> Vec<(Arc<str>, u16, u32)> {
    let srv = |data: &RData| match data {
        RData::SRV(srv) if !srv.target.is_root() => Some(srv.clone()),
        _ => None,
    };
    let all: Vec<SRV> = records.answers().iter().filter_map(|record| srv(&record.data)).collect();
    let priority = all.iter().map(|srv| srv.priority).min();
    let host = |srv: &SRV| {
        let name = srv.target.to_ascii().to_ascii_lowercase();
        Arc::from(name.strip_suffix('.').unwrap_or(&name))
    };
    let mut hosts: Vec<(Arc<str>, u16, u32)> = all
        .iter()
        .filter(|srv| Some(srv.priority) == priority)
        // Weight 0 means little beside others, and nobody new to us.
        .map(|srv| (host(srv), srv.port, u32::from(srv.weight).max(1)))
        .collect();
    hosts.sort_unstable();
    hosts.truncate(MAX_DISCOVERED);
    hosts
}

fn holds(until: std::time::Instant) -> Duration {
    until.saturating_duration_since(Instant::now().into_std()).clamp(SOONEST, LATEST)
}

fn told(error: &NetError) -> String {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => "the name does not exist (NXDOMAIN)".to_owned(),
            _ => "the name has no such records".to_owned(),
        },
        other => chain(other),
    }
}

fn build(servers: &[SocketAddr]) -> Result<TokioResolver, NetError> {
    let mut builder = if servers.is_empty() {
        TokioResolver::builder_tokio().unwrap_or_else(|error| {
            tracing::warn!(%error, "no name server is known: names come from /etc/hosts only");
            let nobody = ResolverConfig::from_parts(None, Vec::new(), Vec::new());
            TokioResolver::builder_with_config(nobody, TokioRuntimeProvider::default())
        })
    } else {
        let server = |address: &SocketAddr| {
            let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
            for connection in &mut connections {
                connection.port = address.port();
            }
            NameServerConfig::new(address.ip(), true, connections)
        };
        let config =
            ResolverConfig::from_parts(None, Vec::new(), servers.iter().map(server).collect());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = ResolveHosts::Always;
    options.positive_min_ttl = Some(SOONEST);
    options.positive_max_ttl = Some(LATEST);
    options.negative_max_ttl = Some(SOONEST);
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_the_hosts_file_resolves_without_a_name_server() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let lookup = Lookup::default();
        let (addresses, holds) = runtime.block_on(lookup.addresses("localhost")).unwrap();
        assert!(addresses.iter().all(IpAddr::is_loopback), "{addresses:?}");
        assert!((SOONEST..=LATEST).contains(&holds), "{holds:?}");
        let host = Arc::from("localhost");
        let (answer, _) = runtime.block_on(lookup.each_address(&host, 80, None)).unwrap();
        assert!(answer.targets().iter().all(|target| target.address.ip().is_loopback()));
    }

    #[test]
    fn the_pause_after_failures_grows_and_has_an_end() {
        let pauses: Vec<u64> =
            [1, 2, 3, 4, 5, 6, 60].map(|failures| after_failures(failures).as_secs()).into();
        assert_eq!(pauses, [1, 2, 4, 8, 15, 15, 15]);
    }
}
