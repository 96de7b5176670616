//! One worker's idle connections, by backend.

use std::time::Duration;

use crate::net::proxy_header::Ends;

use super::connection::{Connection, Outgoing};

/// What a pool says about its idle connections.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    /// So many per worker and backend.
    pub most: usize,
    /// Longest idleness, unless the backend has said its own.
    pub idle: Duration,
    /// Oldest that is reused.
    pub age: Option<Duration>,
}

/// A backend's own idle time is undercut by this much, so that it does not close while a request
/// is on its way.
const MARGIN: Duration = Duration::from_secs(1);

/// Idle connections of one worker. The last one in is the first one out.
#[derive(Debug)]
pub struct Idle<B: Outgoing> {
    slots: Vec<Vec<Resting<B>>>,
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
        let connection = &self.connection;
        let idle = match connection.keep_for {
            Some(own) => own.saturating_sub(MARGIN).max(own / 2),
            None => self.keep.idle,
        };
        let since = |start: u64| Duration::from_millis(now.saturating_sub(start));
        since(connection.idle_since) < idle
            && self.keep.age.is_none_or(|age| since(connection.opened) < age)
    }
}

impl<B: Outgoing> Idle<B> {
    /// A connection to this backend that is still good. One whose backend was told who is at its
    /// other end is for those alone.
    pub fn take(
        &mut self,
        slot: usize,
        told: Option<Ends>,
        now: u64,
    ) -> Option<Box<Connection<B>>> {
        let resting = self.slots.get_mut(slot)?;
        loop {
            let mut last = if told.is_none() {
                resting.pop()?
            } else {
                let place = resting.iter().rposition(|one| one.connection.told == told)?;
                resting.remove(place)
            };
            let meant = last.connection.told == told;
            if meant && last.fresh(now) && last.connection.is_still_ready() {
                return Some(last.connection);
            }
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
            self.slots.resize_with(slot + 1, Vec::new);
        }
        let Some(resting) = self.slots.get_mut(slot) else { return false };
        connection.used(now);
        let candidate = Resting { connection, keep };
        if !candidate.fresh(now) {
            return false;
        }
        if resting.len() >= keep.most {
            if candidate.connection.told.is_none() || resting.is_empty() {
                return false;
            }
            // The oldest is of a client that has not come back for longest.
            resting.remove(0);
        }
        resting.push(candidate);
        true
    }

    /// Closes what is too old or was closed by its backend.
    pub fn sweep(&mut self, now: u64) {
        for resting in &mut self.slots {
            resting.retain_mut(|one| one.fresh(now) && one.connection.is_ready());
        }
    }

    /// Idle connections to this backend.
    pub fn count(&self, slot: usize) -> usize {
        self.slots.get(slot).map_or(0, Vec::len)
    }
}
