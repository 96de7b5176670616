//! The PROXY protocol's header: who the client is, from the proxy before us, and for the backend.
// Versions 1 and 2 as HAProxy's specification has them (doc/proxy-protocol.txt, 2020/03/05).

mod write;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub use write::{Version, write};

/// Whatever a header says that matters here stands in its first so many bytes.
pub const ENOUGH: usize = MOST_V1;

/// A line of version 1, with its end.
const MOST_V1: usize = 107;
/// A header of version 2, with its extensions: four times what any of the known ones needs.
const MOST_V2: usize = 16 * 1024;

const LINE: &[u8] = b"PROXY ";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and protocol, length.
const FIXED: usize = SIGNATURE.len() + 4;

/// The ends of a connection, as a header tells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The client.
    pub source: SocketAddr,
    /// Where it connected to.
    pub destination: SocketAddr,
}

impl Ends {
    /// Of a client whose destination does not matter.
    pub fn from(source: SocketAddr) -> Self {
        Self { source, destination: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0) }
    }
}

/// What a connection begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// Not enough to tell.
    Partial,
    /// No header.
    Other,
    /// A header.
    Header {
        /// Bytes of it, of which some may still be on their way.
        length: usize,
        /// None where it speaks for nobody (`LOCAL`, `UNKNOWN`) or for what is no TCP connection:
        /// the socket's own ends hold.
        ends: Option<Ends>,
    },
}

/// It begins as a header does, and is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed PROXY header")]
pub struct Malformed;

/// Reads the beginning of a connection, of which [`ENOUGH`] bytes are always enough.
///
/// # Errors
/// Where it is neither a header nor anything else.
pub fn read(bytes: &[u8]) -> Result<Beginning, Malformed> {
    if let Some(rest) = bytes.strip_prefix(LINE) {
        return line(rest);
    }
    if let Some(rest) = bytes.strip_prefix(SIGNATURE) {
        return binary(rest);
    }
    let may_become = LINE.starts_with(bytes) || SIGNATURE.starts_with(bytes);
    Ok(if may_become { Beginning::Partial } else { Beginning::Other })
}

/// `PROXY TCP4 192.0.2.1 198.51.100.2 56324 443`, after its first word.
fn line(rest: &[u8]) -> Result<Beginning, Malformed> {
    let most = MOST_V1 - LINE.len();
    let Some(end) = rest.iter().take(most).position(|byte| *byte == b'\n') else {
        return if rest.len() < most { Ok(Beginning::Partial) } else { Err(Malformed) };
    };
    let text = rest.get(..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(Malformed)?;
    let text = std::str::from_utf8(text).map_err(|_| Malformed)?;
    let length = LINE.len() + end + 1;
    let mut words = text.split(' ');
    let family = words.next();
    if family == Some("UNKNOWN") {
        // Whatever follows is to be ignored.
        return Ok(Beginning::Header { length, ends: None });
    }
    let mut address = || -> Result<IpAddr, Malformed> {
        let word = words.next().ok_or(Malformed)?;
        match family {
            Some("TCP4") => word.parse::<Ipv4Addr>().map(IpAddr::V4).map_err(|_| Malformed),
            Some("TCP6") => word.parse::<Ipv6Addr>().map(IpAddr::V6).map_err(|_| Malformed),
            _ => Err(Malformed),
        }
    };
    let (from, to) = (address()?, address()?);
    let (from_port, to_port) = (port(words.next())?, port(words.next())?);
    if words.next().is_some() {
        return Err(Malformed);
    }
    let (source, destination) = (SocketAddr::new(from, from_port), SocketAddr::new(to, to_port));
    Ok(Beginning::Header { length, ends: Some(Ends { source, destination }) })
}

/// Digits only, and no zeros before them.
fn port(word: Option<&str>) -> Result<u16, Malformed> {
    let word = word.ok_or(Malformed)?;
    let digits = word.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || (word.len() > 1 && word.starts_with('0')) {
        return Err(Malformed);
    }
    word.parse().map_err(|_| Malformed)
}

/// Version 2, after its signature.
fn binary(rest: &[u8]) -> Result<Beginning, Malformed> {
    let Some((&[command, family, high, low], rest)) = rest.split_first_chunk() else {
        return Ok(Beginning::Partial);
    };
    let behind = usize::from(u16::from_be_bytes([high, low]));
    let length = FIXED + behind;
    // Families and protocols beyond these are not assigned, and to be refused.
    if length > MOST_V2 || family >> 4 > 3 || family & 15 > 2 {
        return Err(Malformed);
    }
    let nobody = Ok(Beginning::Header { length, ends: None });
    match (command, family) {
        (0x21, 0x11) => addressed::<4>(rest, behind),
        (0x21, 0x21) => addressed::<16>(rest, behind),
        (0x20 | 0x21, _) => nobody,
        _ => Err(Malformed),
    }
}

/// Two addresses of so many bytes and their ports, and extensions, which are passed over.
fn addressed<const N: usize>(rest: &[u8], behind: usize) -> Result<Beginning, Malformed>
where
    IpAddr: From<[u8; N]>,
{
    if behind < 2 * N + 4 {
        return Err(Malformed);
    }
    let ends = || {
        let (from, rest) = rest.split_first_chunk::<N>()?;
        let (to, rest) = rest.split_first_chunk::<N>()?;
        let (from_port, rest) = rest.split_first_chunk::<2>()?;
        let (to_port, _) = rest.split_first_chunk::<2>()?;
        let end = |address: &[u8; N], port: &[u8; 2]| {
            SocketAddr::new(IpAddr::from(*address), u16::from_be_bytes(*port))
        };
        Some(Ends { source: end(from, from_port), destination: end(to, to_port) })
    };
    let length = FIXED + behind;
    Ok(ends().map_or(Beginning::Partial, |ends| Beginning::Header { length, ends: Some(ends) }))
}

#[cfg(test)]
mod tests;
