//! `[admin]`, as it holds.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::{AdminSecret, Located, Place};

/// `[admin]`.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Unix socket; none: the default places are tried.
    pub socket: Option<Located<PathBuf>>,
    /// Permission bits of the socket.
    pub socket_mode: u32,
    /// Group that owns the socket.
    pub socket_group: Option<String>,
    /// The API over TCP; present: there is a token, and beyond loopback TLS.
    pub bind: Option<Located<SocketAddr>>,
    /// TLS of `bind`.
    pub tls: Option<AdminTls>,
    /// Who may do what over TCP, each under a name of their own.
    pub tokens: Vec<AdminToken>,
    /// Other nodes that commands act on too.
    pub peers: Vec<Peer>,
    /// Folder of touch files that drain backends.
    pub maintenance_dir: Option<Located<PathBuf>>,
}

/// Certificate and key of the API over TCP, as absolute paths.
#[derive(Debug, Clone)]
pub struct AdminTls {
    /// PEM chain, leaf first.
    pub cert: Located<PathBuf>,
    /// PEM private key; refused when others can read it.
    pub key: Located<PathBuf>,
}

/// Somebody who may control the process over TCP.
#[derive(Debug, Clone)]
pub struct AdminToken {
    /// Unique; stands in the audit log.
    pub name: Arc<str>,
    /// What they must say: at least `defaults::MIN_TOKEN` characters.
    pub secret: AdminSecret,
    /// What they may do.
    pub role: Role,
    /// Where the token is named.
    pub place: Place,
}

/// What a token allows; each role includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look.
    Read,
    /// Also set marks: drain, ready, maint, weight.
    Operate,
    /// Also reload and stop.
    Admin,
}

/// Another node.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Unique; stands in answers and problems.
    pub name: Arc<str>,
    /// `http://…` (loopback only) or `https://…`, host and port alone, without a final `/`.
    pub url: Located<String>,
    /// What it wants to hear from us.
    pub token: AdminSecret,
    /// PEM bundle that signs its certificate; none: the system's.
    pub ca: Option<Located<PathBuf>>,
}
