//! Addresses as text.
// Those of IPv4 by hand: the library's formatter takes ten times as long.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

/// Of IPv6 with its brackets and a port.
const LONGEST: usize = 56;

/// Writes an address, without a port.
pub fn ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            number(out, a.into());
            for octet in [b, c, d] {
                out.push(b'.');
                number(out, octet.into());
            }
        }
        // Writing to a vector cannot fail.
        IpAddr::V6(ip) => drop(write!(out, "{ip}")),
    }
}

/// An address, without a port.
pub fn ip_text(address: IpAddr) -> String {
    let mut out = Vec::with_capacity(LONGEST);
    ip(&mut out, address);
    text(out)
}

/// An address and its port.
pub fn socket_text(address: SocketAddr) -> String {
    let mut out = Vec::with_capacity(LONGEST);
    match address {
        SocketAddr::V4(address) => {
            ip(&mut out, IpAddr::V4(*address.ip()));
            out.push(b':');
            number(&mut out, address.port());
        }
        SocketAddr::V6(address) => drop(write!(out, "{address}")),
    }
    text(out)
}

fn number(out: &mut Vec<u8>, number: u16) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_read_as_the_library_writes_them(ip: IpAddr, socket: SocketAddr) {
            prop_assert_eq!(ip_text(ip), ip.to_string());
            prop_assert_eq!(socket_text(socket), socket.to_string());
        }
    }
}
