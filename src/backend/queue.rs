//! Who waits for a place at backends that are at their limit, first come first served.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::BackendState;

/// The line of one pool. Its lock is taken by who waits, and by who leaves a place while somebody
/// waits; never otherwise.
#[derive(Debug, Default)]
pub struct Queue {
    line: Mutex<Line>,
    /// All who wait, those too who have been called and have not taken their place yet.
    waiting: AtomicU32,
    /// Those of them who take any backend.
    anyone: AtomicU32,
}

/// Those who have not been called, in the order in which they came.
#[derive(Debug, Default)]
struct Line {
    waiters: BTreeMap<u64, Arc<Waiter>>,
    next: u64,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    /// The one backend that will do; none: any.
    wants: Option<Arc<BackendState>>,
    slot: Mutex<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    waker: Option<Waker>,
    called: Option<Called>,
}

/// Why somebody was called.
#[derive(Debug, Clone)]
enum Called {
    /// There is a place here.
    Place(Arc<BackendState>),
    /// Something has changed.
    Look,
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

    /// Joins the line, at its end; none where `most` wait already. Whoever joins looks for a place
    /// once more then, and has it called by [`Queue::freed`]: one that became free just before has
    /// called nobody.
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
        let mut line = self.line();
        let number = line.next;
        line.next += 1;
        let waiter = Arc::new(Waiter { number, wants: wants.cloned(), slot: Mutex::default() });
        line.waiters.insert(number, Arc::clone(&waiter));
        drop(line);
        Some(Ticket { queue: Arc::clone(self), waiter, took: None })
    }

    /// There is a place here: the first whom it suits is called.
    pub fn freed(&self, state: &Arc<BackendState>) {
        self.call_from(0, state);
    }

    /// Calls the first of those from this number on whom a place suits.
    fn call_from(&self, number: u64, state: &Arc<BackendState>) {
        if self.is_empty() {
            return;
        }
        // Who is called leaves the line before its lock is let go of: a ticket's drop must see one
        // or the other.
        let waker = {
            let mut line = self.line();
            let suits = |waiter: &Waiter| {
                waiter.wants.as_ref().is_none_or(|wants| Arc::ptr_eq(wants, state))
            };
            let mut behind = line.waiters.range(number..).map(|(_, waiter)| waiter);
            let first = behind.find(|waiter| suits(waiter)).map(|waiter| waiter.number);
            let first = first.and_then(|first| line.waiters.remove(&first));
            first.and_then(|first| first.call(Called::Place(Arc::clone(state))))
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Something about the backends has changed: everybody is to look again.
    pub fn call_all(&self) {
        if self.is_empty() {
            return;
        }
        let wakers: Vec<Waker> = {
            let waiters = std::mem::take(&mut self.line().waiters);
            waiters.into_values().filter_map(|waiter| waiter.call(Called::Look)).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, why: Called) -> Option<Waker> {
        let mut slot = self.slot();
        slot.called = Some(why);
        slot.waker.take()
    }
}

/// A place in the line. Its drop leaves the line, and passes on a call that was not used.
#[derive(Debug)]
pub struct Ticket {
    queue: Arc<Queue>,
    waiter: Arc<Waiter>,
    /// Where a place was taken in the end.
    took: Option<Arc<BackendState>>,
}

impl Ticket {
    /// Ready when it was called: to look again, for somebody else may have been faster.
    pub fn poll_called(&self, cx: &Context<'_>) -> Poll<()> {
        let mut slot = self.waiter.slot();
        if slot.called.is_some() {
            return Poll::Ready(());
        }
        slot.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// There was no place after all, or not for this one: waits on where it was in the line, and
    /// passes the place on to those behind it. As after joining, whoever waits on looks once more.
    pub fn again(&self) {
        let called = {
            let mut line = self.queue.line();
            line.waiters.insert(self.waiter.number, Arc::clone(&self.waiter));
            self.waiter.slot().called.take()
        };
        if let Some(Called::Place(state)) = called {
            self.queue.call_from(self.waiter.number + 1, &state);
        }
    }

    /// A place was taken here.
    pub fn took(mut self, state: &Arc<BackendState>) {
        self.took = Some(Arc::clone(state));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let called = {
            let mut line = self.queue.line();
            line.waiters.remove(&self.waiter.number);
            self.waiter.slot().called.take()
        };
        match &self.waiter.wants {
            Some(state) => state.waits_no_more(),
            None => {
                self.queue.anyone.fetch_sub(1, Ordering::SeqCst);
            }
        }
        self.queue.waiting.fetch_sub(1, Ordering::SeqCst);
        // A place that was kept for this one and not taken is the next one's.
        if let Some(Called::Place(state)) = called
            && self.took.as_ref().is_none_or(|took| !Arc::ptr_eq(took, &state))
        {
            self.queue.freed(&state);
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
    fn a_place_that_was_not_taken_is_the_next_ones_whom_it_suits() {
        let (a, b, queue) = states();
        let first = queue.join(Some(&a), 9).unwrap();
        let of_b = queue.join(Some(&b), 9).unwrap();
        let second = queue.join(Some(&a), 9).unwrap();
        let third = queue.join(Some(&a), 9).unwrap();
        queue.freed(&a);
        drop(first);
        assert!(!called(&of_b) && called(&second) && !called(&third));
        second.took(&a);
        assert!(!called(&third));
        assert_eq!(queue.len(), 2);
        drop((of_b, third));
        assert!(queue.is_empty() && !queue.anyone() && a.has_room(1, false));
    }

    #[test]
    fn who_takes_another_place_than_it_was_called_for_passes_that_one_on() {
        let (a, b, queue) = states();
        let any = queue.join(None, 9).unwrap();
        let of_a = queue.join(Some(&a), 9).unwrap();
        queue.freed(&a);
        assert!(called(&any) && !called(&of_a));
        any.took(&b);
        assert!(called(&of_a));
    }

    #[test]
    fn who_waits_on_keeps_its_place_in_the_line() {
        let (a, _, queue) = states();
        let first = queue.join(None, 9).unwrap();
        let second = queue.join(None, 9).unwrap();
        queue.call_all();
        assert!(called(&first) && called(&second));
        second.again();
        first.again();
        assert!(!called(&first) && !called(&second));
        queue.freed(&a);
        assert!(called(&first) && !called(&second));
    }

    #[test]
    fn a_place_that_does_not_suit_after_all_goes_to_those_behind() {
        let (a, _, queue) = states();
        let first = queue.join(None, 9).unwrap();
        let second = queue.join(None, 9).unwrap();
        queue.freed(&a);
        first.again();
        assert!(!called(&first) && called(&second));
        second.again();
        assert!(!called(&first) && !called(&second));
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
    }
}
