//! What real traffic says about a backend: how attempts ended, and what follows from it.
// Workers record outcomes and eject at once, by one word a backend and one count a pool; the
// control thread looks once a second, decides how long, and weighs.

mod ejection;
mod quota;
mod rate;
mod tally;
#[cfg(test)]
mod tests;
mod weight;
mod word;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

pub use ejection::{Ejection, News, Order, Plan, Seen};
pub use quota::{Quota, most_ejected};
pub use rate::Cause;
pub use tally::{Counts, Meter, Tally};
pub use weight::{Estimate, FLOOR, WHOLE, Weights, targets};
pub use word::Phase;
use word::{PASSED_OVER, WATCHED, Word, has_place};

/// Attempts that must go well until a backend on trial has everything again.
const NEEDED: u8 = 5;
/// Attempts that a backend on trial is given each second.
const PLACES: u8 = 3;

/// How an attempt failed, as far as its backend is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// There was no connection: refused, not in time, or the TLS handshake failed.
    Connect,
    /// The connection broke off, or what came was no answer.
    Reset,
    /// The answer's head did not come in time.
    Timeout,
    /// The application answered 5xx.
    Status,
}

/// A set of kinds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kinds(u8);

impl Kinds {
    /// This set and one kind more.
    #[must_use]
    pub const fn with(self, kind: Kind) -> Self {
        Self(self.0 | kind.bit())
    }

    /// Whether it has this kind.
    pub const fn has(self, kind: Kind) -> bool {
        self.0 & kind.bit() != 0
    }
}

impl Kind {
    const fn bit(self) -> u8 {
        match self {
            Self::Connect => 1,
            Self::Reset => 2,
            Self::Timeout => 4,
            Self::Status => 8,
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There was an answer, of any status that is not held against the backend.
    Success {
        /// From the request's last byte to the answer's first; none where that is not known.
        nanos: Option<u64>,
    },
    /// The backend has failed.
    Failure(Kind),
}

/// When a pool ejects a backend, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// What counts as a failure.
    pub on: Kinds,
    /// Failures in a row that eject; at least 1.
    pub consecutive: u16,
    /// For how long the first time; the second time in a short while twice as long, and so on.
    pub base: Duration,
    /// Percent of the pool's usable backends that may be out at once. 0: none.
    pub max_ejected: u8,
}

/// Since when an attempt is under way: what began before a backend was ejected or came back says
/// nothing about it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry(u16);

/// What all workers share about one backend. Kept in its `BackendState`.
#[derive(Debug)]
pub struct Outcomes {
    word: AtomicU64,
    factor: AtomicU32,
}

impl Default for Outcomes {
    fn default() -> Self {
        Self { word: AtomicU64::new(0), factor: AtomicU32::new(WHOLE) }
    }
}

impl Outcomes {
    /// Whether it takes somebody new: not while it is ejected, and on trial only a few.
    #[inline]
    pub fn takes_new(&self) -> bool {
        let word = self.word.load(Ordering::Relaxed);
        word & PASSED_OVER == 0 || has_place(word)
    }

    /// An attempt begins; on trial it takes one of the places. Between `takes_new` and this lies
    /// no wait, so at most one attempt of each worker comes too many.
    #[inline]
    pub fn enter(&self) -> Entry {
        let word = self.word.load(Ordering::Relaxed);
        if word & PASSED_OVER != 0 {
            self.take_place();
        }
        Entry(Word::from(word).epoch)
    }

    /// An attempt has ended. `tally` is this worker's own. True where this very outcome has ejected
    /// the backend. Without terms outcomes are only counted.
    #[inline]
    pub fn record(
        &self,
        tally: &Tally,
        entry: Entry,
        outcome: Outcome,
        ejection: Option<(&Terms, &Quota)>,
    ) -> bool {
        match outcome {
            Outcome::Success { nanos } => {
                tally.success(nanos);
                // A healthy backend's word is only read, so its cache line stays with everybody.
                if self.word.load(Ordering::Relaxed) & WATCHED != 0 {
                    self.succeeded(entry, ejection);
                }
                false
            }
            Outcome::Failure(kind) => {
                tally.failure(kind);
                ejection.is_some_and(|(terms, quota)| self.failed(kind, entry, terms, quota))
            }
        }
    }

    /// Where it is in its course, and the number of the phase, which changes with it.
    pub fn phase(&self) -> (Phase, u16) {
        let word = self.word();
        (word.phase, word.epoch)
    }

    /// Whether it is ejected because there was no connection to it, and for nothing else.
    pub fn is_unreachable(&self) -> bool {
        let word = self.word();
        word.phase == Phase::Ejected && !word.reached
    }

    /// Failures in a row so far.
    pub fn consecutive(&self) -> u16 {
        self.word().consecutive
    }

    /// What its weight is multiplied by, in 1/256.
    #[inline]
    pub fn factor(&self) -> u32 {
        self.factor.load(Ordering::Relaxed)
    }

    /// Sets what its weight is multiplied by, in 1/256; control thread only.
    pub fn set_factor(&self, factor: u32) {
        // Who reads it has the old or the new one: a store of the same value would cost a miss.
        if self.factor() != factor {
            self.factor.store(factor, Ordering::Relaxed);
        }
    }

    /// Carries out what the control thread has decided. False where a worker was faster, or the
    /// quota is used up: the next look sees what is true.
    pub fn order(&self, order: Order, quota: &Quota) -> bool {
        let taken = matches!(order, Order::Eject(_)) && quota.take();
        let change = |word: Word| match (order, word.phase) {
            (Order::Eject(_), Phase::In) if taken => {
                Some(Word { reached: true, ..word.turn(Phase::Ejected) })
            }
            (Order::Try, Phase::Ejected) => {
                let word = word.turn(Phase::Trial);
                Some(Word { places: PLACES, needed: NEEDED, ..word })
            }
            (Order::Try, Phase::Trial) => Some(Word { places: PLACES, ..word }),
            (Order::Return, Phase::Ejected | Phase::Trial) | (Order::Include, Phase::Aside) => {
                Some(word.turn(Phase::In))
            }
            (Order::SetAside, Phase::In | Phase::Ejected | Phase::Trial) => {
                Some(word.turn(Phase::Aside))
            }
            _ => None,
        };
        let changed = self.change(change);
        match changed {
            None if taken => quota.give(),
            Some((from, to)) if from.is_out() && !to.is_out() => quota.give(),
            _ => {}
        }
        changed.is_some()
    }

    #[cold]
    fn take_place(&self) {
        self.change(|word| {
            let places = word.places.checked_sub(1)?;
            Some(Word { places, ..word })
        });
    }

    #[cold]
    fn succeeded(&self, entry: Entry, ejection: Option<(&Terms, &Quota)>) {
        let changed = self.change(|word| match word.phase {
            _ if word.epoch != entry.0 => None,
            Phase::In if word.consecutive > 0 => {
                Some(Word { consecutive: 0, reached: false, ..word })
            }
            Phase::Trial if word.needed > 1 => Some(Word { needed: word.needed - 1, ..word }),
            Phase::Trial => Some(word.turn(Phase::In)),
            _ => None,
        });
        if let (Some((Phase::Trial, Phase::In)), Some((_, quota))) = (changed, ejection) {
            quota.give();
        }
    }

    #[cold]
    fn failed(&self, kind: Kind, entry: Entry, terms: &Terms, quota: &Quota) -> bool {
        if !terms.on.has(kind) {
            // An answer is an answer: the backend was there.
            if kind == Kind::Status {
                self.succeeded(entry, Some((terms, quota)));
            }
            return false;
        }
        // Taken at most once, whatever the others do to the word meanwhile.
        let mut taken = false;
        let changed = self.change(|word| match word.phase {
            _ if word.epoch != entry.0 => None,
            Phase::In => {
                let consecutive = word.consecutive.saturating_add(1);
                let reached = word.reached || kind != Kind::Connect;
                if consecutive >= terms.consecutive {
                    taken = taken || quota.take();
                    if taken {
                        return Some(Word { reached, ..word.turn(Phase::Ejected) });
                    }
                }
                Some(Word { consecutive, reached, ..word })
            }
            Phase::Trial => {
                Some(Word { reached: kind != Kind::Connect, ..word.turn(Phase::Ejected) })
            }
            Phase::Ejected | Phase::Aside => None,
        });
        let ejected = changed.is_some_and(|(_, to)| to == Phase::Ejected);
        if taken && changed != Some((Phase::In, Phase::Ejected)) {
            quota.give();
        }
        ejected
    }

    fn word(&self) -> Word {
        Word::from(self.word.load(Ordering::Relaxed))
    }

    /// The phases before and after; none where nothing was changed.
    fn change(&self, mut change: impl FnMut(Word) -> Option<Word>) -> Option<(Phase, Phase)> {
        let mut to = Phase::In;
        let order = Ordering::Relaxed;
        let before = self.word.fetch_update(order, order, |word| {
            let word = change(Word::from(word))?;
            to = word.phase;
            Some(word.into())
        });
        before.ok().map(|before| (Word::from(before).phase, to))
    }
}
