//! Who clients must be: authorities and revocation lists, from their files to a verifier.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, Error};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _};

use crate::telemetry::counters::HandshakeResult;

/// How certificates of clients are judged.
#[derive(Debug)]
pub struct ClientAuth {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    /// The lists that it looks into, in the order of the file.
    pub lists: Vec<RevocationList>,
}

/// The facts about a revocation list that operators ask for.
#[derive(Debug, Clone)]
pub struct RevocationList {
    /// Where it was read.
    pub path: PathBuf,
    /// Whose certificates it is about.
    pub issuer: String,
    /// Since when it holds, Unix time.
    pub this_update: i64,
    /// Last second in which it holds, Unix time; none: it says nothing about it.
    pub next_update: Option<i64>,
}

/// Lists of one file, with what they say.
#[derive(Debug)]
pub struct Lists {
    bytes: Vec<CertificateRevocationListDer<'static>>,
    facts: Vec<RevocationList>,
}

impl RevocationList {
    /// Whether it no longer holds (`now`: Unix time).
    pub fn has_ended(&self, now: i64) -> bool {
        self.next_update.is_some_and(|end| end < now)
    }
}

impl Lists {
    /// What they say of themselves.
    pub fn facts(&self) -> &[RevocationList] {
        &self.facts
    }
}

impl ClientAuth {
    /// Who shows none is served, unless it is `required`. One that is shown must hold, and with
    /// `lists` some list that is in force must cover it and everyone above it.
    ///
    /// # Errors
    /// Where a list cannot be used.
    pub fn new(
        required: bool,
        authorities: RootCertStore,
        lists: Vec<Lists>,
    ) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider)
                .enforce_revocation_expiration();
        let mut facts = Vec::new();
        for file in lists {
            builder = builder.with_crls(file.bytes);
            facts.extend(file.facts);
        }
        if !required {
            builder = builder.allow_unauthenticated();
        }
        let verifier = builder.build().map_err(|error| error.to_string())?;
        Ok(Self { verifier, lists: facts })
    }
}

/// Reads the certificates of those who issue the clients'.
///
/// # Errors
/// Where the file cannot be read or holds none.
pub fn authorities(path: &Path) -> Result<RootCertStore, String> {
    super::client::roots(path)
}

/// Reads revocation lists: any number in PEM, or one in DER, as authorities publish them.
///
/// # Errors
/// Where the file cannot be read or holds none.
pub fn lists(path: &Path) -> Result<Lists, String> {
    let name = path.display();
    let content = std::fs::read(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    let pem = content.windows(PEM.len()).any(|bytes| bytes == PEM);
    let bytes = if pem {
        CertificateRevocationListDer::pem_slice_iter(&content)
            .collect::<Result<Vec<_>, PemError>>()
            .map_err(|error| format!("cannot read {name}: {error}"))?
    } else {
        vec![content.into()]
    };
    if bytes.is_empty() {
        return Err(format!("{name} holds no revocation list"));
    }
    let mut facts = Vec::with_capacity(bytes.len());
    for list in &bytes {
        let (_, parsed) = CertificateRevocationList::from_der(list)
            .map_err(|error| format!("{name} is no revocation list: {error}"))?;
        facts.push(RevocationList {
            path: path.to_path_buf(),
            issuer: parsed.issuer().to_string(),
            this_update: parsed.last_update().timestamp(),
            next_update: parsed.next_update().map(|time| time.timestamp()),
        });
    }
    Ok(Lists { bytes, facts })
}

const PEM: &[u8] = b"-----BEGIN";

/// The field's value that shows a certificate to backends: its DER as a byte sequence (RFC 9440
/// §2.2, RFC 9651 §3.3.5).
pub fn field_value(certificate: &CertificateDer<'_>) -> Option<http::HeaderValue> {
    use base64::Engine as _;
    let mut text = String::with_capacity(certificate.len() * 4 / 3 + 6);
    text.push(':');
    base64::engine::general_purpose::STANDARD.encode_string(certificate, &mut text);
    text.push(':');
    http::HeaderValue::try_from(text).ok()
}

/// What a handshake is counted as that has failed with this error.
pub fn result(error: &std::io::Error) -> HandshakeResult {
    let error = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
    match error {
        Some(Error::NoCertificatesPresented) => HandshakeResult::NoCertificate,
        Some(Error::InvalidCertificate(wrong)) => match wrong {
            CertificateError::Revoked => HandshakeResult::CertificateRevoked,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                HandshakeResult::CertificateExpired
            }
            CertificateError::UnknownIssuer => HandshakeResult::CertificateUnknownIssuer,
            CertificateError::UnknownRevocationStatus
            | CertificateError::ExpiredRevocationList
            | CertificateError::ExpiredRevocationListContext { .. } => {
                HandshakeResult::CertificateUnchecked
            }
            _ => HandshakeResult::CertificateRefused,
        },
        _ => HandshakeResult::Failed,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_is_wrong_with_a_certificate_has_a_word_of_its_own() {
        use CertificateError::{BadSignature, Expired, Revoked, UnknownIssuer};
        let word = |error: Error| result(&io::Error::other(error)).as_str();
        for (wrong, expected) in [
            (Revoked, "certificate_revoked"),
            (Expired, "certificate_expired"),
            (UnknownIssuer, "certificate_unknown_issuer"),
            (CertificateError::UnknownRevocationStatus, "certificate_unchecked"),
            (CertificateError::ExpiredRevocationList, "certificate_unchecked"),
            (BadSignature, "certificate_refused"),
        ] {
            assert_eq!(word(Error::InvalidCertificate(wrong)), expected);
        }
        assert_eq!(word(Error::NoCertificatesPresented), "no_certificate");
        assert_eq!(word(Error::DecryptError), "failed");
        assert_eq!(result(&io::Error::other("closed")), HandshakeResult::Failed);
    }

    #[test]
    fn a_certificate_is_told_as_a_byte_sequence() {
        let value = field_value(&CertificateDer::from(vec![0xfb, 0xff, 0xfe, 0]));
        assert_eq!(value.unwrap(), ":+//+AA==:");
    }

    #[test]
    fn what_holds_no_list_is_told_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clients.crl");
        assert!(lists(&path).unwrap_err().contains("cannot read"));
        for (content, wrong) in [
            ("", "is no revocation list"),
            ("garbage", "is no revocation list"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "holds no"),
        ] {
            std::fs::write(&path, content).unwrap();
            let problem = lists(&path).unwrap_err();
            assert!(problem.contains(wrong) && problem.contains("clients.crl"), "{problem}");
        }
    }
}
