//! How many requests had which method, status and reason: a small table with one writer.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use http::Method;

use super::{Counter, Counters};
use crate::telemetry::reason::Reason;
use crate::telemetry::word::words;

words! {
    /// A request method, folded to a known set.
    pub enum MethodWord {
        /// GET.
        Get = "GET",
        /// HEAD.
        Head = "HEAD",
        /// POST.
        Post = "POST",
        /// PUT.
        Put = "PUT",
        /// PATCH.
        Patch = "PATCH",
        /// DELETE.
        Delete = "DELETE",
        /// OPTIONS.
        Options = "OPTIONS",
        /// CONNECT.
        Connect = "CONNECT",
        /// TRACE.
        Trace = "TRACE",
        /// Any other.
        Other = "other",
    }
}

impl MethodWord {
    /// The word for a method.
    pub fn of(method: &Method) -> Self {
        match *method {
            Method::GET => Self::Get,
            Method::HEAD => Self::Head,
            Method::POST => Self::Post,
            Method::PUT => Self::Put,
            Method::PATCH => Self::Patch,
            Method::DELETE => Self::Delete,
            Method::OPTIONS => Self::Options,
            Method::CONNECT => Self::Connect,
            Method::TRACE => Self::Trace,
            _ => Self::Other,
        }
    }
}

/// What requests are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestKey {
    /// Folded method.
    pub method: MethodWord,
    /// A known status; `None` stands for any other.
    pub code: Option<u16>,
    /// Why it failed, or that it did not.
    pub reason: Reason,
}

impl RequestKey {
    /// Never 0, which is an empty slot.
    fn pack(self) -> u32 {
        let code = u32::from(self.code.unwrap_or(0));
        1 << 31 | u32::from(self.method as u8) << 24 | u32::from(self.reason as u8) << 16 | code
    }

    fn unpack(key: u32) -> Option<Self> {
        let [code_low, code_high, reason, method] = key.to_le_bytes();
        let code = u16::from_le_bytes([code_low, code_high]);
        Some(Self {
            method: *MethodWord::ALL.get(usize::from(method & 0x7f))?,
            code: (code != 0).then_some(code),
            reason: *Reason::ALL.get(usize::from(reason))?,
        })
    }
}

/// Whether a status may be a label: those that are registered, and 499, which is our own word for
/// a client that went away. A backend cannot make series by sending what it likes.
fn known(code: u16) -> bool {
    code == 499
        || http::StatusCode::from_u16(code).is_ok_and(|code| code.canonical_reason().is_some())
}

/// Most routes see a handful of combinations: these need no further memory.
const FEW: usize = 8;
/// Room for the rest, a power of two.
const MANY: usize = 256;
/// From here on the statuses of new combinations are folded to `other`.
const FOLD_FROM: u64 = 192;

#[derive(Debug, Default)]
struct Slot {
    key: AtomicU32,
    count: Counter,
}

#[derive(Debug)]
struct Many {
    slots: [Slot; MANY],
    used: Counter,
    /// What no slot is left for: any method, any status.
    rest: Counters<{ Reason::COUNT }>,
}

impl Default for Many {
    fn default() -> Self {
        let slots = std::array::from_fn(|_| Slot::default());
        Self { slots, used: Counter::default(), rest: Counters::default() }
    }
}

/// One worker's counts of one route.
#[derive(Debug, Default)]
pub(super) struct Requests {
    few: [Slot; FEW],
    many: OnceLock<Box<Many>>,
}

impl Requests {
    pub(super) fn record(&self, method: MethodWord, code: u16, reason: Reason) {
        let key = RequestKey { method, code: Some(code), reason };
        let packed = key.pack();
        for slot in &self.few {
            let present = slot.key.load(Ordering::Relaxed);
            if present == packed {
                return slot.count.add(1);
            }
            if present == 0 {
                break;
            }
        }
        self.record_rare(key);
    }

    /// The first time of a combination, or one that is not among the first few.
    #[cold]
    fn record_rare(&self, mut key: RequestKey) {
        key.code = key.code.filter(|code| known(*code));
        if count_in(self.few.iter(), key.pack(), true).is_some() {
            return;
        }
        let many = self.many.get_or_init(Box::default);
        if many.count(key, FOLD_FROM) {
            return;
        }
        key.code = None;
        if !many.count(key, MANY as u64) {
            many.rest.add(key.reason.index(), 1);
        }
    }

    /// Every combination seen so far; from any thread. One may come twice (add them up).
    pub(super) fn visit(&self, mut see: impl FnMut(RequestKey, u64)) {
        let many = self.many.get();
        let slots = many.map_or(&[][..], |many| &many.slots);
        for slot in self.few.iter().chain(slots) {
            let key = slot.key.load(Ordering::Acquire);
            if key != 0
                && let Some(key) = RequestKey::unpack(key)
            {
                see(key, slot.count.get());
            }
        }
        for reason in many.iter().flat_map(|_| Reason::ALL) {
            let count = many.map_or(0, |many| many.rest.get(reason.index()));
            if count > 0 {
                see(RequestKey { method: MethodWord::Other, code: None, reason }, count);
            }
        }
    }
}

impl Many {
    /// Counts unless the combination is new and `limit` slots are taken.
    fn count(&self, key: RequestKey, limit: u64) -> bool {
        let packed = key.pack();
        // Fibonacci hashing: the product's high bits depend on all bits of the key.
        let start = (packed.wrapping_mul(0x9e37_79b1) >> 24) as usize;
        let (before, after) = self.slots.split_at(start);
        match count_in(after.iter().chain(before), packed, self.used.get() < limit) {
            Some(added) => {
                self.used.add(u64::from(added));
                true
            }
            None => false,
        }
    }
}

/// Counts in the slot of `key`, or in the first empty one if it may be taken. Says whether a slot
/// was taken, or `None` where there was none to count in.
fn count_in<'a>(slots: impl Iterator<Item = &'a Slot>, key: u32, take: bool) -> Option<bool> {
    for slot in slots {
        let present = slot.key.load(Ordering::Relaxed);
        if present == key {
            slot.count.add(1);
            return Some(false);
        }
        if present == 0 {
            if take {
                slot.count.add(1);
                // Whoever sees the key sees the count.
                slot.key.store(key, Ordering::Release);
            }
            return take.then_some(true);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn counts(requests: &Requests) -> BTreeMap<RequestKey, u64> {
        let mut counts = BTreeMap::new();
        requests.visit(|key, count| *counts.entry(key).or_default() += count);
        counts
    }

    #[test]
    fn a_status_nobody_registered_is_other() {
        let requests = Requests::default();
        for code in [200, 299, 777, 499, 0] {
            requests.record(MethodWord::Get, code, Reason::None);
        }
        let codes: Vec<_> = counts(&requests).into_iter().map(|(k, n)| (k.code, n)).collect();
        assert_eq!(codes, [(None, 3), (Some(200), 1), (Some(499), 1)]);
    }

    #[test]
    fn a_flood_of_combinations_loses_no_request_and_stays_bounded() {
        let requests = Requests::default();
        let mut total = 0;
        for method in MethodWord::ALL {
            for code in 0..1000 {
                for reason in Reason::ALL {
                    requests.record(method, code, reason);
                    total += 1;
                }
            }
        }
        let counts = counts(&requests);
        assert_eq!(counts.values().sum::<u64>(), total);
        assert!(counts.len() <= FEW + MANY + Reason::COUNT);
    }

    #[test]
    fn methods_fold_to_the_known_set() {
        assert_eq!(MethodWord::of(&Method::PATCH), MethodWord::Patch);
        assert_eq!(MethodWord::of(&Method::from_bytes(b"PURGE").unwrap()), MethodWord::Other);
        assert_eq!(MethodWord::of(&Method::from_bytes(b"get").unwrap()), MethodWord::Other);
    }

    proptest! {
        #[test]
        fn a_key_survives_packing(method in 0..MethodWord::COUNT, reason in 0..Reason::COUNT,
            code in proptest::option::of(100_u16..1000)) {
            let (method, reason) = (MethodWord::ALL[method], Reason::ALL[reason]);
            let key = RequestKey { method, code, reason };
            prop_assert_eq!(RequestKey::unpack(key.pack()), Some(key));
        }

        #[test]
        fn what_was_recorded_is_what_is_seen(
            seen in proptest::collection::vec((0..4_usize, 0..8_usize, 0..3_usize), 0..200),
        ) {
            const CODES: [u16; 8] = [200, 204, 301, 304, 404, 429, 500, 503];
            let requests = Requests::default();
            let mut expected = BTreeMap::new();
            for (method, code, reason) in seen {
                let (method, reason) = (MethodWord::ALL[method], Reason::ALL[reason]);
                requests.record(method, CODES[code], reason);
                let key = RequestKey { method, code: Some(CODES[code]), reason };
                *expected.entry(key).or_insert(0_u64) += 1;
            }
            prop_assert_eq!(counts(&requests), expected);
        }
    }
}
