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
    /// Where the place is that it was called to; none: it is to look everywhere.
    place: Option<Arc<BackendState>>,
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

    /// A place is free here: the first whom it suits is called.
    pub fn freed(&self, state: &Arc<BackendState>) {
        self.call(state, |waiter| waiter.suits(state));
    }

    /// A place is free here that whoever was called to it does not want: the first who wants this
    /// backend and no other is called. Whoever takes any looks everywhere when they are called.
    pub fn declined(&self, state: &Arc<BackendState>) {
        self.call(state, |waiter| waiter.wants(state));
    }

    /// Something about the backends has changed: everybody is to look again.
    pub fn call_all(&self) {
        if !self.is_empty() {
            let wakers: Vec<Waker> = {
                let mut line = self.line();
                line.drain(..).filter_map(|waiter| waiter.call(None)).collect()
            };
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    fn call(&self, place: &Arc<BackendState>, whom: impl Fn(&Waiter) -> bool) {
        if self.is_empty() {
            return;
        }
        // Who has left the line is called before the lock is let go of: a ticket's drop must see
        // one or the other.
        let waker = {
            let mut line = self.line();
            let first = line.iter().position(|waiter| whom(waiter));
            first.and_then(|first| line.remove(first)).and_then(|first| first.call(Some(place)))
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

    /// Whether it waits for this backend alone.
    fn wants(&self, state: &Arc<BackendState>) -> bool {
        self.wants.as_ref().is_some_and(|wants| Arc::ptr_eq(wants, state))
    }

    fn suits(&self, state: &Arc<BackendState>) -> bool {
        self.wants.is_none() || self.wants(state)
    }

    fn call(&self, place: Option<&Arc<BackendState>>) -> Option<Waker> {
        let mut slot = self.slot();
        slot.called = true;
        slot.place = place.cloned();
        slot.waker.take()
    }
}

/// What it means that a called waiter has found nothing.
#[derive(Debug)]
pub enum Again {
    /// It was not called, and stands where it stood.
    InLine,
    /// It stands before everybody else, and must look once more: what became free before it stood
    /// there has called nobody.
    First {
        /// The backend it was called to.
        place: Option<Arc<BackendState>>,
    },
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

    /// It has looked, and there was no place after all.
    pub fn again(&self) -> Again {
        let mut line = self.queue.line();
        let place = {
            let mut slot = self.waiter.slot();
            if !std::mem::take(&mut slot.called) {
                return Again::InLine;
            }
            slot.place.take()
        };
        line.push_front(Arc::clone(&self.waiter));
        Again::First { place }
    }

    /// A place was taken. Gives the backend it was called to, which may be another one.
    pub fn used(mut self) -> Option<Arc<BackendState>> {
        self.used = true;
        self.leave()
    }

    fn leave(&self) -> Option<Arc<BackendState>> {
        let mut line = self.queue.line();
        line.retain(|waiter| !Arc::ptr_eq(waiter, &self.waiter));
        self.waiter.slot().place.take()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let place = self.leave();
        match &self.waiter.wants {
            Some(state) => state.waits_no_more(),
            None => {
                self.queue.anyone.fetch_sub(1, Ordering::SeqCst);
            }
        }
        self.queue.waiting.fetch_sub(1, Ordering::SeqCst);
        if let Some(place) = place.filter(|_| !self.used) {
            self.queue.freed(&place);
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
        assert!(second.used().is_some_and(|place| Arc::ptr_eq(&place, &a)));
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
        assert!(matches!(second.again(), Again::First { place: Some(_) }));
        assert!(!called(&second) && matches!(second.again(), Again::InLine));
        queue.freed(&a);
        assert!(called(&second) && !called(&third));
        queue.call_all();
        assert!(called(&third));
    }
    #[test]
    fn a_call_that_was_not_used_goes_to_somebody_whom_its_place_suits() {
        let (a, b, queue) = states();
        let of_a = queue.join(Some(&a), 9).unwrap();
        let of_b = queue.join(Some(&b), 9).unwrap();
        let second_of_a = queue.join(Some(&a), 9).unwrap();
        queue.freed(&a);
        drop(of_a);
        assert!(!called(&of_b) && called(&second_of_a));
        let any = queue.join(None, 9).unwrap();
        queue.declined(&b);
        assert!(called(&of_b) && !called(&any));
    }
}
