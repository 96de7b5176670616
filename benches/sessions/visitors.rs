//! Visitors with a session each: who they are, and their requests over a few connections.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use ostler::backend::name_hash;
use ostler::sticky::{KeyRing, Token};

/// The pool, and with it the scope and the cookie.
pub(super) const POOL: &str = "shop";
/// Its backends. The last has a twentieth of the sessions, the least for which an error is promised.
pub(super) const BACKENDS: [&str; 5] = ["a", "b", "c", "d", "e"];
/// The place of the last one.
pub(super) const SMALL: usize = 4;
const CONNECTIONS: usize = 16;
/// Requests that are under way on a connection at once.
const PIPELINED: usize = 8;
/// An answer that takes longer is a failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// The id of a visitor's session: as good as random, and no two alike (`SplitMix64`).
pub(super) fn id(seed: u64, visitor: u32) -> u64 {
    let step = seed.wrapping_mul(0x1_0000_0000).wrapping_add(u64::from(visitor) + 1);
    let mut mixed = step.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The place of the backend that a visitor is bound to: of twenty one goes to the last one, four go
/// to the first, and five to each of the others.
pub(super) fn home(visitor: u32) -> usize {
    if visitor.is_multiple_of(20) { SMALL } else { usize::try_from(visitor % 4).unwrap_or(0) }
}

/// All visitors there may be.
pub(super) struct Visitors {
    pub(super) ring: KeyRing,
    pub(super) seed: u64,
}

impl Visitors {
    /// The head of a visitor's request, with a token as it would be after a refresh just now.
    fn request(&self, visitor: u32, now: u32, out: &mut Vec<u8>) -> Result<()> {
        let backend = BACKENDS.get(home(visitor)).context("a visitor without a home")?;
        let session = id(self.seed, visitor);
        let token = Token::begin(session, name_hash(POOL), name_hash(backend), now);
        // Never twice the same under one key.
        let mut nonce = [0; 12];
        let parts = visitor.to_le_bytes().into_iter().chain(now.to_le_bytes());
        nonce.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        let sealed = self.ring.seal(POOL.as_bytes(), &token, nonce);
        let cookie = sealed.as_str();
        write!(out, "GET / HTTP/1.1\r\nHost: shop\r\nCookie: ostler-{POOL}={cookie}\r\n\r\n")?;
        Ok(())
    }
}

/// Kept-alive connections to the program.
pub(super) struct Clients {
    connections: Vec<Connection>,
    end: Instant,
}

impl Clients {
    /// `end`: when all of it must be over.
    pub(super) fn connect(address: SocketAddr, end: Instant) -> Result<Self> {
        let opened = (0..CONNECTIONS).map(|_| Connection::open(address));
        Ok(Self { connections: opened.collect::<Result<_>>()?, end })
    }

    /// One request of each of these visitors, over all connections. Each is answered by the backend
    /// that the visitor is bound to, or this fails.
    pub(super) fn visit(&mut self, visitors: &Visitors, who: &[u32]) -> Result<()> {
        self.each(who, |connection, batch| connection.visit(visitors, batch))
    }

    /// So many requests without a cookie.
    pub(super) fn pass_by(&mut self, requests: u32) -> Result<()> {
        let who: Vec<u32> = (0..requests).collect();
        self.each(&who, Connection::pass_by)
    }

    fn each<F>(&mut self, who: &[u32], ask: F) -> Result<()>
    where
        F: Fn(&mut Connection, &[u32]) -> Result<()> + Sync,
    {
        let (end, ask) = (self.end, &ask);
        thread::scope(|scope| {
            let share = |place: usize| who.chunks(PIPELINED).skip(place).step_by(CONNECTIONS);
            let threads: Vec<_> = self
                .connections
                .iter_mut()
                .enumerate()
                .map(|(place, connection)| {
                    scope.spawn(move || {
                        for batch in share(place) {
                            ensure!(Instant::now() < end, "it takes longer than it may");
                            ask(connection, batch)?;
                        }
                        Ok(())
                    })
                })
                .collect();
            threads.into_iter().try_for_each(|thread| match thread.join() {
                Ok(result) => result,
                Err(_) => bail!("a thread of the load has panicked"),
            })
        })
    }
}

/// One of them, with room that is used again.
struct Connection {
    stream: BufReader<TcpStream>,
    out: Vec<u8>,
    line: Vec<u8>,
}

impl Connection {
    fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).context("cannot connect to ostler")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream), out: Vec::new(), line: Vec::new() })
    }

    fn visit(&mut self, visitors: &Visitors, batch: &[u32]) -> Result<()> {
        self.out.clear();
        let now = unix()?;
        for visitor in batch {
            visitors.request(*visitor, now, &mut self.out)?;
        }
        self.stream.get_mut().write_all(&self.out)?;
        for visitor in batch {
            let home = BACKENDS.get(home(*visitor)).copied().unwrap_or_default();
            let answered = self.answer()?;
            let answered = String::from_utf8_lossy(&answered);
            ensure!(answered == home, "a visitor of {home} was sent to {answered}");
        }
        Ok(())
    }

    fn pass_by(&mut self, batch: &[u32]) -> Result<()> {
        let request = b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n".repeat(batch.len());
        self.stream.get_mut().write_all(&request)?;
        batch.iter().try_for_each(|_| self.answer().map(drop))
    }

    /// The body of the next answer, which must be a 200.
    fn answer(&mut self) -> Result<Vec<u8>> {
        self.next_line()?;
        let status = String::from_utf8_lossy(&self.line);
        ensure!(status.starts_with("HTTP/1.1 200 "), "answered with {:?}", status.trim_end());
        let mut length = 0;
        loop {
            self.next_line()?;
            if self.line == b"\r\n" {
                break;
            }
            let field = std::str::from_utf8(&self.line)?;
            if let Some((name, value)) = field.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(body)
    }

    fn next_line(&mut self) -> Result<()> {
        self.line.clear();
        let read = self.stream.read_until(b'\n', &mut self.line).context("no answer")?;
        ensure!(read > 0, "ostler has closed a connection");
        Ok(())
    }
}

/// Unix seconds.
fn unix() -> Result<u32> {
    Ok(u32::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?)
}
