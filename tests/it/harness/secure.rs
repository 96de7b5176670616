//! An origin in TLS: it answers each request alike, and remembers how it was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::pki;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nsecure";

/// One origin with a certificate of the authority.
pub(crate) struct TlsOrigin {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    config: Mutex<Arc<ServerConfig>>,
    /// The name of each handshake, and whether a request came.
    asked: Mutex<Vec<(String, bool)>>,
}

impl TlsOrigin {
    /// Serves on port zero as these names.
    pub(crate) async fn start(names: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = Mutex::new(config(names));
        let shared = Arc::new(Shared { config, asked: Mutex::default() });
        let accepting = Arc::clone(&shared);
        super::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                super::spawn(serve(stream, Arc::clone(&accepting)));
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Shows another certificate from now on.
    pub(crate) fn becomes(&self, names: &[&str]) {
        *self.shared.config.lock().unwrap() = config(names);
    }

    /// The server name of each handshake so far, and whether a request followed.
    pub(crate) fn asked(&self) -> Vec<(String, bool)> {
        self.shared.asked.lock().unwrap().clone()
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let config = Arc::clone(&shared.config.lock().unwrap());
    let Ok(mut stream) = TlsAcceptor::from(config).accept(stream).await else { return };
    let name = stream.get_ref().1.server_name().unwrap_or_default().to_owned();
    let mut bytes = [0; 4096];
    let asked = stream.read(&mut bytes).await.is_ok_and(|length| length > 0);
    shared.asked.lock().unwrap().push((name, asked));
    if asked {
        // Whoever asked may have left.
        let _ = stream.write_all(ANSWER).await;
    }
    let _ = stream.shutdown().await;
}

fn config(names: &[&str]) -> Arc<ServerConfig> {
    let folder = TempDir::new().unwrap();
    pki::issue(folder.path(), "origin", names);
    let certificate = CertificateDer::from_pem_file(folder.path().join("origin.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.path().join("origin.key")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}
