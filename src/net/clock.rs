//! A worker's coarse clock, and deadlines that cost nothing until they pass.
// A timer of the runtime costs an allocation or an insertion for every wait; a proxy has several
// waits an exchange and nearly none of them ends by its timer. Here a deadline is a number in a
// table of the worker's thread, looked through ten times a second.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

use super::pressure::{self, Level};

/// How often a worker looks for deadlines that have passed: they are late by up to this much, and
/// by less than a second where thousands pass at once and are heard in turns.
pub const TICK: Duration = Duration::from_millis(100);

/// So many of those whose deadlines have passed are woken at once, to begin with.
const FIRST_TURN: usize = 4;

const NEVER: u64 = u64::MAX;

/// While memory is short, all who wait look again after so many ticks: half a second.
const TICKS_PER_LOOK: u8 = 5;

struct Table {
    start: Instant,
    now: u64,
    /// How often things had been stirred up at the last tick.
    stirred: u64,
    /// How short memory was then, and ticks since all have looked.
    pressed: (Level, u8),
    /// The last tick, and the wall clock then: microseconds since 1970.
    ticked: Instant,
    wall: u64,
    entries: Vec<Entry>,
    free: Vec<usize>,
}

struct Entry {
    due: u64,
    passed: bool,
    /// Passes also when something has been stirred up.
    stirred: bool,
    waker: Option<Waker>,
}

impl Default for Entry {
    fn default() -> Self {
        Self { due: NEVER, passed: false, stirred: false, waker: None }
    }
}

thread_local! {
    static TABLE: RefCell<Table> = RefCell::new(Table {
        start: Instant::now(),
        now: 0,
        stirred: 0,
        pressed: (Level::Calm, 0),
        ticked: Instant::now(),
        wall: wall(),
        entries: Vec::new(),
        free: Vec::new(),
    });
}

/// How often things were stirred up, in all.
static STIRRED: AtomicU64 = AtomicU64::new(0);
/// Has the clocks tick at once; one that does not hear it ticks a little later anyway.
static STIR: Notify = Notify::const_new();

/// Something has changed that those who wait should look at: on each worker the deadlines that may
/// be stirred pass, by a tick that comes at once.
pub fn stir() {
    STIRRED.fetch_add(1, Ordering::Relaxed);
    STIR.notify_waiters();
}

/// Milliseconds on this worker's clock, as of the last tick.
#[inline(never)] // asked in many places
pub fn now() -> u64 {
    TABLE.with_borrow(|table| table.now)
}

/// The same where a thread may be ending, whose clock is gone then.
pub fn try_now() -> Option<u64> {
    TABLE.try_with(|table| table.try_borrow().map(|table| table.now).ok()).ok().flatten()
}

/// Microseconds since 1970 at a moment not long ago. The wall clock is read at every tick only.
pub fn since_epoch(moment: Instant) -> u64 {
    TABLE.with_borrow(|table| {
        let since = moment.saturating_duration_since(table.ticked);
        table.wall.saturating_add(u64::try_from(since.as_micros()).unwrap_or(0))
    })
}

/// Unix seconds as of the last tick.
pub fn unix() -> u32 {
    TABLE.with_borrow(|table| u32::try_from(table.wall / 1_000_000).unwrap_or(u32::MAX))
}

fn wall() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(0)
}

/// Moves the clock on, and tells who is to be woken: those whose deadlines have passed.
fn tick() -> Vec<Waker> {
    TABLE.with_borrow_mut(|table| {
        table.go_on();
        let now = table.now;
        let stirs = STIRRED.load(Ordering::Relaxed);
        let stirred = std::mem::replace(&mut table.stirred, stirs) != stirs;
        let mut late = Vec::new();
        let due = |entry: &&mut Entry| entry.due <= now || (stirred && entry.stirred);
        for entry in table.entries.iter_mut().filter(due) {
            entry.due = NEVER;
            entry.stirred = false;
            entry.passed = true;
            late.extend(entry.waker.take());
        }
        if table.presses() {
            late.extend(table.entries.iter().filter_map(|entry| entry.waker.clone()));
        }
        late
    })
}

/// Wakes them a few at a time, so that others have their turns between: a crowd that came at once
/// is late at once.
async fn wake(late: Vec<Waker>) {
    let began = Instant::now();
    let mut turn = 0;
    // Outside the borrow of the table: a waker may drop a task, and with it deadlines.
    for waker in late {
        if turn >= of_a_turn(began.elapsed()) {
            turn = 0;
            tokio::task::yield_now().await;
            TABLE.with_borrow_mut(Table::go_on);
        }
        turn += 1;
        waker.wake();
    }
}

/// How many are woken before others have their turn. Where turns are long there are more and more
/// of them, or there would be no end.
fn of_a_turn(elapsed: Duration) -> usize {
    let halves = elapsed.as_millis() / (TICK.as_millis() / 2);
    FIRST_TURN << halves.min(16)
}

impl Table {
    fn go_on(&mut self) {
        self.ticked = Instant::now();
        self.wall = wall();
        self.now = millis(self.ticked.saturating_duration_since(self.start));
    }

    /// Whether everybody who waits is to look whether it has to go, for memory's sake.
    fn presses(&mut self) -> bool {
        let level = pressure::level();
        let (before, ticks) = self.pressed;
        let presses = level > before || (level > Level::Calm && ticks + 1 >= TICKS_PER_LOOK);
        self.pressed = (level, if presses || level == Level::Calm { 0 } else { ticks + 1 });
        presses
    }
}

/// Runs the clock of this thread for as long as its runtime runs, and what else is to be done at
/// every tick: one timer of the runtime for all of it.
pub async fn run(mut also: impl FnMut()) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = STIR.notified() => {}
        }
        wake(tick()).await;
        // Without its clock a worker has no deadlines: that must not go with what else is done.
        let _ = catch_unwind(AssertUnwindSafe(&mut also));
    }
}

/// A deadline of the current worker. Takes its place in the table when it is first armed and must
/// be used and dropped on that thread.
#[derive(Debug, Default)]
pub struct Deadline {
    place: Option<usize>,
}

impl Deadline {
    /// One that is not armed.
    pub const fn new() -> Self {
        Self { place: None }
    }

    /// Passes after this time, whatever was set before; never after `None`.
    pub fn arm(&mut self, after: Option<Duration>) {
        self.set(after, false);
    }

    /// As [`Deadline::arm`], and passes also when something is stirred up.
    pub fn arm_stirred(&mut self, after: Option<Duration>) {
        self.set(after, true);
    }

    fn set(&mut self, after: Option<Duration>, stirred: bool) {
        let Some(after) = after else {
            self.disarm();
            return;
        };
        TABLE.with_borrow_mut(|table| {
            // A tick more: the clock stands still between two.
            let due = table.now.saturating_add(millis(after)).saturating_add(millis(TICK));
            let place = *self.place.get_or_insert_with(|| {
                table.free.pop().unwrap_or_else(|| {
                    table.entries.push(Entry::default());
                    table.entries.len() - 1
                })
            });
            if let Some(entry) = table.entries.get_mut(place) {
                entry.due = due;
                entry.stirred = stirred;
                entry.passed = false;
            }
        });
    }

    /// Does not pass any more.
    pub fn disarm(&mut self) {
        self.with(|entry| {
            entry.due = NEVER;
            entry.stirred = false;
            entry.passed = false;
        });
    }

    /// Whether it is set; one that has passed stays so until it is set anew or disarmed.
    pub fn armed(&self) -> bool {
        self.with(|entry| entry.due != NEVER || entry.passed).unwrap_or(false)
    }

    /// Ready once it has passed; until then the task is woken when it does.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let passed = self.with(|entry| {
            if entry.passed {
                return true;
            }
            match &mut entry.waker {
                Some(waker) if waker.will_wake(cx.waker()) => {}
                waker => *waker = Some(cx.waker().clone()),
            }
            false
        });
        if passed.unwrap_or(false) { Poll::Ready(()) } else { Poll::Pending }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let place = self.place?;
        TABLE.with_borrow_mut(|table| table.entries.get_mut(place).map(act))
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        // At the end of a thread its table may be gone already.
        let waker = TABLE.try_with(|table| {
            let mut table = table.try_borrow_mut().ok()?;
            table.free.push(place);
            let entry = table.entries.get_mut(place)?;
            entry.due = NEVER;
            entry.stirred = false;
            entry.passed = false;
            entry.waker.take()
        });
        drop(waker);
    }
}

/// A wait for progress: it begins with the first moment that brings none, and ends with the next
/// that does.
#[derive(Debug)]
pub struct Patience {
    limit: Option<Duration>,
    deadline: Deadline,
    waiting: bool,
    /// Milliseconds on the worker's clock.
    since: u64,
}

/// Who waits is woken this often, to look whether there is still something to wait for.
const LOOK: Duration = Duration::from_secs(5);

impl Patience {
    /// Nothing is waited for yet.
    pub const fn new(limit: Option<Duration>) -> Self {
        Self { limit, deadline: Deadline::new(), waiting: false, since: 0 }
    }

    /// Something moved. True when that was waited for.
    pub fn moved(&mut self) -> bool {
        let waited = std::mem::take(&mut self.waiting);
        if waited {
            self.deadline.disarm();
        }
        waited
    }

    /// How long nothing has moved that is waited for.
    pub fn waited(&self) -> Option<Duration> {
        self.waiting.then(|| Duration::from_millis(now().saturating_sub(self.since)))
    }

    /// Whether it has waited for longer than there is memory for.
    pub fn is_pressed(&self) -> bool {
        let patience = pressure::level().patience();
        patience.is_some_and(|patience| self.waited().is_some_and(|waited| waited >= patience))
    }

    /// Nothing moves: ready when that has lasted too long.
    pub fn poll_lost(&mut self, cx: &Context<'_>) -> Poll<()> {
        if !self.waiting {
            self.waiting = true;
            self.since = now();
            self.deadline.arm(Some(self.limit.map_or(LOOK, |limit| limit.min(LOOK))));
        }
        while self.deadline.poll(cx).is_ready() {
            let waited = Duration::from_millis(now().saturating_sub(self.since));
            let left = self.limit.map(|limit| limit.saturating_sub(waited));
            if left == Some(Duration::ZERO) {
                return Poll::Ready(());
            }
            self.deadline.arm(Some(left.map_or(LOOK, |left| left.min(LOOK))));
        }
        Poll::Pending
    }
}

/// Runs a future under a deadline; `None` when it passed first.
pub fn within<F: Future>(limit: Option<Duration>, future: F) -> Within<F> {
    Within { future, limit, begun: false, deadline: Deadline::new() }
}

pin_project_lite::pin_project! {
    /// See [`within`]. Not an async function, which would hold the future twice.
    #[derive(Debug)]
    pub struct Within<F> {
        #[pin]
        future: F,
        limit: Option<Duration>,
        begun: bool,
        deadline: Deadline,
    }
}

impl<F: Future> Future for Within<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Some(output));
        }
        if !std::mem::replace(this.begun, true) {
            this.deadline.arm(*this.limit);
        }
        this.deadline.poll(cx).map(|()| None)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(NEVER / 4)
}

#[cfg(test)]
mod tests;
