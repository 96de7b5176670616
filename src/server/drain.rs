//! The end of a listener or of the process, which many connections wait for.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use slab::Slab;

/// Room for so many who wait is kept while there are none.
const KEPT: usize = 1024;

/// The end of a listener or of the process, for those who must go.
// Not tokio-util's `CancellationToken`: each connection waits for its end, and to wait for a token
// takes an allocation, and its lock four times.
#[derive(Debug, Clone, Default)]
pub struct Ending {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    begun: AtomicBool,
    waiting: Mutex<Slab<Waker>>,
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Slab<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ending {
    /// Not yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// It begins now.
    pub fn begin(&self) {
        self.shared.begun.store(true, Ordering::Release);
        // Outside the lock: who is woken may be dropped.
        let waiting = std::mem::take(&mut *self.shared.waiting());
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// Resolves when it begins. To be awaited by one task only.
    pub fn wait(&self) -> Waiting {
        Waiting { shared: Arc::clone(&self.shared), place: None }
    }
}

/// See [`Ending::wait`]. A connection polls it at every turn, so it takes the lock once and looks
/// at a flag from then on.
#[derive(Debug)]
pub struct Waiting {
    shared: Arc<Shared>,
    place: Option<usize>,
}

impl Future for Waiting {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.shared.begun.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        if self.place.is_some() {
            return Poll::Pending;
        }
        let waker = cx.waker().clone();
        let mut waiting = self.shared.waiting();
        // Once more: those who are woken are those who were there.
        if self.shared.begun.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        let place = waiting.insert(waker);
        drop(waiting);
        self.place = Some(place);
        Poll::Pending
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        let mut waiting = self.shared.waiting();
        // None is there once it has begun.
        let waker = waiting.try_remove(place);
        let room = waiting.is_empty() && waiting.capacity() > KEPT;
        // What a crowd has left need not be kept for hours.
        let room = room.then(|| std::mem::take(&mut *waiting));
        // Outside the lock: it may be its task's last.
        drop((waiting, waker, room));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll(waiting: &mut Waiting, woken: &Arc<Woken>) -> bool {
        let waker = Waker::from(Arc::clone(woken));
        Pin::new(waiting).poll(&mut Context::from_waker(&waker)).is_ready()
    }

    #[test]
    fn whoever_waits_is_woken_once_and_whoever_has_gone_is_not() {
        let (ending, woken) = (Ending::new(), Arc::<Woken>::default());
        let (mut one, mut other, mut gone) = (ending.wait(), ending.wait(), ending.wait());
        for waiting in [&mut one, &mut other, &mut gone] {
            assert!(!poll(waiting, &woken));
            assert!(!poll(waiting, &woken), "waits already");
        }
        drop(gone);
        assert_eq!(ending.shared.waiting().len(), 2, "a place is given back");
        ending.begin();
        assert_eq!(woken.0.load(Ordering::Relaxed), 2);
        assert!(poll(&mut one, &woken) && poll(&mut other, &woken));
        drop(one);
        assert!(poll(&mut ending.wait(), &woken), "who comes later goes at once");
        ending.begin();
        assert_eq!(woken.0.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_crowd_leaves_no_room_behind() {
        let (ending, woken) = (Ending::new(), Arc::<Woken>::default());
        let mut crowd: Vec<_> = (0..3 * KEPT).map(|_| ending.wait()).collect();
        assert!(crowd.iter_mut().all(|waiting| !poll(waiting, &woken)));
        assert!(ending.shared.waiting().capacity() > KEPT);
        let mut last = crowd.pop();
        drop(crowd);
        assert!(last.as_mut().is_some_and(|last| !poll(last, &woken)), "it still waits");
        drop(last);
        assert_eq!(ending.shared.waiting().capacity(), 0);
    }

    #[test]
    fn no_end_is_missed_that_begins_while_one_begins_to_wait() {
        for _ in 0..200 {
            let ending = Ending::new();
            let woken = Arc::<Woken>::default();
            let other = ending.clone();
            let thread = std::thread::spawn(move || other.begin());
            let mut waiting = ending.wait();
            let at_once = poll(&mut waiting, &woken);
            thread.join().unwrap();
            assert!(at_once || woken.0.load(Ordering::Relaxed) == 1);
        }
    }
}
