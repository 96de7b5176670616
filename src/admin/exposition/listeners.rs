//! What `/metrics` says of listeners: connections, handshakes, and when what they show ends.

use std::collections::BTreeMap;

use super::Page;
use crate::snapshot;
use crate::telemetry::Family;
use crate::telemetry::counters::{
    ClientProtocol, HandshakeResult, HandshakeVersion, ListenerCounters, PerWorker, RefuseCause,
};

impl Page {
    pub(super) fn listener(&mut self, name: &str, counters: &PerWorker<ListenerCounters>) {
        for protocol in ClientProtocol::ALL {
            let labels = [name, protocol.as_str()];
            let open = counters.sum_gauge(|counters| counters.connections_open(protocol));
            self.0.gauge(Family::ConnectionsOpen, &labels, open);
            let total = counters.sum(|counters| counters.connections(protocol));
            self.0.counter(Family::Connections, &labels, total);
        }
        for cause in RefuseCause::ALL {
            let refused = counters.sum(|counters| counters.connections_refused(cause));
            self.0.counter(Family::ConnectionsRefused, &[name, cause.as_str()], refused);
        }
        for version in HandshakeVersion::ALL {
            for result in HandshakeResult::ALL {
                for (resumed, word) in [(false, "false"), (true, "true")] {
                    let count = counters.sum(|one| one.handshakes(version, result, resumed));
                    let labels = [name, version.as_str(), result.as_str(), word];
                    self.counted(Family::TlsHandshakes, &labels, count);
                }
            }
        }
    }

    /// Of certificates with one name, as of two kinds of key, the first to end counts.
    pub(super) fn certificates(&mut self, listener: &snapshot::Listener) {
        let Some(tls) = &listener.tls else { return };
        let table = tls.server.store.load();
        let mut ends: BTreeMap<&str, i64> = BTreeMap::new();
        for certificate in table.certificates() {
            let name = certificate.names.first().map_or("", String::as_str);
            let end = ends.entry(name).or_insert(certificate.not_after);
            *end = certificate.not_after.min(*end);
        }
        for (name, end) in ends {
            self.0.gauge(Family::CertificateExpiry, &[&listener.name, name], end);
        }
        let terms = tls.server.terms();
        let Some(auth) = &terms.client_auth else { return };
        let mut ends: BTreeMap<&str, i64> = BTreeMap::new();
        for list in &auth.lists {
            let Some(next) = list.next_update else { continue };
            let end = ends.entry(&list.issuer).or_insert(next);
            *end = next.min(*end);
        }
        for (issuer, end) in ends {
            self.0.gauge(Family::RevocationListExpiry, &[&listener.name, issuer], end);
        }
    }
}
