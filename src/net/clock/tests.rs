//! Deadlines of a worker's clock, and who is heard when many pass at once.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Wake;

use tokio::task::JoinSet;

use super::*;

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn advance(by: u64) {
    TABLE.with_borrow_mut(|table| table.start -= Duration::from_millis(by));
    tick().into_iter().for_each(Waker::wake);
}

#[test]
fn a_deadline_wakes_once_and_only_after_its_time() {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let cx = Context::from_waker(&waker);
    let mut deadline = Deadline::new();
    assert!(deadline.poll(&cx).is_pending());
    deadline.arm(Some(Duration::from_mins(1)));
    assert!(deadline.poll(&cx).is_pending());
    advance(59_000);
    assert_eq!(woken.0.load(Ordering::Relaxed), 0);
    advance(2_000);
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert!(deadline.armed(), "who looks whether it is set must not overlook that it passed");
    assert!(deadline.poll(&cx).is_ready());
    deadline.arm(Some(Duration::from_mins(1)));
    assert!(deadline.poll(&cx).is_pending());
}

#[test]
fn a_dropped_deadline_gives_its_place_to_the_next() {
    let mut first = Deadline::new();
    first.arm(Some(Duration::from_secs(1)));
    let place = first.place;
    drop(first);
    let mut second = Deadline::new();
    second.arm(None);
    assert_eq!(second.place, None);
    second.arm(Some(Duration::from_secs(1)));
    assert_eq!(second.place, place);
}

#[tokio::test]
async fn a_crowd_whose_deadlines_pass_at_once_lets_others_have_their_turn() {
    let order = Arc::new(Mutex::new(String::new()));
    let mut crowd = JoinSet::new();
    for _ in 0..100 {
        let order = Arc::clone(&order);
        crowd.spawn(async move {
            let mut deadline = Deadline::new();
            deadline.arm(Some(Duration::from_millis(1)));
            poll_fn(|cx| deadline.poll(cx)).await;
            order.lock().unwrap().push('c');
        });
    }
    let mut others = JoinSet::new();
    let neighbour = Arc::clone(&order);
    others.spawn(async move {
        loop {
            neighbour.lock().unwrap().push('n');
            tokio::task::yield_now().await;
        }
    });
    others.spawn(run(|| ()));
    while let Some(one) = crowd.join_next().await {
        one.unwrap();
    }
    let order = order.lock().unwrap();
    let longest = order.split('n').map(str::len).max();
    // Turns are longer where the machine has stood still meanwhile.
    assert!(longest <= Some(50), "{longest:?} in a row");
}

#[test]
fn turns_grow_until_all_have_been_woken_however_long_each_of_them_takes() {
    assert_eq!(of_a_turn(Duration::ZERO), 4);
    for turn in [Duration::from_millis(1), Duration::from_millis(70), Duration::from_secs(1)] {
        let (mut woken, mut passed) = (0, Duration::ZERO);
        while woken < 20_000 {
            woken += of_a_turn(passed);
            passed += turn;
        }
        assert!(passed < Duration::from_secs(10), "{turn:?}: {passed:?}");
    }
}
