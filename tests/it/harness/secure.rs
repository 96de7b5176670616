//! An origin in TLS: it answers each request alike.

use std::net::SocketAddr;
use std::sync::Arc;

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
}

impl TlsOrigin {
    /// Serves on port zero as these names.
    pub(crate) async fn start(names: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = config(names);
        super::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                super::spawn(serve(stream, Arc::clone(&config)));
            }
        });
        Self { address }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(stream: TcpStream, config: Arc<ServerConfig>) {
    let Ok(mut stream) = TlsAcceptor::from(config).accept(stream).await else { return };
    let mut asked = [0; 4096];
    if stream.read(&mut asked).await.is_ok_and(|length| length > 0) {
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
