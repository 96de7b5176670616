//! `ostler check --connect`: dials every backend as the connector would.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::model::{Address, AddressHost};
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
    /// Whether a connection came about.
    pub(super) fn connected(&self) -> bool {
        self.end.is_ok()
    }
}

/// Dials every backend, in the order of the file.
pub(super) async fn all(snapshot: &Snapshot) -> Vec<Dialled> {
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
                end: dial(pool, &backend.address).await,
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
async fn dial(pool: &Pool, address: &Address) -> Result<Duration, String> {
    let limit = pool.connections.connect_timeout;
    let begun = Instant::now();
    let connected = connect(address, pool);
    match tokio::time::timeout(limit, connected).await {
        Ok(end) => end.map(|()| begun.elapsed()),
        Err(_) => Err(format!("no connection within {limit:?}")),
    }
}

async fn connect(address: &Address, pool: &Pool) -> Result<(), String> {
    let host = match &address.host {
        AddressHost::Ip(ip) => ip.to_string(),
        AddressHost::Name(name) => name.to_string(),
    };
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), address.port))
        .await
        .map_err(|error| format!("name: {error}"))?
        .collect();
    let mut problem = "name: it has no address".to_owned();
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(mut stream) => {
                if let Some(header) = pool.own_header() {
                    let sent = stream.write_all(&header).await;
                    sent.map_err(|error| format!("PROXY header: {error}"))?;
                }
                return handshake(stream, &host, pool.tls.as_deref()).await;
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
