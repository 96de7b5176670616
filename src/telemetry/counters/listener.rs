//! What one worker counts about one listener, and about itself.

use super::{Counter, Counters, Gauge};
use crate::telemetry::word::words;

words! {
    /// What a client connection speaks.
    pub enum ClientProtocol {
        /// HTTP/1.1 or 1.0.
        Http1 = "http/1.1",
        /// HTTP/2.
        Http2 = "h2",
        /// A tunnel that began as a WebSocket upgrade.
        WebSocket = "websocket",
    }
}

words! {
    /// Why a connection was refused or given up.
    pub enum RefuseCause {
        /// The process has as many as it may.
        MaxConnections = "max_connections",
        /// This client has as many as it may.
        PerClient = "per_client",
        /// The PROXY header did not arrive in time.
        ProxyTimeout = "proxy_timeout",
        /// The PROXY header is malformed, or missing where there must be one.
        ProxyHeader = "proxy_header",
        /// A PROXY header is required, and this source would not be believed.
        ProxyUntrusted = "proxy_untrusted",
        /// The TLS handshake took too long.
        TlsTimeout = "tls_timeout",
        /// The TLS handshake failed.
        TlsError = "tls_error",
        /// The client has shown no certificate, or one that does not hold.
        ClientCertificate = "client_certificate",
        /// Memory is short: it was not let in, was idle, or held what it did not take.
        Memory = "memory",
        /// The process is stopping.
        Stopping = "stopping",
        /// An HTTP/2 client was in the middle of a preface, a frame or a header block for too long.
        HeaderTimeout = "header_timeout",
        /// An HTTP/2 client took no bytes for too long.
        Stalled = "stalled",
        /// An HTTP/2 client sent more of what costs than anybody needs.
        Http2Flood = "http2_flood",
        /// An HTTP/2 client broke the protocol.
        Http2Error = "http2_error",
    }
}

words! {
    /// TLS version of a handshake.
    pub enum HandshakeVersion {
        /// TLS 1.2.
        Tls12 = "1.2",
        /// TLS 1.3.
        Tls13 = "1.3",
        /// It ended before one was agreed on.
        Unknown = "unknown",
    }
}

words! {
    /// How a handshake ended.
    pub enum HandshakeResult {
        /// Done.
        Ok = "ok",
        /// Refused by either side.
        Failed = "failed",
        /// Not done in time.
        Timeout = "timeout",
        /// A client that must show a certificate has shown none.
        NoCertificate = "no_certificate",
        /// The client's certificate, or one above it, is on a revocation list.
        CertificateRevoked = "certificate_revoked",
        /// The client's certificate has ended.
        CertificateExpired = "certificate_expired",
        /// None of the authorities has issued the client's certificate.
        CertificateUnknownIssuer = "certificate_unknown_issuer",
        /// No revocation list that is in force covers the client's certificate.
        CertificateUnchecked = "certificate_unchecked",
        /// Anything else is wrong with the client's certificate.
        CertificateRefused = "certificate_refused",
    }
}

const HANDSHAKES: usize = HandshakeVersion::COUNT * HandshakeResult::COUNT * 2;

/// One worker's counts of one listener.
#[derive(Debug, Default)]
pub struct ListenerCounters {
    total: Counters<{ ClientProtocol::COUNT }>,
    open: [Gauge; ClientProtocol::COUNT],
    refused: Counters<{ RefuseCause::COUNT }>,
    handshakes: Counters<HANDSHAKES>,
}

impl ListenerCounters {
    /// Counts a connection from when its protocol is known. One that becomes a tunnel is closed
    /// as what it was and opened as what it is.
    pub fn connection_opened(&self, protocol: ClientProtocol) {
        self.total.add(protocol.index(), 1);
        if let Some(gauge) = self.open.get(protocol.index()) {
            gauge.add(1);
        }
    }

    /// The end of what [`Self::connection_opened`] began, on the same worker.
    pub fn connection_closed(&self, protocol: ClientProtocol) {
        if let Some(gauge) = self.open.get(protocol.index()) {
            gauge.sub(1);
        }
    }

    /// Connections so far.
    pub fn connections(&self, protocol: ClientProtocol) -> u64 {
        self.total.get(protocol.index())
    }

    /// Connections now.
    pub fn connections_open(&self, protocol: ClientProtocol) -> i64 {
        self.open.get(protocol.index()).map_or(0, Gauge::get)
    }

    /// Counts a connection that was refused.
    pub fn connection_refused(&self, cause: RefuseCause) {
        self.refused.add(cause.index(), 1);
    }

    /// Connections refused for this cause.
    pub fn connections_refused(&self, cause: RefuseCause) -> u64 {
        self.refused.get(cause.index())
    }

    /// Counts one TLS handshake; `resumed` by a ticket.
    pub fn handshake(&self, version: HandshakeVersion, result: HandshakeResult, resumed: bool) {
        self.handshakes.add(handshake_index(version, result, resumed), 1);
    }

    /// Handshakes of this kind.
    pub fn handshakes(
        &self,
        version: HandshakeVersion,
        result: HandshakeResult,
        resumed: bool,
    ) -> u64 {
        self.handshakes.get(handshake_index(version, result, resumed))
    }
}

const fn handshake_index(
    version: HandshakeVersion,
    result: HandshakeResult,
    resumed: bool,
) -> usize {
    (version.index() * HandshakeResult::COUNT + result.index()) * 2 + resumed as usize
}

/// What one worker counts about itself.
#[derive(Debug, Default)]
pub struct WorkerCounters {
    /// Client connections it owns now.
    pub connections: Gauge,
    /// Exchanges it has finished.
    pub exchanges: Counter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_handshake_has_a_place_of_its_own() {
        let listener = ListenerCounters::default();
        for version in HandshakeVersion::ALL {
            for result in HandshakeResult::ALL {
                for resumed in [false, true] {
                    assert_eq!(listener.handshakes(version, result, resumed), 0);
                    listener.handshake(version, result, resumed);
                    assert_eq!(listener.handshakes(version, result, resumed), 1);
                }
            }
        }
    }

    #[test]
    fn a_closed_connection_stays_in_the_total() {
        let listener = ListenerCounters::default();
        listener.connection_opened(ClientProtocol::Http2);
        listener.connection_opened(ClientProtocol::Http2);
        listener.connection_closed(ClientProtocol::Http2);
        listener.connection_refused(RefuseCause::PerClient);
        assert_eq!(listener.connections(ClientProtocol::Http2), 2);
        assert_eq!(listener.connections_open(ClientProtocol::Http2), 1);
        assert_eq!(listener.connections_open(ClientProtocol::Http1), 0);
        assert_eq!(listener.connections_refused(RefuseCause::PerClient), 1);
    }
}
