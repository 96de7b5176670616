//! The TLS of a check: the pool's settings, with the protocol that the check speaks.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::conversation::Notes;
use super::probe::Deadline;
use crate::snapshot::{ClientTls, HTTP2, HealthKind};
use crate::telemetry::chain;

/// What a check needs for a handshake.
#[derive(Debug, Clone)]
pub(super) struct Tls {
    client: Arc<ClientTls>,
    /// The pool's, with the protocol of the check.
    config: Arc<ClientConfig>,
    /// To send and verify, or why there is none.
    name: Result<ServerName<'static>, String>,
}

impl Tls {
    /// For checks of this kind of a backend on this host.
    pub(super) fn new(client: &Arc<ClientTls>, kind: &HealthKind, host: &str) -> Self {
        let mut config = Arc::clone(client.config());
        match kind {
            HealthKind::Grpc { .. } => {
                Arc::make_mut(&mut config).alpn_protocols = vec![HTTP2.to_vec()];
            }
            // A resumed one shows no certificate.
            HealthKind::Tls => Arc::make_mut(&mut config).resumption = Resumption::disabled(),
            HealthKind::Http { .. } | HealthKind::Tcp => {}
        }
        Self { client: Arc::clone(client), config, name: client.server_name(host) }
    }

    /// Shakes hands over a connection.
    ///
    /// # Errors
    /// Why it came to nothing, as an operator wants to read it.
    pub(super) async fn handshake(
        &self,
        tcp: TcpStream,
        deadline: &Deadline,
        notes: &mut Notes,
    ) -> Result<TlsStream<TcpStream>, String> {
        let name = self.name.clone().map_err(|error| format!("TLS: {error}"))?;
        let (config, presented) = if notes.wanted() {
            let (mut config, presented) = self.client.witnessed();
            config.alpn_protocols.clone_from(&self.config.alpn_protocols);
            (Arc::new(config), Some(presented))
        } else {
            (Arc::clone(&self.config), None)
        };
        let asked = name.to_str().into_owned();
        let handshake = TlsConnector::from(config).connect(name, tcp);
        let stream = deadline.within("in the TLS handshake", handshake).await;
        if let Some(shown) = presented.and_then(|presented| presented.text()) {
            notes.note("certificate", || shown);
        }
        let stream = stream?.map_err(|error| format!("TLS: {}", chain(&error)));
        notes.note("tls", || match &stream {
            Ok(stream) => agreed(&asked, stream.get_ref().1),
            Err(problem) => format!("failed for server name {asked}: {problem}"),
        });
        stream
    }
}

/// What a handshake has come to.
fn agreed(name: &str, connection: &ClientConnection) -> String {
    let mut text = format!("agreed for server name {name}");
    if let Some(version) = connection.protocol_version() {
        text = format!("{text}, {}", version.as_str().unwrap_or("an unknown version"));
    }
    if let Some(suite) = connection.negotiated_cipher_suite() {
        text = format!("{text}, {}", suite.suite().as_str().unwrap_or("an unknown cipher"));
    }
    if let Some(protocol) = connection.alpn_protocol() {
        text = format!("{text}, {}", String::from_utf8_lossy(protocol));
    }
    text
}
