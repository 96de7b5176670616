//! Waits for bytes without reading them.

use std::io;

use tokio::io::Interest;
use tokio::net::TcpStream;

/// Ready when `enough` says so of what the socket holds, and when the peer has said its last. There
/// is no limit in it: that is the caller's.
///
/// # Errors
/// Of the socket.
pub async fn until(
    stream: &TcpStream,
    mut enough: impl FnMut() -> io::Result<bool>,
) -> io::Result<()> {
    loop {
        let ready = stream.ready(Interest::READABLE).await?;
        if ready.is_read_closed() {
            return Ok(());
        }
        // The poll tells edges, and to look at bytes takes none away: what is not enough yet
        // passes for a socket that would block, so that the next byte is an edge again. The look
        // must be in here: what comes after it then is told.
        let looked = stream.try_io(Interest::READABLE, || {
            if enough()? { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
        });
        match looked {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return other,
        }
    }
}
