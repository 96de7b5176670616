//! One certificate authority for all tests, and a client configuration that trusts it.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

static AUTHORITY: LazyLock<CertifiedIssuer<'static, KeyPair>> = LazyLock::new(|| {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
});

/// Writes `STEM.crt` and `STEM.key` for these names, the key readable by its owner only.
pub(crate) fn issue(directory: &Path, stem: &str, names: &[&str]) {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(names).unwrap();
    let certificate = params.signed_by(&key, &AUTHORITY).unwrap();
    std::fs::write(directory.join(format!("{stem}.crt")), certificate.pem()).unwrap();
    let path = directory.join(format!("{stem}.key"));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path).unwrap().write_all(key.serialize_pem().as_bytes()).unwrap();
}

/// Writes the authority's own certificate as `ca.crt`.
pub(crate) fn authority(directory: &Path) {
    std::fs::write(directory.join("ca.crt"), AUTHORITY.pem()).unwrap();
}

/// A client that trusts the authority and offers these protocols.
pub(crate) fn client(protocols: &[&str]) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(AUTHORITY.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// A server with a certificate for these names, and these protocols.
pub(crate) fn server(names: &[&str], protocols: &[&str]) -> Arc<rustls::ServerConfig> {
    let folder = TempDir::new().unwrap();
    issue(folder.path(), "server", names);
    let certificate = CertificateDer::from_pem_file(folder.path().join("server.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.path().join("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// What a client says first.
pub(crate) fn client_hello() -> Vec<u8> {
    let name = "localhost".try_into().unwrap();
    let mut client = rustls::ClientConnection::new(client(&["http/1.1"]), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}
