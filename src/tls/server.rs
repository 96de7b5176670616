//! The rustls configuration of a listener.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, ProducesTickets};

use super::store::CertificateStore;

/// Ticket keys, made and rotated in this process: shared by all listeners with the same
/// client-certificate policy and kept over reloads, so that visitors resume.
#[derive(Debug, Clone)]
pub struct Resumption(Arc<dyn ProducesTickets>);

impl Resumption {
    /// New keys.
    ///
    /// # Errors
    /// Where the system has no randomness.
    pub fn new() -> Result<Self, rustls::Error> {
        rustls::crypto::aws_lc_rs::Ticketer::new().map(Self)
    }
}

/// What a listener may offer.
#[derive(Debug, Clone, Copy)]
pub struct Offer {
    /// TLS 1.2 beside 1.3.
    pub tls12: bool,
    /// `http/1.1` and `http/1.0` in ALPN.
    pub http1: bool,
    /// `h2` in ALPN.
    pub http2: bool,
}

/// Makes a listener's configuration.
///
/// # Errors
/// Where the provider supports none of the versions.
pub fn config(
    store: &Arc<CertificateStore>,
    resumption: &Resumption,
    offer: Offer,
) -> Result<ServerConfig, rustls::Error> {
    let versions: &[&rustls::SupportedProtocolVersion] = if offer.tls12 {
        &[&rustls::version::TLS13, &rustls::version::TLS12]
    } else {
        &[&rustls::version::TLS13]
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let resolver: Arc<dyn rustls::server::ResolvesServerCert> =
        Arc::<CertificateStore>::clone(store);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    if offer.http2 {
        config.alpn_protocols.push(b"h2".to_vec());
    }
    if offer.http1 {
        config.alpn_protocols.push(b"http/1.1".to_vec());
        // `curl --http1.0` and old monitors offer nothing else.
        config.alpn_protocols.push(b"http/1.0".to_vec());
    }
    config.ticketer = Arc::clone(&resumption.0);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // One ticket is enough for a visitor who resumes one connection at a time, and saves bytes.
    config.send_tls13_tickets = 1;
    Ok(config)
}
