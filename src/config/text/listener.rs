//! `[listeners.NAME]` as it is typed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, List};
use crate::config::unit::{Size, Time};

/// `[listeners.NAME]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListenerText {
    /// Addresses with port; `[::]` never includes IPv4.
    pub bind: Option<List<String>>,
    /// What clients may speak.
    pub protocols: Option<List<ProtocolWord>>,
    /// Present: this listener terminates TLS.
    pub tls: Option<At<ListenerTlsText>>,
    /// Answer everything with a 308 to https on this port.
    pub redirect_https: Option<At<i64>>,
    /// Files in place of our own answers, by status or class.
    pub error_pages: BTreeMap<String, At<String>>,
    /// Networks whose `X-Forwarded-*` fields are believed.
    pub trusted_proxies: Option<List<String>>,
    /// Whether connections begin with a PROXY header, which is believed from `trusted_proxies`.
    pub proxy_protocol: Option<At<ProxyProtocolWord>>,
    /// Sizes and counts.
    pub limits: ListenerLimitsText,
    /// Waits.
    pub timeouts: ListenerTimeoutsText,
}

/// A word of `protocols`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum ProtocolWord {
    /// HTTP/2 by ALPN.
    #[serde(rename = "h2")]
    H2,
    /// HTTP/2 without TLS, by clients that know it beforehand.
    #[serde(rename = "h2c")]
    H2c,
    /// HTTP/1.1 and 1.0.
    #[serde(rename = "http/1.1")]
    Http1,
}

/// A value of `proxy_protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocolWord {
    /// There is none.
    Off,
    /// There may be one.
    Optional,
    /// There must be one.
    Require,
}

/// `tls` of a listener.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListenerTlsText {
    /// Chains and keys, picked by server name; the first answers unknown names.
    pub certificates: Option<List<CertificateText>>,
    /// What an unknown or missing server name gets.
    pub unknown_name: Option<At<UnknownNameWord>>,
    /// Oldest TLS version accepted.
    pub min_version: Option<At<TlsVersionWord>>,
    /// Seal session tickets, the first, and open them, all.
    pub ticket_keys: Option<List<String>>,
    /// Whether clients are asked for a certificate.
    pub client_auth: Option<At<ClientAuthWord>>,
    /// File with the PEM certificates of those who issue them.
    pub client_ca: Option<At<String>>,
    /// Files with revocation lists.
    pub crl: Option<List<String>>,
    /// Whether backends are told the client's certificate.
    pub client_cert_header: Option<At<bool>>,
}

/// A certificate chain and its key.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CertificateText {
    /// File with the PEM chain, leaf first.
    pub cert: Option<At<String>>,
    /// File with the PEM key.
    pub key: Option<At<String>>,
}

/// A value of `tls.unknown_name`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UnknownNameWord {
    /// The first certificate.
    Default,
    /// An alert.
    Reject,
}

/// A value of `tls.min_version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum TlsVersionWord {
    /// TLS 1.2.
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V13,
}

/// A value of `tls.client_auth`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuthWord {
    /// Nobody is asked.
    None,
    /// Who has one shows it.
    Request,
    /// Who has none is not served.
    Require,
}

/// `limits` of a listener.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListenerLimitsText {
    /// Of one request head.
    pub header_size: Option<At<Size>>,
    /// Fields in one request head.
    pub headers: Option<At<i64>>,
    /// Of one request body.
    pub body_size: Option<At<Size>>,
    /// Connections from one client address.
    pub connections_per_client: Option<At<i64>>,
}

/// `timeouts` of a listener.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListenerTimeoutsText {
    /// TLS handshake.
    pub tls: Option<At<Time>>,
    /// From a head's first byte to its last.
    pub header: Option<At<Time>>,
    /// Between requests.
    pub idle: Option<At<Time>>,
    /// A body without progress.
    pub body: Option<At<Time>>,
    /// A client that takes nothing.
    pub write: Option<At<Time>>,
    /// A tunnel without a byte either way.
    pub tunnel: Option<At<Time>>,
}
