//! Who waits for a place at backends that are at their limit, first come first served.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::BackendState;

/// The line of one pool. Its lock is taken by who waits, and by who leaves a place while somebody
/// waits; never otherwise.
#[derive(Debug, Default)]
pub struct Queue {
    line: Mutex<VecDeque<Arc<Waiter>>>,
    /// All who wait, those too who have been called and have not taken their place yet.
    waiting: AtomicU32,
    /// Those of them who take any backend.
    anyone: AtomicU32,
}

#[derive(Debug)]
struct Waiter {
    /// The one backend that will do; none: any.
    wants: Option<Arc<BackendState>>,
    slot: Mutex<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    waker: Option<Waker>,
    called: bool,
}

impl Queue {
    /// How many wait.
    pub fn len(&self) -> u32 {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether somebody waits who takes any backend: who comes later must not be faster.
    pub fn anyone(&self) -> bool {
        self.anyone.load(Ordering::SeqCst) > 0
    }

    /// Joins the line, at its end; none where `most` wait already.
    pub fn join(self: &Arc<Self>, wants: Option<&Arc<BackendState>>, most: u32) -> Option<Ticket> {
        let one_more = |waiting: u32| (waiting < most).then(|| waiting.saturating_add(1));
        let order = Ordering::SeqCst;
        self.waiting.fetch_update(order, order, one_more).ok()?;
        match wants {
            Some(state) => state.waits(),
            None => {
                self.anyone.fetch_add(1, order);
            }
        }
        let waiter = Arc::new(Waiter { wants: wants.cloned(), slot: Mutex::default() });
        self.line().push_back(Arc::clone(&waiter));
        Some(Ticket { queue: Arc::clone(self), waiter, used: false })
    }

    /// A place has become free here: the first whom it suits is called.
    pub fn freed(&self, state: &Arc<BackendState>) {
        if self.len() > 0 {
            self.call(|waiter| waiter.wants.as_ref().is_none_or(|wants| Arc::ptr_eq(wants, state)));
        }
    }

    /// Something about the backends has changed: everybody is to look again.
    pub fn call_all(&self) {
        if self.len() > 0 {
            let wakers: Vec<Waker> = {
                let mut line = self.line();
                line.drain(..).filter_map(|waiter| waiter.call()).collect()
            };
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    fn call(&self, suits: impl Fn(&Waiter) -> bool) {
        // Who has left the line is called before the lock is let go of: a ticket's drop must see
        // one or the other.
        let waker = {
            let mut line = self.line();
            let place = line.iter().position(|waiter| suits(waiter));
            place.and_then(|place| line.remove(place)).and_then(|first| first.call())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn line(&self) -> MutexGuard<'_, VecDeque<Arc<Waiter>>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self) -> Option<Waker> {
        let mut slot = self.slot();
        slot.called = true;
        slot.waker.take()
    }
}

/// A place in the line. Its drop leaves the line, and passes on a call that was not used.
#[derive(Debug)]
pub struct Ticket {
    queue: Arc<Queue>,
    waiter: Arc<Waiter>,
    used: bool,
}

impl Ticket {
    /// Ready when it was called: to look again, for somebody else may have been faster.
    pub fn poll_called(&self, cx: &Context<'_>) -> Poll<()> {
        let mut slot = self.waiter.slot();
        if slot.called {
            return Poll::Ready(());
        }
        slot.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// There was no place after all: waits on, before everybody else.
    pub fn again(&self) {
        self.waiter.slot().called = false;
        self.queue.line().push_front(Arc::clone(&self.waiter));
    }

    /// The place was taken.
    pub fn used(mut self) {
        self.used = true;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let called = {
            let mut line = self.queue.line();
            line.retain(|waiter| !Arc::ptr_eq(waiter, &self.waiter));
            self.waiter.slot().called
        };
        match &self.waiter.wants {
            Some(state) => state.waits_no_more(),
            None => {
                self.queue.anyone.fetch_sub(1, Ordering::SeqCst);
            }
        }
        self.queue.waiting.fetch_sub(1, Ordering::SeqCst);
        if called && !self.used {
            self.queue.call(|_| true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(ticket: &Ticket) -> bool {
        ticket.poll_called(&Context::from_waker(Waker::noop())).is_ready()
    }

    fn states() -> (Arc<BackendState>, Arc<BackendState>, Arc<Queue>) {
        let queue = Arc::new(Queue::default());
        let state = || {
            let state = Arc::new(BackendState::default());
            state.set_queue(&queue);
            state
        };
        (state(), state(), Arc::clone(&queue))
    }

    #[test]
    fn the_first_whom_a_place_suits_is_called() {
        let (a, b, queue) = states();
        let of_a = queue.join(Some(&a), 9).unwrap();
        let any = queue.join(None, 9).unwrap();
        let second = queue.join(None, 9).unwrap();
        drop(b.begin(1).unwrap());
        assert!(!called(&of_a) && called(&any) && !called(&second));
        drop(a.begin(1).unwrap());
        assert!(called(&of_a) && !called(&second));
        assert!(!a.has_room(1, false) && a.has_room(1, true));
    }

    #[test]
    fn a_call_that_was_not_used_is_passed_on() {
        let (a, _, queue) = states();
        let first = queue.join(Some(&a), 9).unwrap();
        let second = queue.join(Some(&a), 9).unwrap();
        let third = queue.join(Some(&a), 9).unwrap();
        queue.freed(&a);
        drop(first);
        assert!(called(&second) && !called(&third));
        second.used();
        assert!(!called(&third));
        assert_eq!(queue.len(), 1);
        drop(third);
        assert!(queue.is_empty() && !queue.anyone() && a.has_room(1, false));
    }

    #[test]
    fn a_full_line_takes_nobody_and_who_leaves_is_not_called() {
        let (a, _, queue) = states();
        let first = queue.join(None, 2).unwrap();
        let second = queue.join(None, 2).unwrap();
        assert!(queue.join(None, 2).is_none());
        drop(first);
        let third = queue.join(None, 2).unwrap();
        queue.freed(&a);
        assert!(called(&second) && !called(&third));
        second.again();
        assert!(!called(&second));
        queue.freed(&a);
        assert!(called(&second) && !called(&third));
        queue.call_all();
        assert!(called(&third));
    }
}
