//! PEM files to a certified key, and the facts about it that operators ask for.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
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
/// belong together; what is wrong with the chain comes before what is wrong with the key.
pub fn load(cert: &Path, key: &Path) -> Result<Certificate, Vec<Unusable>> {
    let (chain, signing) = match (chain(cert), signing(key)) {
        (Ok(chain), Ok(signing)) => (chain, signing),
        (chain, signing) => {
            let of_cert = chain.err().map(|problem| Unusable { of_key: false, problem });
            let of_key = signing.err().map(|problem| Unusable { of_key: true, problem });
            return Err(of_cert.into_iter().chain(of_key).collect());
        }
    };
    let (chain, names, not_after) = chain;
    let certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
        Err(_) => {
            let (key, cert) = (key.display(), cert.display());
            let problem = format!("the key {key} does not belong to {cert}");
            return Err(vec![Unusable { of_key: true, problem }]);
        }
    }
    Ok(Certificate { key: Arc::new(certified), names, not_after, path: cert.to_path_buf() })
}

/// The chain, the names that its leaf is for, and the last second of that.
type Chain = (Vec<CertificateDer<'static>>, Vec<String>, i64);

fn chain(path: &Path) -> Result<Chain, String> {
    let name = path.display();
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("cannot read the certificate {name}: {}", in_words(&error)))?;
    let leaf = chain.first().ok_or_else(|| format!("{name} holds no certificate"))?;
    let (_, facts) = X509Certificate::from_der(leaf.as_ref())
        .map_err(|error| format!("{name} is no X.509 certificate: {error}"))?;
    let (names, not_after) = (names(&facts), facts.validity().not_after.timestamp());
    Ok((chain, names, not_after))
}

fn signing(path: &Path) -> Result<Arc<dyn SigningKey>, String> {
    let name = path.display();
    let metadata = std::fs::metadata(path).map_err(|error| {
        format!("cannot read the key {name}: {error}; it must be a file this user can read")
    })?;
    let mode = metadata.permissions().mode();
    if mode & 0o077 != 0 {
        let mode = mode & 0o777;
        return Err(format!(
            "others can read the key {name} (mode {mode:04o}): run `chmod 600 {name}`"
        ));
    }
    let secret = PrivateKeyDer::from_pem_file(path)
        .map_err(|error| format!("cannot read the key {name}: {}", in_words(&error)))?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let signing = provider.key_provider.load_private_key(secret);
    signing.map_err(|error| format!("cannot use the key {name}: {error}"))
}

/// What is wrong with a PEM file (RFC 7468), as an operator would say it.
fn in_words(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "it holds none in PEM".to_owned(),
        pem::Error::MissingSectionEnd { .. } => "its last block has no END line".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line of it is broken".to_owned(),
        pem::Error::Base64Decode(_) => "it holds what is no base64".to_owned(),
        other => other.to_string(),
    }
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
