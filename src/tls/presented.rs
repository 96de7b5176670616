//! The certificate that a server has shown in a handshake, whether it was believed or not.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::certificate::names;

/// What was shown.
#[derive(Debug, Default)]
pub struct Presented(Mutex<Option<String>>);

impl Presented {
    /// In words; none where it did not come to that.
    pub fn text(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Judges as another one does, and takes down what is shown.
#[derive(Debug)]
pub(super) struct Witness {
    judge: Arc<dyn ServerCertVerifier>,
    presented: Arc<Presented>,
}

impl Witness {
    pub(super) fn new(judge: Arc<dyn ServerCertVerifier>, presented: Arc<Presented>) -> Self {
        Self { judge, presented }
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let text = described(end_entity, intermediates.len());
        *self.presented.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
        self.judge.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judge.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judge.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.supported_verify_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.judge.requires_raw_public_keys()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        self.judge.root_hint_subjects()
    }
}

/// Whose it is, who says so, what it is for, and from when until when.
fn described(end_entity: &CertificateDer<'_>, others: usize) -> String {
    let Ok((_, facts)) = X509Certificate::from_der(end_entity.as_ref()) else {
        return "what was shown is no X.509 certificate".to_owned();
    };
    let time = |seconds| Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    let validity = facts.validity();
    format!(
        "subject {}\nissuer {}\nnames {}\nvalid {} to {}\nsent with {others} more",
        facts.subject(),
        facts.issuer(),
        names(&facts).join(", "),
        time(validity.not_before.timestamp()),
        time(validity.not_after.timestamp()),
    )
}
