//! The next free port where the usual one is taken.

use std::io;
use std::net::{SocketAddr, TcpListener};

/// So many are tried before the system chooses one.
const NEAR: u16 = 50;

/// `usual`, or the next address that nobody listens on and that is not among `taken`.
///
/// # Errors
/// Where the system has no port left.
pub fn free(usual: &str, taken: &[SocketAddr]) -> io::Result<SocketAddr> {
    let usual: SocketAddr = usual.parse().map_err(io::Error::other)?;
    let near = (usual.port()..usual.port().saturating_add(NEAR))
        .map(|port| SocketAddr::new(usual.ip(), port))
        .filter(|address| !taken.contains(address));
    for address in near {
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    TcpListener::bind(SocketAddr::new(usual.ip(), 0))?.local_addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_port_is_replaced_by_another() {
        let busy = TcpListener::bind("127.0.0.1:0").unwrap();
        let usual = busy.local_addr().unwrap();
        let other = free(&usual.to_string(), &[]).unwrap();
        assert_ne!(other, usual);
        assert_ne!(free(&usual.to_string(), &[other]).unwrap(), other);
    }
}
