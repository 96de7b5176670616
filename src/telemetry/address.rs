//! Addresses as text.
// Those of IPv4 by hand: the library's formatter takes ten times as long.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Of IPv4 with a port (bytes).
const LONGEST: usize = 21;

/// Writes an address, without a port.
pub fn ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => v4(ip, |text| out.extend_from_slice(text.as_bytes())),
        // Writing to a vector cannot fail.
        IpAddr::V6(ip) => drop(write!(out, "{ip}")),
    }
}

/// An address, without a port.
pub fn ip_text(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let mut out = String::with_capacity(LONGEST);
            v4(address, |text| out.push_str(text));
            out
        }
        IpAddr::V6(address) => address.to_string(),
    }
}

/// An address and its port.
pub fn socket_text(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => {
            let mut out = ip_text(IpAddr::V4(*address.ip()));
            out.push(':');
            out.push_str(itoa::Buffer::new().format(address.port()));
            out
        }
        SocketAddr::V6(address) => address.to_string(),
    }
}

fn v4(address: Ipv4Addr, mut put: impl FnMut(&str)) {
    let [a, b, c, d] = address.octets();
    put(itoa::Buffer::new().format(a));
    for octet in [b, c, d] {
        put(".");
        put(itoa::Buffer::new().format(octet));
    }
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
