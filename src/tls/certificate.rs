//! PEM files to a certified key, and the facts about it that operators ask for.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// A certificate chain with its key, checked to belong together.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// For rustls.
    pub key: Arc<CertifiedKey>,
    /// DNS names it is for, lower case, wildcards with their `*.`; addresses as text.
    pub names: Vec<String>,
    /// Last second of validity, Unix time.
    pub not_after: i64,
    /// Where the chain was read.
    pub path: PathBuf,
}

/// A file that cannot be used, and whose it is.
#[derive(Debug, Clone)]
pub struct Unusable {
    /// Whether the key's file is meant, not the chain's.
    pub of_key: bool,
    /// What is wrong with it, and what to do.
    pub problem: String,
}

/// Reads a chain and its key.
///
/// # Errors
/// Where a file cannot be read or parsed, where others can read the key, or where the two do not
/// belong together.
pub fn load(cert: &Path, key: &Path) -> Result<Certificate, Unusable> {
    let of_cert = |problem: String| Unusable { of_key: false, problem };
    let of_key = |problem: String| Unusable { of_key: true, problem };
    let name = |path: &Path| path.display().to_string();
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| of_cert(format!("cannot read the certificate {}: {error}", name(cert))))?;
    let leaf =
        chain.first().ok_or_else(|| of_cert(format!("{} holds no certificate", name(cert))))?;
    let (_, facts) = X509Certificate::from_der(leaf.as_ref())
        .map_err(|error| of_cert(format!("{} is no X.509 certificate: {error}", name(cert))))?;
    let names = names(&facts);
    let not_after = facts.validity().not_after.timestamp();

    let metadata = std::fs::metadata(key).map_err(|error| {
        let path = name(key);
        of_key(format!("cannot read the key {path}: {error}; it must be a file this user can read"))
    })?;
    let mode = metadata.permissions().mode();
    if mode & 0o077 != 0 {
        let path = name(key);
        let mode = mode & 0o777;
        return Err(of_key(format!(
            "others can read the key {path} (mode {mode:04o}): run `chmod 600 {path}`"
        )));
    }
    let secret = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| of_key(format!("cannot read the key {}: {error}", name(key))))?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let signing = provider
        .key_provider
        .load_private_key(secret)
        .map_err(|error| of_key(format!("cannot use the key {}: {error}", name(key))))?;
    let certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
        Err(_) => {
            let (key, cert) = (name(key), name(cert));
            return Err(of_key(format!("the key {key} does not belong to {cert}")));
        }
    }
    Ok(Certificate { key: Arc::new(certified), names, not_after, path: cert.to_path_buf() })
}

/// Subject alternative names, else the common name (as many self-made certificates have it).
pub(super) fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let mut names = Vec::new();
    if let Ok(Some(alternatives)) = certificate.subject_alternative_name() {
        for name in &alternatives.value.general_names {
            match name {
                GeneralName::DNSName(name) => names.push(name.to_ascii_lowercase()),
                GeneralName::IPAddress(bytes) => {
                    if let Ok(v4) = <[u8; 4]>::try_from(*bytes) {
                        names.push(std::net::Ipv4Addr::from(v4).to_string());
                    } else if let Ok(v6) = <[u8; 16]>::try_from(*bytes) {
                        names.push(std::net::Ipv6Addr::from(v6).to_string());
                    }
                }
                _ => {}
            }
        }
    }
    if names.is_empty() {
        let common = certificate.subject().iter_common_name().next();
        names.extend(common.and_then(|name| name.as_str().ok()).map(str::to_ascii_lowercase));
    }
    names
}
