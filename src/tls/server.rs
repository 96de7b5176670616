//! The rustls configuration of a listener, and what of it follows files without a reload.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{Ticketer, cipher_suite as suite, default_provider};
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::{ServerConfig, SupportedCipherSuite};

use crate::config::model::SecretKey;

use super::client_auth::ClientAuth;
use super::store::CertificateStore;
use super::tickets::SharedTickets;

/// Ticket keys, for listeners that ask clients for no certificate: made and rotated in this
/// process, for all of them and kept over reloads, or the file's.
#[derive(Debug, Clone)]
pub struct Resumption(Arc<dyn ProducesTickets>);

impl Resumption {
    /// New keys.
    ///
    /// # Errors
    /// Where the system has no randomness.
    pub fn new() -> Result<Self, rustls::Error> {
        Ticketer::new().map(Self)
    }

    /// By these keys, the first of which seals; other nodes have them, too.
    ///
    /// # Errors
    /// Where the cryptographic library takes no key.
    pub fn shared(keys: &[SecretKey]) -> Result<Self, rustls::Error> {
        let unusable = || rustls::Error::General("the ticket keys cannot be used".to_owned());
        Ok(Self(Arc::new(SharedTickets::new(keys).ok_or_else(unusable)?)))
    }
}

/// What Mozilla's intermediate profile lists for these certificates, in its order: authenticated
/// encryption with keys that nobody can find out afterwards.
const SUITES: [SupportedCipherSuite; 9] = [
    suite::TLS13_AES_128_GCM_SHA256,
    suite::TLS13_AES_256_GCM_SHA384,
    suite::TLS13_CHACHA20_POLY1305_SHA256,
    suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

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

/// A listener's side of handshakes.
#[derive(Debug)]
pub struct Server {
    /// Its certificates, replaced in place when the files change.
    pub store: Arc<CertificateStore>,
    resumption: Resumption,
    offer: Offer,
    terms: ArcSwap<Terms>,
}

/// What holds for a handshake.
#[derive(Debug)]
pub struct Terms {
    /// For the acceptor.
    pub config: Arc<ServerConfig>,
    /// Present: clients are asked for a certificate.
    pub client_auth: Option<Arc<ClientAuth>>,
}

impl Server {
    /// With these certificates and clients.
    ///
    /// # Errors
    /// See [`config`].
    pub fn new(
        store: Arc<CertificateStore>,
        resumption: Resumption,
        offer: Offer,
        client_auth: Option<Arc<ClientAuth>>,
    ) -> Result<Self, rustls::Error> {
        let config = Arc::new(config(&store, &resumption, offer, client_auth.as_deref())?);
        let terms = ArcSwap::from_pointee(Terms { config, client_auth });
        Ok(Self { store, resumption, offer, terms })
    }

    /// What holds now.
    pub fn terms(&self) -> Arc<Terms> {
        self.terms.load_full()
    }

    /// Judges clients otherwise, in handshakes to come.
    ///
    /// # Errors
    /// See [`config`].
    pub fn judge_by(&self, client_auth: Option<Arc<ClientAuth>>) -> Result<(), rustls::Error> {
        let config = config(&self.store, &self.resumption, self.offer, client_auth.as_deref())?;
        self.terms.store(Arc::new(Terms { config: Arc::new(config), client_auth }));
        Ok(())
    }
}

/// Makes a listener's configuration.
///
/// # Errors
/// Where the provider supports none of the versions.
pub fn config(
    store: &Arc<CertificateStore>,
    resumption: &Resumption,
    offer: Offer,
    client_auth: Option<&ClientAuth>,
) -> Result<ServerConfig, rustls::Error> {
    let versions: &[&rustls::SupportedProtocolVersion] = if offer.tls12 {
        &[&rustls::version::TLS13, &rustls::version::TLS12]
    } else {
        &[&rustls::version::TLS13]
    };
    let provider = CryptoProvider { cipher_suites: SUITES.to_vec(), ..default_provider() };
    let provider = Arc::new(provider);
    let resolver: Arc<dyn rustls::server::ResolvesServerCert> =
        Arc::<CertificateStore>::clone(store);
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions)?;
    let builder = match client_auth {
        None => builder.with_no_client_auth(),
        Some(auth) => builder.with_client_cert_verifier(Arc::clone(&auth.verifier)),
    };
    let mut config = builder.with_cert_resolver(resolver);
    // The order is ours, so that it is the same for everybody who looks at it.
    config.ignore_client_order = true;
    if offer.http2 {
        config.alpn_protocols.push(b"h2".to_vec());
    }
    if offer.http1 {
        config.alpn_protocols.push(b"http/1.1".to_vec());
        // `curl --http1.0` and old monitors offer nothing else.
        config.alpn_protocols.push(b"http/1.0".to_vec());
    }
    config.session_storage = Arc::new(NoServerSessionStorage {});
    if client_auth.is_none() {
        config.ticketer = Arc::clone(&resumption.0);
        // One ticket is enough for a visitor who resumes one connection at a time, and saves bytes.
        config.send_tls13_tickets = 1;
    } else {
        // A resumed session is not verified again (CVE-2025-23419 was of this kind): who has been
        // revoked, whose certificate has ended or whom another listener let in would pass. So each
        // connection shows its certificate; rustls's own default is to give no tickets.
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}
