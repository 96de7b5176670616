//! An origin in TLS: it answers each request alike, and remembers how it was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
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
    pki::server(names, &["http/1.1"])
}

/// Hands each connection on, after the handshake where there is TLS.
pub(crate) async fn accept<F>(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    serve: impl Fn(Box<dyn Io>) -> F + Clone + Send + Sync + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (tls, serve) = (tls.clone(), serve.clone());
        super::spawn(async move {
            match tls.map(TlsAcceptor::from) {
                None => serve(Box::new(stream)).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(Box::new(stream)).await;
                    }
                }
            }
        });
    }
}

/// TCP, or TLS over it.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Io for S {}
