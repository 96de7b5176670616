//! What a backend says about itself on the answer to a check: `X-Ostler-State`.

use std::fmt;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::config::model::AdminState;

/// A backend's own word. It holds below an operator's mark and above the file, for as long as the
/// answers to its checks say it. The empty one leaves everything to the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnWord {
    state: Option<OwnState>,
    /// Percent of its weight, 0 to 100.
    percent: Option<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OwnState {
    Ready,
    Drain,
}

impl OwnWord {
    /// Reads the value of the field: `drain`, `ready`, `weight=N%` with N from 0 to 100, or one of
    /// the first two and the third with a comma between them. In any case of letters. `None`:
    /// anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut said = Self::default();
        for word in text.split(',').map(str::trim) {
            let before = if let Some(percent) = percent(word) {
                said.percent.replace(percent).is_some()
            } else if word.eq_ignore_ascii_case("drain") {
                said.state.replace(OwnState::Drain).is_some()
            } else if word.eq_ignore_ascii_case("ready") {
                said.state.replace(OwnState::Ready).is_some()
            } else {
                return None;
            };
            if before {
                return None;
            }
        }
        Some(said)
    }

    /// Whether it says nothing.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// The state where the file says this one. Maintenance is nothing that a backend may end by
    /// itself: who wrote it down does not want it to serve.
    pub fn state(self, in_file: AdminState) -> AdminState {
        match (in_file, self.state) {
            (AdminState::Maint, _) => AdminState::Maint,
            (_, Some(OwnState::Drain)) => AdminState::Drain,
            (_, Some(OwnState::Ready)) => AdminState::Up,
            (in_file, None) => in_file,
        }
    }

    /// Percent of its weight that it wants.
    pub fn percent(self) -> u32 {
        self.percent.unwrap_or(100).into()
    }

    /// Whether it leaves the door open to visitors who are not bound to it yet.
    pub fn takes_new(self) -> bool {
        self.state != Some(OwnState::Drain) && self.percent != Some(0)
    }

    fn code(self) -> u16 {
        let state = match self.state {
            None => 0,
            Some(OwnState::Ready) => 1,
            Some(OwnState::Drain) => 2,
        };
        u16::from_be_bytes([state, self.percent.unwrap_or(NO_PERCENT)])
    }

    fn decode(code: u16) -> Self {
        let [state, percent] = code.to_be_bytes();
        let state = match state {
            1 => Some(OwnState::Ready),
            2 => Some(OwnState::Drain),
            _ => None,
        };
        Self { state, percent: (percent != NO_PERCENT).then_some(percent) }
    }
}

/// As the field has it.
impl fmt::Display for OwnWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.map(|state| match state {
            OwnState::Ready => "ready",
            OwnState::Drain => "drain",
        });
        match (state, self.percent) {
            (Some(state), Some(percent)) => write!(f, "{state}, weight={percent}%"),
            (Some(state), None) => f.write_str(state),
            (None, Some(percent)) => write!(f, "weight={percent}%"),
            (None, None) => Ok(()),
        }
    }
}

fn percent(word: &str) -> Option<u8> {
    let (name, value) = word.split_once('=')?;
    let digits = value.trim().strip_suffix('%')?;
    if !name.trim().eq_ignore_ascii_case("weight") || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|percent| *percent <= 100)
}

const NO_PERCENT: u8 = u8::MAX;

/// A backend's own word for all threads to read; the control thread writes it.
#[derive(Debug)]
pub struct AtomicOwnWord(AtomicU16);

impl Default for AtomicOwnWord {
    fn default() -> Self {
        Self(AtomicU16::new(OwnWord::default().code()))
    }
}

impl AtomicOwnWord {
    /// What holds now.
    pub fn get(&self) -> OwnWord {
        OwnWord::decode(self.0.load(Ordering::Relaxed))
    }

    /// Sets what holds and returns what held before.
    pub fn set(&self, word: OwnWord) -> OwnWord {
        OwnWord::decode(self.0.swap(word.code(), Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> String {
        OwnWord::parse(text).map_or_else(|| "nothing".to_owned(), |word| word.to_string())
    }

    #[test]
    fn words_are_read_in_any_case_and_with_space_around_them() {
        assert_eq!(read("drain"), "drain");
        assert_eq!(read(" READY "), "ready");
        assert_eq!(read("weight=50%"), "weight=50%");
        assert_eq!(read("Weight = 0%"), "weight=0%");
        assert_eq!(read("weight=100%,drain"), "drain, weight=100%");
    }

    #[test]
    fn what_is_not_understood_is_no_word_at_all() {
        for text in [
            "",
            "up",
            "maint",
            "drain;",
            "drain ready",
            "drain,ready",
            "drain,",
            "weight",
            "weight=",
            "weight=50",
            "weight=%",
            "weight=101%",
            "weight=-1%",
            "weight=+1%",
            "weight=1.5%",
            "weight=1%,weight=1%",
            "weight=256%",
            "share=5%",
        ] {
            assert_eq!(read(text), "nothing", "{text:?}");
        }
    }

    #[test]
    fn a_backend_may_leave_and_return_but_not_end_its_maintenance() {
        use AdminState::{Drain, Maint, Up};
        let state = |word: &str, in_file| OwnWord::parse(word).unwrap().state(in_file);
        assert_eq!(
            [Up, Drain, Maint].map(|in_file| state("drain", in_file)),
            [Drain, Drain, Maint]
        );
        assert_eq!([Up, Drain, Maint].map(|in_file| state("ready", in_file)), [Up, Up, Maint]);
        let weight = [Up, Drain, Maint].map(|in_file| state("weight=5%", in_file));
        assert_eq!(weight, [Up, Drain, Maint]);
        assert_eq!(OwnWord::default().state(Drain), Drain);
    }

    proptest! {
        #[test]
        fn a_word_comes_out_of_the_atomic_and_of_its_text_as_it_went_in(
            state in prop_oneof![Just(None), Just(Some("drain")), Just(Some("ready"))],
            percent in proptest::option::of(0u8..=100),
        ) {
            let percent = percent.map(|percent| format!("weight={percent}%"));
            let said: Vec<&str> = state.into_iter().chain(percent.as_deref()).collect();
            prop_assume!(!said.is_empty());
            let word = OwnWord::parse(&said.join(", ")).unwrap();
            let kept = AtomicOwnWord::default();
            prop_assert!(kept.set(word).is_empty());
            prop_assert_eq!(kept.get(), word);
            prop_assert_eq!(word.to_string(), said.join(", "));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            if let Some(word) = OwnWord::parse(&text) {
                prop_assert!(!word.is_empty() && word.percent() <= 100);
            }
        }
    }
}
