//! A PROXY header of our own, for a backend.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Ends, SIGNATURE};

/// Which header a backend wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// A line.
    V1,
    /// Binary.
    V2,
}

/// A header for a connection between these ends; none: one that is our own, as a check's.
pub fn write(version: Version, ends: Option<Ends>) -> Vec<u8> {
    let ends = ends.map(|ends| alike(ends.source, ends.destination));
    match version {
        Version::V1 => line(ends).into_bytes(),
        Version::V2 => binary(ends),
    }
}

fn line(ends: Option<(SocketAddr, SocketAddr)>) -> String {
    let Some((from, to)) = ends else { return "PROXY UNKNOWN\r\n".to_owned() };
    let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
    format!("PROXY {family} {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port())
}

fn binary(ends: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    match ends {
        None => header.extend([0x20, 0x00, 0, 0]),
        Some((from, to)) => {
            let (family, length) = if from.is_ipv4() { (0x11, 12) } else { (0x21, 36) };
            header.extend([0x21, family, 0, length]);
            for end in [from, to] {
                match end.ip() {
                    IpAddr::V4(address) => header.extend(address.octets()),
                    IpAddr::V6(address) => header.extend(address.octets()),
                }
            }
            header.extend(from.port().to_be_bytes());
            header.extend(to.port().to_be_bytes());
        }
    }
    header
}

/// Both in one family: a header has no words for two.
fn alike(from: SocketAddr, to: SocketAddr) -> (SocketAddr, SocketAddr) {
    let (one, other) = match (from.ip().to_canonical(), to.ip().to_canonical()) {
        (IpAddr::V4(one), other) if other.is_unspecified() => {
            (IpAddr::V4(one), Ipv4Addr::UNSPECIFIED.into())
        }
        (IpAddr::V6(one), other) if other.is_unspecified() => {
            (IpAddr::V6(one), Ipv6Addr::UNSPECIFIED.into())
        }
        (IpAddr::V4(one), IpAddr::V6(other)) => (one.to_ipv6_mapped().into(), other.into()),
        (IpAddr::V6(one), IpAddr::V4(other)) => (one.into(), other.to_ipv6_mapped().into()),
        same => same,
    };
    (SocketAddr::new(one, from.port()), SocketAddr::new(other, to.port()))
}
