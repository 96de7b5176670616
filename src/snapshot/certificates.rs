//! A listener's certificates, and who its clients must be, from files, with every mistake in its
//! place.

use std::sync::Arc;

use jiff::Timestamp;

use crate::config::Report;
use crate::config::model;
use crate::tls::certificate::{self, Certificate};
use crate::tls::client_auth::{self, ClientAuth};

/// Certificates, and how clients are judged where they are asked for theirs.
pub type Loaded = (Vec<Certificate>, Option<Arc<ClientAuth>>);

/// Loads what a listener's TLS needs, reporting each file that cannot be used.
pub fn load(tls: &model::ListenerTls, report: &mut Report) -> Option<Loaded> {
    let certificates = certificates(tls, report);
    // Looked at in any case: all mistakes are told at once.
    let client_auth = match &tls.client_auth {
        None => None,
        Some(auth) => Some(Arc::new(client_auth(auth, report)?)),
    };
    Some((certificates?, client_auth))
}

fn certificates(tls: &model::ListenerTls, report: &mut Report) -> Option<Vec<Certificate>> {
    let mut certificates = Vec::with_capacity(tls.certificates.len());
    for files in &tls.certificates {
        match certificate::load(&files.cert.value, &files.key.value) {
            Ok(certificate) => certificates.push(certificate),
            Err(all) => {
                for unusable in all {
                    let place = if unusable.of_key { &files.key.place } else { &files.cert.place };
                    report.error(unusable.problem, place);
                }
            }
        }
    }
    (certificates.len() == tls.certificates.len()).then_some(certificates)
}

/// A list that has ended is used all the same, and told of: else a restart would take all other
/// sites of the process down with it.
fn client_auth(auth: &model::ClientAuth, report: &mut Report) -> Option<ClientAuth> {
    let authorities = match client_auth::authorities(&auth.ca.value) {
        Ok(authorities) => Some(authorities),
        Err(problem) => {
            report.error(problem, &auth.ca.place);
            None
        }
    };
    let now = Timestamp::now().as_second();
    let mut lists = Vec::with_capacity(auth.crl.len());
    for file in &auth.crl {
        match client_auth::lists(&file.value) {
            Ok(found) => {
                for list in found.facts().iter().filter(|list| list.has_ended(now)) {
                    let (path, issuer) = (list.path.display(), &list.issuer);
                    let message = format!("the revocation list {path} of {issuer} has ended");
                    report
                        .warning(message, &file.place)
                        .hint("no certificate of this issuer passes: fetch a new list");
                }
                lists.push(found);
            }
            Err(problem) => {
                report.error(problem, &file.place);
            }
        }
    }
    if lists.len() != auth.crl.len() {
        return None;
    }
    match ClientAuth::new(auth.required, authorities?, lists) {
        Ok(auth) => Some(auth),
        Err(problem) => {
            report.error(format!("client_auth: {problem}"), &auth.ca.place);
            None
        }
    }
}
