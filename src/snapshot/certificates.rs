//! A listener's certificates from their files, with every mistake in its place.

use crate::config::Report;
use crate::config::model;
use crate::tls::certificate::{self, Certificate};

/// Loads a listener's certificates, reporting each that cannot be used.
pub fn load_certificates(
    tls: &model::ListenerTls,
    report: &mut Report,
) -> Option<Vec<Certificate>> {
    let mut certificates = Vec::with_capacity(tls.certificates.len());
    for files in &tls.certificates {
        match certificate::load(&files.cert.value, &files.key.value) {
            Ok(certificate) => certificates.push(certificate),
            Err(unusable) => {
                let place = if unusable.of_key { &files.key.place } else { &files.cert.place };
                report.error(unusable.problem, place);
            }
        }
    }
    (certificates.len() == tls.certificates.len()).then_some(certificates)
}
