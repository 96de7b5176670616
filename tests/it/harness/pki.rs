//! One certificate authority for all tests, and a client configuration that trusts it.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber,
};
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

/// A client's certificate and key, for a configuration of [`client`].
pub(crate) type Shown = (CertificateDer<'static>, PrivateKeyDer<'static>);

/// Issues the certificate of a client, with this serial number.
pub(crate) fn issue_client(name: &str, serial: u64) -> Shown {
    signed_client(&AUTHORITY, name, serial)
}

/// The same, by an authority that nobody knows.
pub(crate) fn foreign_client(name: &str) -> Shown {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "nobody knows");
    let other = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    signed_client(&other, name, 1)
}

fn signed_client(by: &CertifiedIssuer<'_, KeyPair>, name: &str, serial: u64) -> Shown {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(serial));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&key, by).unwrap();
    (certificate.der().clone(), PrivateKeyDer::Pkcs8(key.serialize_der().into()))
}

/// Writes a revocation list of the authority with these serial numbers, which ends with this year.
pub(crate) fn revoke(path: &Path, serials: &[u64], year: i32) {
    let begin = rcgen::date_time_ymd(2020, 1, 1);
    let revoked = |serial: &u64| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: begin,
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: begin,
        next_update: rcgen::date_time_ymd(year, 12, 31),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    // In one rename, as careful operators do.
    let next = path.with_extension("next");
    std::fs::write(&next, list.signed_by(&AUTHORITY).unwrap().pem().unwrap()).unwrap();
    std::fs::rename(next, path).unwrap();
}

/// Writes the authority's own certificate as `ca.crt`.
pub(crate) fn authority(directory: &Path) {
    std::fs::write(directory.join("ca.crt"), AUTHORITY.pem()).unwrap();
}

/// A client that trusts the authority and offers these protocols.
pub(crate) fn client(protocols: &[&str]) -> Arc<rustls::ClientConfig> {
    client_that_shows(protocols, None, &[&rustls::version::TLS13, &rustls::version::TLS12])
}

/// The same with a certificate of its own, and only these versions.
pub(crate) fn client_that_shows(
    protocols: &[&str],
    shown: Option<&Shown>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(AUTHORITY.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match shown {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            builder.with_client_auth_cert(vec![certificate.clone()], key.clone_key()).unwrap()
        }
    };
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
