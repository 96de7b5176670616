//! `[admin]` as it is typed.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, List};

/// `[admin]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdminText {
    /// Unix socket with full control.
    pub socket: Option<At<String>>,
    /// Permission bits of the socket, in octal.
    pub socket_mode: Option<At<String>>,
    /// Group that owns the socket.
    pub socket_group: Option<At<String>>,
    /// Address of the API over TCP, which always wants a token.
    pub bind: Option<At<String>>,
    /// TLS of the API over TCP; beyond loopback there must be some.
    pub tls: Option<At<AdminTlsText>>,
    /// Who may do what over TCP.
    pub tokens: Option<List<AdminTokenText>>,
    /// Other nodes that commands act on too.
    pub peers: Option<List<PeerText>>,
    /// Folder of touch files that drain backends; `"none"`: there is none.
    pub maintenance_dir: Option<At<String>>,
}

/// `admin.tls`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdminTlsText {
    /// File with the PEM chain, leaf first.
    pub cert: Option<At<String>>,
    /// File with the PEM private key.
    pub key: Option<At<String>>,
}

/// One of `admin.tokens`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdminTokenText {
    /// Who it is, for the audit log.
    pub name: Option<At<String>>,
    /// File with the token itself, which nobody else may read.
    pub file: Option<At<String>>,
    /// What they may do.
    pub role: Option<At<RoleWord>>,
}

/// A value of `role`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RoleWord {
    /// Look.
    Read,
    /// Also set marks.
    Operate,
    /// Also reload and stop.
    Admin,
}

/// One of `admin.peers`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PeerText {
    /// What it is called.
    pub name: Option<At<String>>,
    /// Scheme, host and port of its API.
    pub url: Option<At<String>>,
    /// File with the token that it wants.
    pub token_file: Option<At<String>>,
    /// File with the PEM bundle that signs its certificate.
    pub ca: Option<At<String>>,
}
