//! Why a request failed, as a closed list that logs and dashboards rely on.

use super::word::words;

words! {
    /// The closed list of reasons. Statuses belong to the table of failures, not here.
    pub enum Reason {
        /// All went well.
        None = "none",
        /// The backend itself answered 5xx.
        BackendStatus = "backend_status",
        /// Malformed or ambiguous; the cause is in the log.
        BadRequest = "bad_request",
        /// The request head is larger than allowed.
        HeaderTooLarge = "header_too_large",
        /// The request body is larger than allowed.
        BodyTooLarge = "body_too_large",
        /// The request target is longer than allowed.
        UriTooLong = "uri_too_long",
        /// The host asked for belongs to another TLS policy than the connection's.
        Misdirected = "misdirected",
        /// The request head did not arrive in time.
        ClientHeaderTimeout = "client_header_timeout",
        /// The request body stopped arriving.
        ClientBodyTimeout = "client_body_timeout",
        /// The client stopped reading the response.
        ClientReadTimeout = "client_read_timeout",
        /// The client went away.
        ClientGone = "client_gone",
        /// An access rule forbids it.
        Denied = "denied",
        /// No or wrong credentials.
        Unauthorized = "unauthorized",
        /// Too many requests.
        RateLimited = "rate_limited",
        /// No route matches.
        NoRoute = "no_route",
        /// Method, expectation, coding or version that is not supported.
        NotSupported = "not_supported",
        /// The request has been through here before.
        Loop = "loop",
        /// Every backend is down.
        NoBackendDown = "no_backend_down",
        /// Every backend is out by an operator's word.
        NoBackendAdmin = "no_backend_admin",
        /// The pool has no backend.
        NoBackendEmpty = "no_backend_empty",
        /// No backend has passed its first check.
        NoBackendUnchecked = "no_backend_unchecked",
        /// The session's backend is down and the pool is strict.
        SessionBackendDown = "session_backend_down",
        /// The session's backend is full and the pool rejects.
        SessionBackendFull = "session_backend_full",
        /// The pool takes no further session.
        PoolFull = "pool_full",
        /// The queue has no place.
        QueueFull = "queue_full",
        /// The turn did not come in time.
        QueueTimeout = "queue_timeout",
        /// The backend's name does not resolve.
        DnsFailed = "dns_failed",
        /// The backend refused the connection.
        ConnectRefused = "connect_refused",
        /// The backend did not take the connection in time.
        ConnectTimeout = "connect_timeout",
        /// The TLS handshake with the backend failed.
        BackendTls = "backend_tls",
        /// The backend closed before any byte of a response.
        BackendReset = "backend_reset",
        /// The response head did not come in time.
        BackendHeaderTimeout = "backend_header_timeout",
        /// The exchange as a whole took too long.
        Deadline = "deadline",
        /// The response is malformed or ambiguous.
        BadResponse = "bad_response",
        /// The response head is larger than allowed.
        BackendHeaderTooLarge = "backend_header_too_large",
        /// The response body broke off.
        BackendBodyAborted = "backend_body_aborted",
        /// The response body stopped arriving.
        BackendBodyTimeout = "backend_body_timeout",
        /// Too many connections.
        OverloadedConnections = "overloaded_connections",
        /// The memory budget is used up.
        OverloadedMemory = "overloaded_memory",
        /// Too many streams.
        OverloadedStreams = "overloaded_streams",
        /// The process is stopping.
        Stopping = "stopping",
        /// A mistake in Ostler.
        Internal = "internal",
    }
}

words! {
    /// On whose side the reason lies.
    pub enum Source {
        /// There is no failure.
        None = "none",
        /// The client's.
        Client = "client",
        /// The backend's.
        Backend = "backend",
        /// Ours, or our operator's.
        Ostler = "ostler",
    }
}

impl Reason {
    /// Whether a session was refused rather than moved, or a new one for want of room.
    pub const fn refuses_session(self) -> bool {
        matches!(
            self,
            Self::SessionBackendDown
                | Self::SessionBackendFull
                | Self::PoolFull
                | Self::QueueFull
                | Self::QueueTimeout
        )
    }

    /// On whose side the reason lies. A pool whose backends are all down is the backends' doing;
    /// one that is empty, taken out by an operator or not yet checked is ours.
    pub const fn source(self) -> Source {
        match self {
            Self::None => Source::None,
            Self::BadRequest
            | Self::HeaderTooLarge
            | Self::BodyTooLarge
            | Self::UriTooLong
            | Self::Misdirected
            | Self::ClientHeaderTimeout
            | Self::ClientBodyTimeout
            | Self::ClientReadTimeout
            | Self::ClientGone
            | Self::Denied
            | Self::Unauthorized
            | Self::RateLimited
            | Self::NoRoute
            | Self::NotSupported
            | Self::Loop => Source::Client,
            Self::BackendStatus
            | Self::NoBackendDown
            | Self::SessionBackendDown
            | Self::SessionBackendFull
            | Self::PoolFull
            | Self::QueueFull
            | Self::QueueTimeout
            | Self::DnsFailed
            | Self::ConnectRefused
            | Self::ConnectTimeout
            | Self::BackendTls
            | Self::BackendReset
            | Self::BackendHeaderTimeout
            | Self::Deadline
            | Self::BadResponse
            | Self::BackendHeaderTooLarge
            | Self::BackendBodyAborted
            | Self::BackendBodyTimeout => Source::Backend,
            Self::NoBackendAdmin
            | Self::NoBackendEmpty
            | Self::NoBackendUnchecked
            | Self::OverloadedConnections
            | Self::OverloadedMemory
            | Self::OverloadedStreams
            | Self::Stopping
            | Self::Internal => Source::Ostler,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_a_word_of_its_own_and_its_place_in_the_list() {
        let words: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(words.len(), Reason::COUNT);
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index);
            assert!(reason.as_str().bytes().all(|b| b == b'_' || b.is_ascii_lowercase()));
        }
    }

    #[test]
    fn only_success_has_no_source() {
        for reason in Reason::ALL {
            assert_eq!(reason.source() == Source::None, reason == Reason::None);
        }
    }
}
