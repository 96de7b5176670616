//! Waits for a TLS client's first record without reading it: who says nothing costs a socket.

use std::io;

use rustix::io::ioctl_fionread;
use rustix::net::{RecvFlags, recv};
use tokio::net::TcpStream;

use super::peek;

/// RFC 8446 §5.1: type, version and length of a record.
const HEAD: usize = 5;
const HANDSHAKE: u8 = 22;
/// The longest that a record without encryption may be (bytes).
const LONGEST: u16 = 1 << 14;

/// Ready when the first record is there as a whole, when it can be none, and when the client has
/// said its last: then it is for TLS to say what is wrong. There is no limit in it: that is the
/// caller's.
///
/// # Errors
/// Of the socket.
pub async fn whole(stream: &TcpStream) -> io::Result<()> {
    peek::until(stream, || is_whole(stream)).await
}

fn is_whole(stream: &TcpStream) -> io::Result<bool> {
    let mut head = [0; HEAD];
    let (_, seen) = recv(stream, &mut head, RecvFlags::PEEK)?;
    if seen == 0 {
        return Ok(true);
    }
    let Some(length) = needed(head.get(..seen).unwrap_or_default()) else { return Ok(false) };
    Ok(ioctl_fionread(stream)? >= length)
}

/// Bytes of the first record with its head; none while that is not known. What is no handshake
/// needs no more than is there.
fn needed(head: &[u8]) -> Option<u64> {
    match *head {
        [kind, ..] if kind != HANDSHAKE => Some(0),
        [_, _, _, high, low] => {
            let length = u16::from_be_bytes([high, low]);
            Some(if length > LONGEST { 0 } else { u64::from(length) + 5 })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_awaited_as_a_whole_and_nothing_else_is() {
        assert_eq!(needed(b""), None);
        assert_eq!(needed(&[22, 3, 1, 2]), None);
        assert_eq!(needed(&[22, 3, 1, 2, 0]), Some(517));
        assert_eq!(needed(&[22, 3, 1, 0xff, 0xff]), Some(0), "no record is so long");
        assert_eq!(needed(b"G"), Some(0), "no TLS at all");
    }
}
