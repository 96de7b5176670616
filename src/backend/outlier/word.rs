//! The course of a backend in one word, so that each step of it is one atomic change.

/// Where a backend is in its course.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It is given what is its share.
    In,
    /// Nobody new for a while.
    Ejected,
    /// A few attempts decide whether it comes back.
    Trial,
    /// It is out for other reasons (checks, marks, the file): outcomes decide nothing.
    Aside,
}

impl Phase {
    /// Whether it holds a place of those that may be ejected at once. One on trial does: it may
    /// be ejected again at any moment, and carries next to nothing.
    pub fn is_out(self) -> bool {
        matches!(self, Self::Ejected | Self::Trial)
    }

    const fn code(self) -> u8 {
        match self {
            Self::In => 0,
            Self::Ejected => EJECTED,
            Self::Trial => TRIAL,
            Self::Aside => 4,
        }
    }
}

const EJECTED: u8 = 1;
const TRIAL: u8 = 2;

/// The bits of a backend that is not simply given its share: ejected, or on trial.
pub(super) const PASSED_OVER: u64 = u64::from_le_bytes([0, 0, EJECTED | TRIAL, 0, 0, 0, 0, 0]);

/// The bits for which a success has something to write: failures in a row, and a trial.
pub(super) const WATCHED: u64 = u64::from_le_bytes([0xff, 0xff, TRIAL, 0, 0, 0, 0, 0]);

/// Whether it may be given one more attempt; only on trial are there places.
#[cold]
pub(super) fn has_place(word: u64) -> bool {
    Word::from(word).places > 0
}

/// The word, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word {
    /// Failures in a row.
    pub(super) consecutive: u16,
    pub(super) phase: Phase,
    /// Attempts that it may still be given until the next tick; on trial only.
    pub(super) places: u8,
    /// Attempts that must still go well; on trial only.
    pub(super) needed: u8,
    /// Among the failures in a row, or those that have ejected it, was one of a connection that
    /// there was.
    pub(super) reached: bool,
    /// Another one with each phase.
    pub(super) epoch: u16,
}

impl Word {
    /// The next phase, with nothing of the one before.
    pub(super) fn turn(self, phase: Phase) -> Self {
        let epoch = self.epoch.wrapping_add(1);
        Self { consecutive: 0, phase, places: 0, needed: 0, reached: false, epoch }
    }
}

impl From<u64> for Word {
    fn from(word: u64) -> Self {
        let [low, high, phase, places, needed, reached, first, last] = word.to_le_bytes();
        let phase = match phase {
            0 => Phase::In,
            EJECTED => Phase::Ejected,
            TRIAL => Phase::Trial,
            _ => Phase::Aside,
        };
        let consecutive = u16::from_le_bytes([low, high]);
        let epoch = u16::from_le_bytes([first, last]);
        Self { consecutive, phase, places, needed, reached: reached != 0, epoch }
    }
}

impl From<Word> for u64 {
    fn from(word: Word) -> Self {
        let [low, high] = word.consecutive.to_le_bytes();
        let [first, last] = word.epoch.to_le_bytes();
        let phase = word.phase.code();
        let reached = word.reached.into();
        Self::from_le_bytes([low, high, phase, word.places, word.needed, reached, first, last])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_word_survives_being_packed(
            consecutive: u16, phase in 0_usize..4, places: u8, needed: u8, reached: bool,
            epoch: u16,
        ) {
            let phase = [Phase::In, Phase::Ejected, Phase::Trial, Phase::Aside][phase];
            let word = Word { consecutive, phase, places, needed, reached, epoch };
            let packed = u64::from(word);
            prop_assert_eq!(Word::from(packed), word);
            let watched = consecutive > 0 || phase == Phase::Trial;
            prop_assert_eq!(packed & WATCHED != 0, watched);
            prop_assert_eq!(packed & PASSED_OVER != 0, phase.is_out());
        }
    }
}
