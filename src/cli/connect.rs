//! `ostler check --connect`: dials every backend as the connector would.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::model::{Address, AddressHost};
use crate::control;
use crate::snapshot::{Pool, Snapshot};
use crate::tls::client::ClientTls;

use super::out::Table;

/// So many at once: quick for hundreds of backends, and no flood.
const AT_ONCE: usize = 32;

/// How dialling one backend went.
#[derive(Debug)]
pub(super) struct Dialled {
    pool: Arc<str>,
    backend: Arc<str>,
    address: String,
    end: Result<Duration, String>,
}

impl Dialled {
    /// A name about which DNS tells nothing.
    pub(super) fn unanswered((pool, name, problem): control::Unanswered) -> Self {
        let (backend, address) = (Arc::from("(discover)"), name.to_string());
        Self { pool, backend, address, end: Err(format!("name: {problem}")) }
    }

    /// Whether a connection came about.
    pub(super) fn connected(&self) -> bool {
        self.end.is_ok()
    }
}

/// Dials every backend, in the order of the file. `servers`: who is asked for names; none: the
/// system.
pub(super) async fn all(snapshot: &Snapshot, servers: &[SocketAddr]) -> Vec<Dialled> {
    let backends = snapshot
        .pools
        .iter()
        .flat_map(|pool| pool.members.iter().map(move |member| (pool, member)))
        .map(|(pool, member)| async move {
            let backend = &member.backend;
            Dialled {
                pool: Arc::clone(&pool.name),
                backend: Arc::clone(&backend.id),
                address: backend.address.to_string(),
                end: dial(pool, &backend.address, &member.host, servers).await,
            }
        });
    futures_util::stream::iter(backends).buffered(AT_ONCE).collect().await
}

/// As a table.
pub(super) fn table(all: &[Dialled]) -> String {
    let mut table = Table::new(&["BACKEND", "ADDRESS", "RESULT"], &[]);
    for one in all {
        let result = match &one.end {
            Ok(took) => format!("connected in {:.1} ms", took.as_secs_f64() * 1e3),
            Err(problem) => problem.clone(),
        };
        table.row([format!("{}/{}", one.pool, one.backend), one.address.clone(), result]);
    }
    table.text()
}

/// Connects within the pool's time for all of it: name, TCP, TLS.
async fn dial(
    pool: &Pool,
    address: &Address,
    name: &str,
    servers: &[SocketAddr],
) -> Result<Duration, String> {
    let limit = pool.connections.connect_timeout;
    let begun = Instant::now();
    let connected = async { connect(&addresses(address, servers).await?, name, pool).await };
    match tokio::time::timeout(limit, connected).await {
        Ok(end) => end.map(|()| begun.elapsed()),
        Err(_) => Err(format!("no connection within {limit:?}")),
    }
}

async fn addresses(address: &Address, servers: &[SocketAddr]) -> Result<Vec<SocketAddr>, String> {
    let host = match &address.host {
        AddressHost::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, address.port)]),
        AddressHost::Name(name) => name,
    };
    let found = if servers.is_empty() {
        let found = tokio::net::lookup_host((&**host, address.port)).await;
        found.map(Iterator::collect).map_err(|error| error.to_string())
    } else {
        let at = |ip| SocketAddr::new(ip, address.port);
        let found = control::addresses(servers, host).await;
        found.map(|found| found.into_iter().map(at).collect())
    };
    found.map_err(|error| format!("name: {error}"))
}

/// `name`: by which TLS knows it.
async fn connect(addresses: &[SocketAddr], name: &str, pool: &Pool) -> Result<(), String> {
    let mut problem = "name: it has no address".to_owned();
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(mut stream) => {
                if let Some(header) = pool.own_header() {
                    let sent = stream.write_all(&header).await;
                    sent.map_err(|error| format!("PROXY header: {error}"))?;
                }
                return handshake(stream, name, pool.tls.as_deref()).await;
            }
            Err(error) => problem = format!("connect: {error}"),
        }
    }
    Err(problem)
}

async fn handshake(stream: TcpStream, host: &str, tls: Option<&ClientTls>) -> Result<(), String> {
    let Some(tls) = tls else { return Ok(()) };
    let name = tls.server_name(host)?;
    let connector = TlsConnector::from(Arc::clone(tls.config()));
    connector.connect(name, stream).await.map(drop).map_err(|error| format!("TLS: {error}"))
}
