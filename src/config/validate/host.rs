//! Hosts and addresses: of routes, of backends, of attributes.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use crate::config::model::{Address, AddressHost, HostPattern};

/// What is wrong and what to write instead.
pub(super) type Wrong = (String, &'static str);

/// Whether it is a DNS name: labels of letters, digits, `-` and `_`, in lower case.
pub(super) fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
            })
    };
    (1..=253).contains(&name.len()) && name.split('.').all(label)
}

/// A host of a route: a name, `*.` before a name, or an address literal (IPv6 in brackets).
pub(super) fn pattern(text: &str) -> Result<HostPattern, Wrong> {
    let wrong = |hint| Err((format!("`{text}` is no host"), hint));
    let lower = text.to_ascii_lowercase();
    let name = lower.strip_suffix('.').unwrap_or(&lower);
    if let Some(below) = name.strip_prefix("*.") {
        return if is_dns_name(below) {
            Ok(HostPattern::Wildcard(Arc::from(below)))
        } else {
            wrong("a wildcard is `*.` and a name, as in `*.example.com`")
        };
    }
    if let Some(literal) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match literal.parse::<Ipv6Addr>() {
            Ok(address) => Ok(HostPattern::Exact(Arc::from(format!("[{address}]")))),
            Err(_) => wrong("an IPv6 literal stands in brackets, as in `[2001:db8::1]`"),
        };
    }
    if is_dns_name(name) {
        return Ok(HostPattern::Exact(Arc::from(name)));
    }
    wrong(if name.contains('*') {
        "for any host leave `hosts` out; a wildcard is the first label only: `*.example.com`"
    } else if name.contains("//") || name.contains('/') {
        "the host alone, without scheme and path"
    } else if name.parse::<Ipv6Addr>().is_ok() {
        "an IPv6 literal stands in brackets, as in `[2001:db8::1]`"
    } else if name.contains(':') {
        "the host alone, without port: routes match on every port of their listeners"
    } else if !name.is_ascii() {
        "write it in its ASCII form, as in `xn--bcher-kva.example`"
    } else {
        "labels of letters, digits and `-`, with dots between them"
    })
}

/// An address of a backend: `10.0.0.1:80`, `[::1]:80` or `name:80`.
pub(super) fn address(text: &str) -> Result<Address, Wrong> {
    let wrong = |hint| Err((format!("`{text}` is no address of a backend"), hint));
    if let Ok(socket) = text.parse::<SocketAddr>() {
        if socket.port() == 0 {
            return wrong("a port from 1 to 65535");
        }
        return Ok(Address { host: AddressHost::Ip(socket.ip()), port: socket.port() });
    }
    if text.contains("://") {
        return wrong("host and port alone; for https to the backend write `tls = {}` in the pool");
    }
    let literal = text.trim_start_matches('[').trim_end_matches(']');
    if literal.parse::<IpAddr>().is_ok() {
        return wrong("add a port, as in `10.0.0.11:8080` or `[2001:db8::1]:8080`");
    }
    let Some((name, port)) = text.rsplit_once(':') else {
        return wrong("add a port, as in `app.internal:8080`");
    };
    let name = name.to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    match port.parse::<u16>() {
        Ok(0) | Err(_) => wrong("a port from 1 to 65535"),
        Ok(_) if looks_like_ipv4(name) || !is_dns_name(name) => {
            wrong("an IP address or a name, and a port, as in `app.internal:8080`")
        }
        Ok(port) => Ok(Address { host: AddressHost::Name(Arc::from(name)), port }),
    }
}

/// A name whose last label is a number is a mistyped IPv4 address, never a name.
fn looks_like_ipv4(name: &str) -> bool {
    name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_are_lowered_and_lose_the_final_dot() {
        assert_eq!(pattern("WWW.Example.com."), Ok(HostPattern::Exact("www.example.com".into())));
        assert_eq!(pattern("*.Example.com"), Ok(HostPattern::Wildcard("example.com".into())));
        assert_eq!(pattern("[2001:DB8::0:1]"), Ok(HostPattern::Exact("[2001:db8::1]".into())));
        for wrong in ["", "*", "a.*.b", "a:80", "::1", "http://a", "bü.de", "a b", "-a", "a..b"] {
            assert!(pattern(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn backends_have_a_host_and_a_port() {
        assert_eq!(address("[::1]:80").unwrap().to_string(), "[::1]:80");
        assert_eq!(address("App.internal:8080").unwrap().to_string(), "app.internal:8080");
        for wrong in ["", "a", "a:0", "a:x", "10.0.0.1", "10.0.0.999:80", "::1", "http://a:80"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_an_address_shows_reads_back(text in "[a-z0-9.:\\[\\]*-]{0,20}") {
            if let Ok(read) = address(&text) {
                prop_assert_eq!(address(&read.to_string()), Ok(read));
            }
            let _ = pattern(&text);
        }
    }
}
