//! The rustls configuration towards the backends of a pool.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_platform_verifier::Verifier;

use super::presented::{Presented, Witness};
use crate::config::model::PoolTls;

/// HTTP/2, as ALPN calls it.
pub const HTTP2: &[u8] = b"h2";

/// TLS to the backends of one pool.
#[derive(Debug)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    verifier: Arc<dyn ServerCertVerifier>,
    server_name: Option<ServerName<'static>>,
    key: String,
}

impl ClientTls {
    /// Compiles a pool's `tls` table, for HTTP/2 or HTTP/1.1.
    ///
    /// # Errors
    /// Where the bundle or the server name cannot be used.
    pub fn new(tls: &PoolTls, http2: bool) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let verifier: Arc<dyn ServerCertVerifier> = if !tls.verify {
            Arc::new(Unverified(provider))
        } else if let Some(ca) = &tls.ca {
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots(ca)?), provider)
                .build()
                .map_err(|error| format!("{}: {error}", ca.display()))?
        } else {
            let system = Verifier::new(provider);
            Arc::new(system.map_err(|error| format!("no system certificates: {error}"))?)
        };
        let mut config = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier))
            .with_no_client_auth();
        config.alpn_protocols = vec![if http2 { HTTP2 } else { b"http/1.1" }.to_vec()];
        let server_name = tls
            .server_name
            .as_ref()
            .map(|name| ServerName::try_from(name.clone()))
            .transpose()
            .map_err(|error| format!("server_name: {error}"))?;
        Ok(Self { config: Arc::new(config), verifier, server_name, key: Self::key_of(tls, http2) })
    }

    /// What tells one pool's TLS from another's. The bundle counts with its content, so that a
    /// reload after it changed makes new connections.
    pub fn key_of(tls: &PoolTls, http2: bool) -> String {
        let ca = tls.ca.as_ref().map(|path| {
            let content = std::fs::read(&path.value).unwrap_or_default();
            (path.value.display().to_string(), xxhash_rust::xxh3::xxh3_64(&content))
        });
        format!("{:?} {ca:?} {} {http2}", tls.server_name, tls.verify)
    }

    /// See [`Self::key_of`].
    pub fn key(&self) -> &str {
        &self.key
    }

    /// For the connector.
    pub fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    /// For one handshake from the beginning, and where it is taken down what the server shows.
    pub fn witnessed(&self) -> (ClientConfig, Arc<Presented>) {
        let presented = Arc::<Presented>::default();
        let witness = Witness::new(Arc::clone(&self.verifier), Arc::clone(&presented));
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = Resumption::disabled();
        config.dangerous().set_certificate_verifier(Arc::new(witness));
        (config, presented)
    }

    /// The name to send and verify: the pool's, else the backend's own host.
    ///
    /// # Errors
    /// Where the host is no name that TLS knows.
    pub fn server_name(&self, host: &str) -> Result<ServerName<'static>, String> {
        match &self.server_name {
            Some(name) => Ok(name.clone()),
            None => ServerName::try_from(host.to_owned()).map_err(|error| error.to_string()),
        }
    }
}

pub(super) fn roots(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    for certificate in certificates {
        roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if roots.is_empty() {
        return Err(format!("{} holds no certificate", path.display()));
    }
    Ok(roots)
}

/// For `verify = false`: any certificate, but a handshake that proves possession of its key.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
