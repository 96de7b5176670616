//! Socket options: listening sockets a worker each, connections out, and what the system allows.

use std::io;
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;
/// A peer that vanished is noticed while nothing is sent…
const KEEPALIVE: Duration = Duration::from_mins(1);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 6;
/// …and while something is.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Listening sockets of one address: one for each worker, between which the kernel spreads.
#[derive(Debug)]
pub struct Bound {
    /// With the port that 0 became.
    pub address: SocketAddr,
    /// Non-blocking.
    pub sockets: Vec<TcpListener>,
}

/// Binds an address for so many workers. It is tried without `SO_REUSEPORT` first: else two
/// processes would share the port without noticing.
///
/// # Errors
/// As the system says, `AddrInUse` above all.
pub fn bind(address: SocketAddr, workers: usize) -> io::Result<Bound> {
    let probe = listening_socket(address)?;
    probe.bind(&address.into())?;
    let address = probe.local_addr()?.as_socket().unwrap_or(address);
    // A bound socket that does not listen yet is no conflict for sockets that share; it keeps the
    // port until they have it.
    probe.set_reuse_port(true)?;
    let mut sockets = Vec::with_capacity(workers);
    for _ in 0..workers.max(1) {
        let socket = listening_socket(address)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        // Accepted sockets inherit these: no call for each connection.
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_keepalive(&keepalive())?;
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        sockets.push(socket);
    }
    drop(probe);
    for socket in &sockets {
        socket.listen(BACKLOG)?;
    }
    Ok(Bound { address, sockets: sockets.into_iter().map(Into::into).collect() })
}

fn listening_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // "[::]" never includes IPv4.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES)
}

/// Opens a connection to a backend.
///
/// # Errors
/// As the system says.
pub async fn connect(address: SocketAddr) -> io::Result<tokio::net::TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    socket.set_nodelay(true)?;
    let stream = socket.connect(address).await?;
    Ok(stream)
}

/// Whether a non-blocking socket has something to read, or its end: asked of the system.
pub fn stirred(socket: &impl AsFd) -> bool {
    let looked = SockRef::from(socket).peek(&mut [MaybeUninit::uninit()]);
    !matches!(looked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// Raises the limit of open files to what the system allows and returns it.
pub fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(1 << 20);
    let raised = Rlimit { current: Some(hard), maximum: limit.maximum };
    if setrlimit(Resource::Nofile, raised).is_ok() { hard } else { limit.current.unwrap_or(hard) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_another_listens_on_is_refused() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = bind(other.local_addr().unwrap(), 2).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let ours = bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let error = bind(ours.address, 2).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "even where it shares");
    }
}
