//! One worker's idle connections, by backend.

use std::time::Duration;

use crate::net::proxy_header::Ends;

use super::connection::Connection;
use super::habit::Habit;
use crate::net::outgoing::Outgoing;

/// What a pool says about its idle connections.
// Small, for each loan and each idle connection has one.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    most: u32,
    /// Milliseconds.
    idle: u32,
    /// Milliseconds, or [`NO_AGE`].
    age: u32,
}

/// No age is too old.
const NO_AGE: u32 = u32::MAX;

impl Keep {
    /// `most`: per worker and backend. `idle`: longest idleness, unless the backend has said its
    /// own. `age`: oldest that is used again. Both are seven weeks where they are longer.
    pub fn new(most: usize, idle: Duration, age: Option<Duration>) -> Self {
        let millis = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        let oldest = |age| millis(age).min(NO_AGE - 1);
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        Self { most, idle: millis(idle), age: age.map_or(NO_AGE, oldest) }
    }

    /// Longest idleness.
    pub(super) fn idle(self) -> Duration {
        Duration::from_millis(self.idle.into())
    }

    /// Whether a connection of this age (ms) is not used again.
    pub(super) fn is_old(self, age: u64) -> bool {
        age >= self.age.into() && self.age != NO_AGE
    }
}

/// A backend's own idle time is undercut by this much, so that it does not close while a request
/// is on its way.
const MARGIN: Duration = Duration::from_secs(1);

fn undercut(own: Duration) -> Duration {
    own.saturating_sub(MARGIN).max(own / 2)
}

/// Idle connections of one worker. The last one in is the first one out.
#[derive(Debug)]
pub struct Idle<B: Outgoing> {
    slots: Vec<Slot<B>>,
}

/// One backend's.
#[derive(Debug)]
struct Slot<B: Outgoing> {
    resting: Vec<Resting<B>>,
    /// When it closes them, if it does not say so.
    habit: Habit,
}

impl<B: Outgoing> Default for Slot<B> {
    fn default() -> Self {
        Self { resting: Vec::new(), habit: Habit::default() }
    }
}

#[derive(Debug)]
struct Resting<B: Outgoing> {
    connection: Box<Connection<B>>,
    keep: Keep,
}

impl<B: Outgoing> Default for Idle<B> {
    fn default() -> Self {
        Self { slots: Vec::new() }
    }
}

impl<B: Outgoing> Resting<B> {
    /// `now`: the worker's clock, milliseconds.
    fn fresh(&self, now: u64) -> bool {
        let rests = match self.connection.keep_for {
            None => self.idled(now) < self.keep.idle.into(),
            Some(own) => Duration::from_millis(self.idled(now)) < undercut(own),
        };
        rests && !self.keep.is_old(now.saturating_sub(self.connection.opened))
    }

    /// Milliseconds.
    fn idled(&self, now: u64) -> u64 {
        now.saturating_sub(self.connection.idle_since)
    }

    /// Whether its backend is about to close it, going by its habit. It is left where it is: how
    /// long it lasts says whether that is still so.
    fn doubtful(&self, habit: Habit, now: u64) -> bool {
        let idled = Duration::from_millis(self.idled(now));
        self.connection.keep_for.is_none()
            && habit.keeps().is_some_and(|own| idled >= undercut(own))
    }

    /// Whether it is open, which its backend's habit is learned from. `ready`: by a look.
    fn tells(&self, ready: bool, habit: &mut Habit, now: u64) {
        if ready {
            habit.left_open(self.idled(now));
        } else if let Some(age) = self.connection.closed_after(now) {
            habit.closed(age, now);
        }
    }
}

impl<B: Outgoing> Idle<B> {
    /// A connection to this backend that is still good. One whose backend was told who is at its
    /// other end is for those alone. `sure`: by a look at its socket, for a request that may not be
    /// sent again should the backend have closed it just now.
    pub fn take(
        &mut self,
        slot: usize,
        told: Option<Ends>,
        sure: bool,
        now: u64,
    ) -> Option<Box<Connection<B>>> {
        let Slot { resting, habit } = self.slots.get_mut(slot)?;
        loop {
            let place = if told.is_none() {
                resting.len().checked_sub(1)?
            } else {
                resting.iter().rposition(|one| one.connection.told == told)?
            };
            let last = resting.get_mut(place)?;
            let mut good = last.connection.told == told && last.fresh(now);
            if good {
                good = last.connection.is_still_ready(sure);
                last.tells(good, habit, now);
            }
            if good && last.doubtful(*habit, now) {
                // Those below it have been idle for longer.
                return None;
            }
            let mut last = resting.remove(place);
            if good {
                last.connection.idled = last.idled(now);
                return Some(last.connection);
            }
        }
    }

    /// One that was taken was closed under its request, after it had been idle for so long (ms).
    pub fn lost(&mut self, slot: usize, idled: u64, now: u64) {
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.habit.lost(idled, now);
        }
    }

    /// Keeps a connection whose exchange is complete, if it is good for another.
    /// True when it was kept.
    pub fn put(
        &mut self,
        slot: usize,
        mut connection: Box<Connection<B>>,
        keep: Keep,
        now: u64,
    ) -> bool {
        if !connection.settles() {
            return false;
        }
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, Slot::default);
        }
        let Some(Slot { resting, habit }) = self.slots.get_mut(slot) else { return false };
        connection.used(now);
        let candidate = Resting { connection, keep };
        if !candidate.fresh(now) {
            return false;
        }
        if resting.len() >= keep.most as usize {
            let Some(oldest) = resting.first() else { return false };
            // The oldest is of a client that has not come back for longest; or it is about to be
            // closed, and the one above it goes, for how long the oldest lasts is what the habit
            // is to be measured by.
            let place = usize::from(candidate.connection.told.is_none());
            let doubted = place == 0 || oldest.doubtful(*habit, now);
            if !doubted || resting.len() <= place {
                return false;
            }
            resting.remove(place);
        }
        resting.push(candidate);
        true
    }

    /// Closes what is too old or was closed by its backend.
    pub fn sweep(&mut self, now: u64) {
        for Slot { resting, habit } in &mut self.slots {
            resting.retain_mut(|one| {
                let ready = one.connection.is_ready();
                one.tells(ready, habit, now);
                ready && one.fresh(now)
            });
        }
    }

    /// Closes what has been idle for so long, whatever its pool says.
    pub fn shrink(&mut self, longest: Duration, now: u64) {
        for Slot { resting, .. } in &mut self.slots {
            resting.retain(|one| Duration::from_millis(one.idled(now)) < longest);
            resting.shrink_to_fit();
        }
    }

    /// Idle connections to this backend.
    pub fn count(&self, slot: usize) -> usize {
        self.slots.get(slot).map_or(0, |slot| slot.resting.len())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;
    use std::task::Poll;
    use std::time::Instant;

    use bytes::Bytes;
    use http_body_util::Empty;

    use super::super::{Target, dial};
    use super::*;
    use crate::net::message::{Request, RequestHead};

    const KEEP: Keep = Keep { most: 8, idle: 60_000, age: NO_AGE };
    const HEAD: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

    fn request() -> Request<Empty<Bytes>> {
        Request { head: RequestHead::default(), body: Empty::new() }
    }

    /// A connection that has carried an exchange, and its other end.
    async fn used(listener: &TcpListener) -> (Box<Connection<Empty<Bytes>>>, TcpStream) {
        let target = Target {
            addresses: Arc::new(vec![listener.local_addr().unwrap()]),
            host: "localhost",
            tls: None,
            http2: false,
            proxy: None,
            timeout: Duration::from_secs(20),
            write_timeout: None,
        };
        let mut connection = dial(target).await.unwrap();
        let (mut backend, _) = listener.accept().unwrap();
        connection.send(request());
        backend.write_all(HEAD).unwrap();
        let answered = poll_fn(|cx| connection.poll_answer(cx)).await;
        assert_eq!(answered.unwrap().status(), 204);
        connection.rest();
        assert!(backend.read(&mut [0; 1024]).unwrap() > 0);
        (connection, backend)
    }

    #[test]
    fn an_age_is_too_old_from_its_limit_on_and_none_is_without_one() {
        let limited = |age| Keep::new(8, Duration::from_secs(1), age);
        let minute = limited(Some(Duration::from_mins(1)));
        assert!(minute.is_old(60_000) && !minute.is_old(59_999));
        let years = limited(Some(Duration::from_hours(24 * 365 * 100)));
        assert!(years.is_old(u64::from(u32::MAX)) && !years.is_old(u64::from(u32::MAX) / 2));
        assert!(!limited(None).is_old(u64::MAX));
        assert_eq!(minute.idle(), Duration::from_secs(1));
    }

    #[tokio::test]
    async fn a_connection_is_lost_where_its_backend_closes_it_and_nothing_else_is_said() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // An answer that is none, on a connection that stays, and one that begins before the end.
        let refused = (&b"no answer at all\r\n\r\n"[..], true, false);
        let begun = (&b"HTTP/1.1 103 Early Hints\r\n\r\n"[..], false, false);
        for (last, stays, lost) in [(&b""[..], false, true), refused, begun] {
            let mut idle = Idle::default();
            let (connection, mut backend) = used(&listener).await;
            assert!(idle.put(0, connection, KEEP, 0));
            let mut connection = idle.take(0, None, false, 700).unwrap();
            connection.send(request());
            let asked = poll_fn(|cx| Poll::Ready(connection.poll_answer(cx).is_pending())).await;
            assert!(asked && backend.read(&mut [0; 1024]).unwrap() > 0);
            backend.write_all(last).unwrap();
            let kept = stays.then_some(backend);
            assert!(poll_fn(|cx| connection.poll_answer(cx)).await.is_err());
            assert_eq!(connection.lost_after(), lost.then_some(700), "{last:?}");
            drop(kept);
        }
    }

    #[tokio::test]
    async fn a_look_at_the_socket_finds_what_the_runtime_has_not_heard_of() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        for farewell in [&b""[..], b"HTTP/1.1 408 Request Timeout\r\n\r\n"] {
            let mut idle = Idle::default();
            let (connection, mut backend) = used(&listener).await;
            assert!(idle.put(0, connection, KEEP, 0));
            let connection = idle.take(0, None, true, 0).expect("it is good");
            assert!(connection.reused() && idle.put(0, connection, KEEP, 0));
            backend.write_all(farewell).unwrap();
            drop(backend);
            let connection = idle.take(0, None, false, 0).expect("nobody has told anybody");
            assert!(idle.put(0, connection, KEEP, 0));
            let end = Instant::now() + Duration::from_secs(20);
            while let Some(connection) = idle.take(0, None, true, 0) {
                assert!(Instant::now() < end, "it was closed");
                assert!(idle.put(0, connection, KEEP, 0));
            }
        }
    }
}
