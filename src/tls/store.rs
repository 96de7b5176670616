//! Server name to certificate, replaced at once when files change.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;

/// The certificates of one listener.
#[derive(Debug)]
pub struct CertificateStore(ArcSwap<Table>);

/// Certificates by name.
#[derive(Debug, Default)]
pub struct Table {
    certificates: Vec<Certificate>,
    exact: HashMap<String, usize>,
    /// Under what follows `*.`.
    wildcard: HashMap<String, usize>,
    reject_unknown: bool,
}

impl Table {
    /// The first certificate that has a name wins it; the first of all answers unknown names,
    /// unless they are rejected.
    pub fn new(certificates: Vec<Certificate>, reject_unknown: bool) -> Self {
        let mut table = Self { reject_unknown, ..Self::default() };
        for (index, certificate) in certificates.iter().enumerate() {
            for name in &certificate.names {
                match name.strip_prefix("*.") {
                    Some(suffix) => table.wildcard.entry(suffix.to_owned()).or_insert(index),
                    None => table.exact.entry(name.clone()).or_insert(index),
                };
            }
        }
        table.certificates = certificates;
        table
    }

    /// The certificates in file order.
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// The certificate that covers a name (lower case): exact, else a wildcard one label above
    /// (RFC 9525 §6.3).
    fn covering(&self, name: &str) -> Option<usize> {
        self.exact.get(name).copied().or_else(|| {
            let (_, parent) = name.split_once('.')?;
            self.wildcard.get(parent).copied()
        })
    }

    fn select(&self, name: Option<&str>) -> Option<usize> {
        match name.and_then(|name| self.covering(name)) {
            Some(index) => Some(index),
            None if self.reject_unknown => None,
            None => Some(0),
        }
    }

    /// Whether a host is served with the certificate that the connection's server name selected.
    /// Hosts that no certificate covers are nobody else's, so they pass.
    pub fn same_certificate(&self, server_name: &str, host: &str) -> bool {
        server_name == host
            || self.covering(host).is_none_or(|index| {
                self.select(Some(server_name)) == Some(index)
                    || self
                        .select(Some(server_name))
                        .is_some_and(|chosen| self.covers(chosen, host))
            })
    }

    fn covers(&self, index: usize, host: &str) -> bool {
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.certificates.get(index).is_some_and(|certificate| {
            certificate.names.iter().any(|name| {
                name == host || name.strip_prefix("*.").is_some_and(|s| Some(s) == parent)
            })
        })
    }
}

impl CertificateStore {
    /// A store of these.
    pub fn new(table: Table) -> Self {
        Self(ArcSwap::from_pointee(table))
    }

    /// Replaces them for handshakes to come.
    pub fn publish(&self, table: Arc<Table>) {
        self.0.store(table);
    }

    /// Those in force.
    pub fn load(&self) -> Arc<Table> {
        self.0.load_full()
    }

    /// See [`Table::same_certificate`].
    pub fn same_certificate(&self, server_name: &str, host: &str) -> bool {
        server_name == host || self.0.load().same_certificate(server_name, host)
    }
}

impl ResolvesServerCert for CertificateStore {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let table = self.0.load();
        let index = match hello.server_name() {
            Some(name) if name.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                table.select(Some(&name.to_ascii_lowercase()))
            }
            name => table.select(name),
        };
        table.certificates.get(index?).map(|certificate| Arc::clone(&certificate.key))
    }
}
