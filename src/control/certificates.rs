//! Certificates, authorities of clients and revocation lists that change on disk go into force by
//! themselves, without a new generation.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Control;
use super::change::{Named, certificates};
use super::reload::ListenerSockets;
use crate::config::model::{ListenerTls, Model, UnknownName};
use crate::config::{Place, Report};
use crate::event::{Actor, Event};
use crate::snapshot::certificates::load;
use crate::task;
use crate::tls::server::Server;
use crate::tls::store::Table;

/// A pair that does not match yet is looked at again: the other half is about to be written.
const AGAIN: Duration = Duration::from_secs(1);

/// What is known about the files of each listener, by name.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    in_force: Named,
    /// Content that could not be used, and how often it was tried.
    failed: HashMap<String, (u64, u32)>,
}

impl Certificates {
    /// A configuration has come into force with certificates of this content: what it was before
    /// they were read, for the files may be others by now.
    pub(super) fn in_force(&mut self, content: &Named) {
        self.in_force.clone_from(content);
        self.failed.clear();
    }

    /// Whether this content is new, and not known to be of no use.
    fn to_be_tried(&self, listener: &str, content: u64) -> bool {
        let failed = self.failed.get(listener).filter(|(known, _)| *known == content);
        self.in_force.get(listener) != Some(&content) && failed.is_none_or(|(_, tries)| *tries < 2)
    }

    /// Counts a failure; true: it was the first with this content.
    fn failure(&mut self, listener: &str, content: u64) -> bool {
        let entry = self.failed.entry(listener.to_owned()).or_insert((content, 0));
        if entry.0 != content {
            *entry = (content, 0);
        }
        entry.1 += 1;
        entry.1 == 1
    }

    fn success(&mut self, listener: &str, content: u64) {
        self.failed.remove(listener);
        self.in_force.insert(listener.to_owned(), content);
    }
}

/// All files that listeners' TLS is read from.
pub(super) fn files(model: &Model) -> Vec<PathBuf> {
    let tls = model.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    tls.flat_map(ListenerTls::files).cloned().collect()
}

/// Puts a listener's files as they are now into force; false where some cannot be used.
fn renewed(files: &ListenerTls, server: &Server, report: &mut Report) -> bool {
    let Some((certificates, client_auth)) = load(files, report) else { return false };
    if let Err(error) = server.judge_by(client_auth) {
        report.error(error.to_string(), &Place::default());
        return false;
    }
    let reject = files.unknown_name == UnknownName::Reject;
    server.store.publish(Arc::new(Table::new(certificates, reject)));
    true
}

impl<S: ListenerSockets> Control<S> {
    /// Looks at the certificates on disk and publishes those that changed and can be used.
    pub(super) fn certificates_changed(&mut self) {
        let loaded = self.facts.loaded();
        if !loaded.model.runtime.watch_certificates {
            return;
        }
        let snapshot = self.facts.current.load();
        for (written, listener) in loaded.model.listeners.iter().zip(&snapshot.listeners) {
            let (Some(files), Some(tls)) = (&written.tls, &listener.tls) else { continue };
            let (name, content) = (&*listener.name, certificates(written));
            if !self.certificates.to_be_tried(name, content) {
                continue;
            }
            let mut report = loaded.report();
            report.mistakes.clear();
            if renewed(files, &tls.server, &mut report) {
                self.certificates.success(name, content);
                self.shapes.renew(name, content);
                let actor = Actor("certificate watch".to_owned());
                self.audit.record(&actor, "certificates", &format!("listener {name}"), None);
                if !report.mistakes.is_empty() {
                    let problems = report.render(false);
                    tracing::warn!(listener = name, "changed certificates are used\n{problems}");
                }
            } else if self.certificates.failure(name, content) {
                let events = self.events.clone();
                drop(task::spawn("certificates again", async move {
                    tokio::time::sleep(AGAIN).await;
                    // Nobody listens any more when the process ends.
                    let _ = events.send(Event::CertificatesChanged).await;
                }));
            } else {
                let problems = report.render(false);
                tracing::error!(listener = name, "changed certificates are not used\n{problems}");
            }
        }
        self.follow_files();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_of_no_use_is_tried_twice_and_new_content_again() {
        let mut known = Certificates::default();
        known.success("web", 1);
        assert!(!known.to_be_tried("web", 1));
        assert!(known.to_be_tried("web", 2));
        assert!(known.failure("web", 2));
        assert!(known.to_be_tried("web", 2));
        assert!(!known.failure("web", 2));
        assert!(!known.to_be_tried("web", 2));
        assert!(known.to_be_tried("web", 3));
        assert!(known.failure("web", 3));
        known.success("web", 3);
        assert!(known.to_be_tried("web", 2));
    }
}
