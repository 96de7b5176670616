//! Bytes on their way from one socket to another that never come into our memory (`splice(2)`).
// What a backend sends of a large answer is copied out of the kernel and back into it otherwise,
// which is a third of what such an answer costs.

use std::cell::RefCell;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::task::{Context, Poll, ready};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::clock;

/// What a pipe takes at once (bytes). It is the kernel's memory until a client has read it.
pub const MOST: usize = 256 * 1024;
/// Pipes of one worker, at most. Who comes after them has their bytes copied.
const WORKERS: usize = 64;
/// Empty ones that are kept. They have their pages all the while.
const SPARE: usize = 4;
/// Open files that a pipe takes.
pub const FILES: usize = 2;
/// Pages that a pipe takes, where they are as small as they usually are.
const PAGES: usize = MOST / 4096;
/// After the system had none, nobody asks it for so long (milliseconds).
const PAUSE: u64 = 1000;

/// A stream whose bytes may be those of a socket, as they are.
pub trait Bare {
    /// That socket.
    fn socket(&self) -> Option<&TcpStream>;
}

impl Bare for TcpStream {
    fn socket(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

impl<S> Bare for tokio_rustls::server::TlsStream<S> {
    fn socket(&self) -> Option<&TcpStream> {
        None
    }
}

/// A pipe that one part of a message goes through.
#[derive(Debug)]
pub struct Pipe {
    ends: Option<Ends>,
    /// What is in it.
    holds: usize,
}

#[derive(Debug)]
struct Ends {
    out: OwnedFd,
    into: OwnedFd,
}

/// The pipes of a worker.
struct Pipes {
    spare: Vec<Ends>,
    /// So many are in use.
    used: usize,
    /// So many may be.
    allowed: usize,
    /// When the system is asked for more, on the worker's clock.
    from: u64,
}

thread_local! {
    static PIPES: RefCell<Pipes> =
        const { RefCell::new(Pipes { spare: Vec::new(), used: 0, allowed: 0, from: 0 }) };
}

/// Pipes that each of so many workers may have where all of them may take so many open files. They
/// leave half of the pages that a user may have in pipes to whatever else that user runs.
pub fn share(files: u64, pages: Option<u64>, workers: usize) -> usize {
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let by_files = count(files) / FILES;
    let by_pages = pages.map_or(usize::MAX, |pages| count(pages / 2) / PAGES);
    (by_files.min(by_pages) / workers.max(1)).min(WORKERS)
}

/// Pages that a user's pipes may have before new ones are made small; none where that is not
/// limited.
pub fn pages() -> Option<u64> {
    let limit = std::fs::read_to_string("/proc/sys/fs/pipe-user-pages-soft").ok()?;
    limit.trim().parse().ok().filter(|pages| *pages > 0)
}

/// Whether the system moves bytes by pipes: a sandbox may refuse it, and some kernels cannot. What
/// could not be tried counts as refused, for an answer that breaks off is worse than a copied one.
pub fn moves_bytes() -> bool {
    move_a_byte().is_ok()
}

/// By a pipe of the usual size: that there are no pages for a larger one just now says nothing.
fn move_a_byte() -> io::Result<()> {
    let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let ((mut from, near), (to, _far)) = (UnixStream::pair()?, UnixStream::pair()?);
    from.write_all(b"x")?;
    splice(&near, None, &into, None, 1, flags())?;
    splice(&out, None, &to, None, 1, flags())?;
    Ok(())
}

/// This thread may have so many pipes: none, unless it is told so.
pub fn allow(pipes: usize) {
    PIPES.with_borrow_mut(|it| it.allowed = pipes);
}

impl Pipes {
    /// A spare one, or a new one. `now`: on the worker's clock.
    fn take(&mut self, now: u64, open: impl FnOnce() -> io::Result<Ends>) -> Option<Ends> {
        if self.used >= self.allowed {
            return None;
        }
        let spare = self.spare.pop();
        if spare.is_none() && now < self.from {
            return None;
        }
        let Ok(ends) = spare.map_or_else(open, Ok) else {
            self.from = now + PAUSE;
            return None;
        };
        self.used += 1;
        Some(ends)
    }
}

impl Pipe {
    /// An empty one; none where there are enough of them, or the system has none.
    pub fn take() -> Option<Self> {
        let ends = PIPES.with_borrow_mut(|pipes| pipes.take(clock::now(), open))?;
        Some(Self { ends: Some(ends), holds: 0 })
    }

    /// How much is in it (bytes).
    pub fn holds(&self) -> usize {
        self.holds
    }

    /// Takes what has come on this socket into the pipe, which must be empty; so many bytes at
    /// most. How many these are: none at the end.
    ///
    /// # Errors
    /// Of the socket.
    pub fn poll_fill(
        &mut self,
        socket: &TcpStream,
        cx: &mut Context<'_>,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        // A full pipe could not be told from a socket that has nothing.
        debug_assert_eq!(self.holds, 0, "it is filled when it is empty");
        let Some(Ends { into, .. }) = &self.ends else { return Poll::Ready(Ok(0)) };
        loop {
            ready!(socket.poll_read_ready(cx))?;
            let moved = socket.try_io(Interest::READABLE, || {
                Ok(splice(socket, None, into, None, most.min(MOST), flags())?)
            });
            if !again(&moved) {
                self.holds = *moved.as_ref().unwrap_or(&0);
                return Poll::Ready(moved);
            }
        }
    }

    /// Gives this socket what it takes of what is in the pipe. How many bytes these were.
    ///
    /// # Errors
    /// Of the socket.
    pub fn poll_drain(
        &mut self,
        socket: &TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let Some(Ends { out, .. }) = &self.ends else { return Poll::Ready(Ok(0)) };
        loop {
            ready!(socket.poll_write_ready(cx))?;
            let moved = socket.try_io(Interest::WRITABLE, || {
                Ok(splice(out, None, socket, None, self.holds, flags())?)
            });
            if !again(&moved) {
                self.holds = self.holds.saturating_sub(*moved.as_ref().unwrap_or(&0));
                return Poll::Ready(moved);
            }
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let ends = self.ends.take().filter(|_| self.holds == 0);
        // A thread that ends has no pipes any more.
        let _ = PIPES.try_with(|pipes| {
            let mut pipes = pipes.borrow_mut();
            pipes.used = pipes.used.saturating_sub(1);
            if pipes.spare.len() < SPARE {
                pipes.spare.extend(ends);
            }
        });
    }
}

fn open() -> io::Result<Ends> {
    let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // A user may have so many pages in pipes. Behind that a new one has two, and to go by it would
    // cost more than to copy.
    fcntl_setpipe_size(&into, MOST)?;
    Ok(Ends { out, into })
}

fn flags() -> SpliceFlags {
    SpliceFlags::MOVE | SpliceFlags::NONBLOCK
}

/// Whether it is to be tried again, when the socket says so or at once.
fn again<T>(result: &io::Result<T>) -> bool {
    let again = [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted];
    matches!(result, Err(error) if again.contains(&error.kind()))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (near, listener.accept().await.unwrap().0)
    }

    /// In use, and spare.
    fn used() -> (usize, usize) {
        PIPES.with_borrow(|pipes| (pipes.used, pipes.spare.len()))
    }

    #[tokio::test]
    async fn bytes_go_from_socket_to_socket_and_an_end_is_told() {
        allow(1);
        let ((mut from, near), (to, mut far)) = (pair().await, pair().await);
        from.write_all(b"hello").await.unwrap();
        let mut pipe = Pipe::take().unwrap();
        assert_eq!(poll_fn(|cx| pipe.poll_fill(&near, cx, 4)).await.unwrap(), 4, "and no more");
        assert_eq!(poll_fn(|cx| pipe.poll_drain(&to, cx)).await.unwrap(), 4);
        assert_eq!(poll_fn(|cx| pipe.poll_fill(&near, cx, 4)).await.unwrap(), 1);
        assert_eq!(poll_fn(|cx| pipe.poll_drain(&to, cx)).await.unwrap(), 1);
        drop(from);
        assert_eq!(poll_fn(|cx| pipe.poll_fill(&near, cx, 4)).await.unwrap(), 0);
        drop(to);
        let mut text = String::new();
        far.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello");
    }

    #[tokio::test]
    async fn what_nobody_has_read_is_not_the_next_ones() {
        allow(1);
        let (mut from, near) = pair().await;
        from.write_all(b"secret").await.unwrap();
        let mut pipe = Pipe::take().unwrap();
        poll_fn(|cx| pipe.poll_fill(&near, cx, 6)).await.unwrap();
        assert_eq!((pipe.holds(), used()), (6, (1, 0)));
        drop(pipe);
        assert_eq!(used(), (0, 0), "closed");
        drop(Pipe::take());
        assert_eq!(used(), (0, 1), "an empty one is kept");
    }

    #[test]
    fn a_worker_has_only_so_many() {
        assert!(Pipe::take().is_none(), "a thread that was told nothing has none");
        allow(20);
        let pipes: Vec<Pipe> = std::iter::from_fn(Pipe::take).collect();
        assert_eq!(pipes.len(), 20);
        drop(pipes);
        assert_eq!(used(), (0, SPARE));
        assert!(Pipe::take().is_some());
    }

    #[test]
    fn workers_share_the_files_and_pages_that_pipes_may_take() {
        for files in [0, 64, 1024, 4096, 20_000, u64::MAX] {
            for pages in [0, 64, 16_384, u64::MAX] {
                for workers in [0, 1, 2, 16, 128] {
                    let pipes = share(files, Some(pages), workers);
                    assert!(pipes <= WORKERS && pipes <= share(files, None, workers));
                    let all = (pipes * workers) as u64;
                    assert!(2 * all <= files && 64 * all <= pages / 2, "{files} {pages} {workers}");
                }
            }
        }
        assert_eq!((share(128, None, 1), share(2500, None, 2), share(512, None, 16)), (64, 64, 16));
        assert_eq!(share(u64::MAX, Some(16_384), 4), 32);
    }

    #[test]
    fn this_system_moves_bytes() {
        assert!(moves_bytes());
    }

    #[test]
    fn a_system_that_had_none_is_not_asked_again_at_once() {
        let mut pipes = Pipes { spare: Vec::new(), used: 0, allowed: 1, from: 0 };
        assert!(pipes.take(5, || Err(io::ErrorKind::Other.into())).is_none());
        assert!(pipes.take(5 + PAUSE - 1, || panic!("asked")).is_none());
        assert!(pipes.take(5 + PAUSE, open).is_some());
        assert!(pipes.take(5 + PAUSE, || panic!("one is allowed")).is_none());
    }
}
