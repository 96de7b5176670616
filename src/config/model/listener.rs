//! Listeners, as they hold.

use std::iter;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::{ErrorPage, Located, SecretKey};

/// Addresses we accept on, with their TLS and limits.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Configured name.
    pub name: Located<Arc<str>>,
    /// At least one. `[::]` never includes IPv4.
    pub bind: Vec<Located<SocketAddr>>,
    /// What a client may speak here.
    pub protocols: Protocols,
    /// Present: this listener terminates TLS.
    pub tls: Option<ListenerTls>,
    /// Answer everything with a 308 to `https` on this port.
    pub redirect_https: Option<u16>,
    /// Files in place of our own answers.
    pub error_pages: Vec<ErrorPage>,
    /// Whose `X-Forwarded-*` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether connections begin with a PROXY header.
    pub proxy_protocol: ProxyProtocol,
    /// Sizes and counts.
    pub limits: ListenerLimits,
    /// Waits.
    pub timeouts: ListenerTimeouts,
}

/// Protocols offered to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocols {
    /// HTTP/1.1 (and 1.0).
    pub http1: bool,
    /// HTTP/2: by ALPN, without TLS by its preface.
    pub http2: bool,
}

/// Whether a trusted proxy's connections begin with a PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// They do not.
    Off,
    /// They may.
    Optional,
    /// They must, and nobody else is served.
    Require,
}

/// TLS of a listener.
#[derive(Debug, Clone)]
pub struct ListenerTls {
    /// At least one; the first answers unknown names unless they are rejected.
    pub certificates: Vec<CertificateFiles>,
    /// What an unknown or missing server name gets.
    pub unknown_name: UnknownName,
    /// Oldest version accepted.
    pub min_version: TlsVersion,
    /// Seal session tickets, the first, and open them, all; none: the process has its own.
    pub ticket_keys: Vec<SecretKey>,
    /// Present: clients are asked for a certificate.
    pub client_auth: Option<ClientAuth>,
}

impl ListenerTls {
    /// All files that it is read from.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let pairs = self.certificates.iter().flat_map(|files| [&files.cert, &files.key]);
        let auth = self.client_auth.iter().flat_map(|auth| iter::once(&auth.ca).chain(&auth.crl));
        pairs.chain(auth).map(|file| &file.value)
    }
}

/// How clients show who they are, as absolute paths.
#[derive(Debug, Clone)]
pub struct ClientAuth {
    /// Who shows no certificate is not served.
    pub required: bool,
    /// PEM certificates of those who issue the clients'.
    pub ca: Located<PathBuf>,
    /// Revocation lists, in PEM or DER.
    pub crl: Vec<Located<PathBuf>>,
    /// Whether backends are told of the certificate (RFC 9440).
    pub header: bool,
}

/// A certificate chain and its key, as absolute paths.
#[derive(Debug, Clone)]
pub struct CertificateFiles {
    /// PEM chain, leaf first.
    pub cert: Located<PathBuf>,
    /// PEM private key; refused when others can read it.
    pub key: Located<PathBuf>,
}

/// What a client that names no known server gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownName {
    /// The first certificate.
    Default,
    /// An `unrecognized_name` alert.
    Reject,
}

/// A TLS version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2.
    V12,
    /// TLS 1.3.
    V13,
}

/// Sizes and counts of a listener.
#[derive(Debug, Clone, Copy)]
pub struct ListenerLimits {
    /// Bytes of one request head.
    pub header_size: usize,
    /// Fields in one request head.
    pub headers: usize,
    /// Bytes of one request body; none: any.
    pub body_size: Option<u64>,
    /// Connections from one client address; trusted proxies are exempt.
    pub connections_per_client: u32,
}

/// Waits of a listener; `None` waits for ever.
#[derive(Debug, Clone, Copy)]
pub struct ListenerTimeouts {
    /// TLS handshake.
    pub tls: Option<Duration>,
    /// From a head's first byte to its last.
    pub header: Option<Duration>,
    /// Between requests.
    pub idle: Option<Duration>,
    /// Of a body, while the other side owes us bytes.
    pub body: Option<Duration>,
    /// Of a write, while the client takes none.
    pub write: Option<Duration>,
    /// Of a tunnel, no byte either way.
    pub tunnel: Option<Duration>,
}
