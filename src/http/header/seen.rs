//! One look over a head: which of the fields that decide something are there.

use http::header::HeaderName;

use crate::net::fields::Fields;

use super::{client_cert, forwarded};

/// Fields of a head that somebody here asks for. One pass over the names that are there costs less
/// than to look along them for each that hardly ever is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen(u32);

impl Seen {
    /// `Connection`.
    pub const CONNECTION: u32 = 1;
    /// Hop-by-hop whether `Connection` names them or not.
    pub const HOP: u32 = 1 << 1;
    /// `Keep-Alive`, which is one of those.
    pub const KEEP_ALIVE: u32 = 1 << 2;
    /// `Upgrade`, which is another.
    pub const UPGRADE: u32 = 1 << 3;
    /// `Cookie`.
    pub const COOKIE: u32 = 1 << 4;
    /// `Content-Length`.
    pub const CONTENT_LENGTH: u32 = 1 << 5;
    /// `Expect`.
    pub const EXPECT: u32 = 1 << 6;
    /// `Via`.
    pub const VIA: u32 = 1 << 7;
    /// What tells of a client: `Forwarded`, `X-Forwarded-*`, in any spelling.
    pub const FORWARDED: u32 = 1 << 8;
    /// `X-Request-Id`, in any spelling.
    pub const REQUEST_ID: u32 = 1 << 9;
    /// `traceparent`.
    pub const TRACEPARENT: u32 = 1 << 10;
    /// `tracestate`.
    pub const TRACESTATE: u32 = 1 << 11;
    /// `Access-Control-Request-Method`: a CORS preflight, in OPTIONS.
    pub const PREFLIGHT: u32 = 1 << 12;
    /// `Accept`.
    pub const ACCEPT: u32 = 1 << 13;
    /// `Cookie` or `Host` is there more than once.
    pub const REPEATED: u32 = 1 << 14;
    /// `Client-Cert` and `Client-Cert-Chain`, in any spelling.
    pub const CLIENT_CERT: u32 = 1 << 15;
    /// `Host`.
    const HOST: u32 = 1 << 16;

    /// Looks at every name once.
    pub fn of(headers: &Fields) -> Self {
        let mut seen = 0;
        for name in headers.keys() {
            let bit = bit(name);
            if seen & bit & (Self::COOKIE | Self::HOST) != 0 {
                seen |= Self::REPEATED;
            }
            seen |= bit;
        }
        Self(seen)
    }

    /// Whether one of these is there.
    pub fn any(self, of: u32) -> bool {
        self.0 & of != 0
    }
}

fn bit(name: &HeaderName) -> u32 {
    let text = name.as_str();
    let known = match text.len() {
        2 if text == "te" => Seen::HOP,
        3 if text == "via" => Seen::VIA,
        4 if text == "host" => Seen::HOST,
        6 if text == "cookie" => Seen::COOKIE,
        6 if text == "expect" => Seen::EXPECT,
        6 if text == "accept" => Seen::ACCEPT,
        7 if text == "upgrade" => Seen::HOP | Seen::UPGRADE,
        10 if text == "connection" => Seen::CONNECTION,
        10 if text == "keep-alive" => Seen::HOP | Seen::KEEP_ALIVE,
        10 if text == "tracestate" => Seen::TRACESTATE,
        11 if text == "traceparent" => Seen::TRACEPARENT,
        12 if forwarded::is_request_id(name) => Seen::REQUEST_ID,
        14 if text == "content-length" => Seen::CONTENT_LENGTH,
        14 if text == "http2-settings" => Seen::HOP,
        16 if text == "proxy-connection" => Seen::HOP,
        17 if text == "transfer-encoding" => Seen::HOP,
        11 | 17 if client_cert::tells(name) => Seen::CLIENT_CERT,
        18 if text == "proxy-authenticate" => Seen::HOP,
        29 if text == "access-control-request-method" => Seen::PREFLIGHT,
        _ => 0,
    };
    if known == 0 && forwarded::tells(name) { Seen::FORWARDED } else { known }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_seen_and_nothing_else() {
        let all = [
            ("connection", Seen::CONNECTION),
            ("te", Seen::HOP),
            ("transfer-encoding", Seen::HOP),
            ("keep-alive", Seen::HOP | Seen::KEEP_ALIVE),
            ("upgrade", Seen::HOP | Seen::UPGRADE),
            ("proxy-connection", Seen::HOP),
            ("proxy-authenticate", Seen::HOP),
            ("http2-settings", Seen::HOP),
            ("cookie", Seen::COOKIE),
            ("content-length", Seen::CONTENT_LENGTH),
            ("expect", Seen::EXPECT),
            ("accept", Seen::ACCEPT),
            ("via", Seen::VIA),
            ("x-request-id", Seen::REQUEST_ID),
            ("x_request_id", Seen::REQUEST_ID),
            ("traceparent", Seen::TRACEPARENT),
            ("tracestate", Seen::TRACESTATE),
            ("access-control-request-method", Seen::PREFLIGHT),
            ("x-forwarded-for", Seen::FORWARDED),
            ("x_forwarded_proto", Seen::FORWARDED),
            ("x-real-ip", Seen::FORWARDED),
            ("forwarded", Seen::FORWARDED),
            ("client-cert", Seen::CLIENT_CERT),
            ("client_cert_chain", Seen::CLIENT_CERT),
            ("accept-encoding", 0),
            ("host", Seen::HOST),
            ("x-other", 0),
        ];
        for (name, expected) in all {
            assert_eq!(Seen::of(&Fields::of(&[(name, "1")])), Seen(expected), "{name}");
            let headers = Fields::of(&[(name, "1"), (name, "2")]);
            let twice = matches!(name, "cookie" | "host").then_some(Seen::REPEATED);
            let twice = Seen(expected | twice.unwrap_or_default());
            assert_eq!(Seen::of(&headers), twice, "{name}");
        }
    }
}
