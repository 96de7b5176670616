//! One origin server of a pool: who it is, where it is, and what it may be given.

pub mod budget;
pub mod concurrency;
pub mod drain;
pub mod latency;
pub mod outlier;
pub mod own_word;
pub mod queue;
pub mod quorum;
pub mod slow_start;
pub mod state;
pub mod tier;

use std::sync::Arc;

use crate::config::model::{self, Address, AdminState, Found, Leaving};
pub use budget::Budget;
pub use drain::{DrainTerms, TunnelOrder};
pub use latency::Latency;
pub use own_word::OwnWord;
pub use queue::{Queue, Ticket};
pub use slow_start::Ramp;
pub use state::{BackendState, CheckReport, InFlight, Tunnel, Verdict};

/// Seed of every name hash that leaves the process inside a token. It must never change: a token
/// sealed by one version, node or configuration finds its backend by this hash in every other.
const NAME_SEED: u64 = 0x6f73_746c_6572_0001;

/// The fixed 64-bit hash by which a token names a backend's id or a pool.
pub fn name_hash(name: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(name.as_bytes(), NAME_SEED)
}

/// One generation's view of one backend.
#[derive(Debug, Clone)]
pub struct Backend {
    /// Configured name of its pool.
    pub pool: Arc<str>,
    /// Stable id within the pool.
    pub id: Arc<str>,
    /// `name_hash` of the id.
    pub name: u64,
    /// As configured.
    pub address: Address,
    /// Share of new sessions and requests, as the file has it.
    pub weight: u32,
    /// As the file has it.
    pub state_in_file: AdminState,
    /// Whether active checks decide about it.
    pub checked: bool,
    /// Requests at once over all workers; 0: no limit.
    pub max_requests: u32,
    /// Present: what is in flight is limited by how long it takes to answer, too.
    pub concurrency: Option<model::Concurrency>,
    /// It serves new visitors while no backend of a lower tier is usable.
    pub tier: u8,
    /// It has left the file and is there for who is bound to it, and for nobody new.
    pub ghost: bool,
    /// Present: it stands in no file, DNS has said so.
    pub found: Option<Found>,
    /// What changes about it, kept across generations.
    pub state: Arc<BackendState>,
}

/// What a backend may be given now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Anyone.
    Open,
    /// Only those bound to it: draining, or weight 0.
    BoundOnly,
    /// Nobody, by an operator's word.
    Maint,
    /// Nobody: its checks failed, or its name does not resolve.
    Down,
    /// Nobody yet: no check has passed.
    Unchecked,
    /// Nobody: a ghost that has ended.
    Gone,
}

impl Backend {
    /// The mark where there is one, else the backend's own word, else the file's.
    pub fn admin_state(&self) -> AdminState {
        self.state.marked_state().unwrap_or_else(|| self.unmarked_state())
    }

    /// The state without any mark.
    pub fn unmarked_state(&self) -> AdminState {
        self.own_word().state(self.state_in_file)
    }

    /// The mark where there is one, else the file's number, or what the backend wants of it,
    /// rounded up.
    pub fn effective_weight(&self) -> u32 {
        self.state.marked_weight().unwrap_or_else(|| self.unmarked_weight())
    }

    /// The weight without any mark.
    pub fn unmarked_weight(&self) -> u32 {
        self.weight.saturating_mul(self.own_word().percent()).div_ceil(100)
    }

    /// The weight in hundredths, for who shares out: half of weight 1 is something here.
    pub fn hundredths(&self) -> u32 {
        match self.state.marked_weight() {
            Some(weight) => weight.saturating_mul(100),
            None => self.weight.saturating_mul(self.own_word().percent()),
        }
    }

    /// What it says about itself on the answers to its checks.
    pub fn own_word(&self) -> OwnWord {
        if self.checked { self.state.own_word.get() } else { OwnWord::default() }
    }

    /// What it may be given now.
    pub fn standing(&self) -> Standing {
        if self.ghost && self.state.ended() {
            return Standing::Gone;
        }
        let admin = self.admin_state();
        if admin == AdminState::Maint {
            return Standing::Maint;
        }
        if !self.state.resolved() {
            return Standing::Down;
        }
        if self.checked {
            match self.state.verdict() {
                Verdict::Up => {}
                Verdict::Down => return Standing::Down,
                Verdict::Unchecked => return Standing::Unchecked,
            }
        }
        // Who goes takes nobody new, whatever mark it has kept from before.
        if self.departs() || admin == AdminState::Drain || self.effective_weight() == 0 {
            return Standing::BoundOnly;
        }
        Standing::Open
    }

    /// Requests at once over all workers, now; 0: no limit. An adaptive limit leaves tunnels out,
    /// for they say nothing about how much there is to do.
    pub fn most_requests(&self) -> u32 {
        let Some(bounds) = self.concurrency else { return self.max_requests };
        let limit = self.state.concurrency.limit().unwrap_or(bounds.min);
        let limit = limit.saturating_add(self.state.tunnels());
        if self.max_requests == 0 { limit } else { limit.min(self.max_requests) }
    }

    /// The limit that follows its response times, where it has one.
    pub fn adaptive_limit(&self) -> Option<u32> {
        self.concurrency.and_then(|_| self.state.concurrency.limit())
    }

    /// Whether one more request may begin now, by its limit.
    pub fn has_room(&self, called: bool) -> bool {
        self.state.has_room(self.most_requests(), called)
    }

    /// Whether it finishes what is bound to it: by the file, a mark, its own word,
    /// or because it goes.
    pub fn is_draining(&self) -> bool {
        self.departs() || self.admin_state() == AdminState::Drain
    }

    /// Whether it is there for the bound alone: a ghost, or one that DNS tells no more.
    pub fn departs(&self) -> bool {
        self.ghost || self.leaving().is_some()
    }

    /// Present: DNS tells it no more.
    pub fn leaving(&self) -> Option<Leaving> {
        self.found.as_ref().and_then(|found| found.leaving)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::AddressHost;

    fn backend(weight: u32, word: &str) -> Backend {
        let state = Arc::new(BackendState::default());
        state.set_addresses(vec![([127, 0, 0, 1], 80).into()]);
        state.set_verdict(Verdict::Up);
        state.own_word.set(OwnWord::parse(word).unwrap());
        Backend {
            pool: "shop".into(),
            id: "a".into(),
            name: 1,
            address: Address { host: AddressHost::Ip([127, 0, 0, 1].into()), port: 80 },
            weight,
            state_in_file: AdminState::Up,
            checked: true,
            max_requests: 0,
            concurrency: None,
            tier: 0,
            ghost: false,
            found: None,
            state,
        }
    }

    #[test]
    fn who_leaves_the_answer_takes_nobody_new_whatever_its_mark() {
        let found = |leaving| Some(Found { name: "n:80".into(), host: "n".into(), leaving });
        let there = Backend { found: found(None), ..backend(1, "ready") };
        assert_eq!((there.standing(), there.is_draining()), (Standing::Open, false));
        let leaving = Leaving { since: 1, until: None };
        let gone = Backend { found: found(Some(leaving)), ..there };
        gone.state.set_mark(Some(AdminState::Up), None);
        assert_eq!((gone.standing(), gone.is_draining()), (Standing::BoundOnly, true));
    }

    #[test]
    fn a_mark_wins_over_the_own_word_and_that_over_the_file() {
        let backend = Backend { state_in_file: AdminState::Drain, ..backend(1, "ready") };
        assert_eq!(backend.standing(), Standing::Open);
        backend.state.own_word.set(OwnWord::parse("drain").unwrap());
        assert_eq!((backend.standing(), backend.is_draining()), (Standing::BoundOnly, true));
        backend.state.set_mark(Some(AdminState::Up), None);
        assert_eq!(backend.standing(), Standing::Open);
        backend.state.set_mark(None, None);
        let unchecked = Backend { checked: false, state_in_file: AdminState::Up, ..backend };
        assert_eq!(unchecked.standing(), Standing::Open, "who is not checked says nothing");
    }

    #[test]
    fn a_backend_may_want_a_part_of_its_weight_and_zero_is_nobody_new() {
        let weights = |backend: &Backend| (backend.effective_weight(), backend.hundredths());
        assert_eq!(weights(&backend(1, "weight=50%")), (1, 50));
        assert_eq!(weights(&backend(10, "weight=25%")), (3, 250));
        assert_eq!(weights(&backend(0, "weight=25%")), (0, 0));
        let none = backend(10, "weight=0%");
        assert_eq!((weights(&none), none.standing()), ((0, 0), Standing::BoundOnly));
        none.state.set_mark(None, Some(4));
        assert_eq!((weights(&none), none.standing()), ((4, 400), Standing::Open));
    }

    #[test]
    fn of_two_limits_the_smaller_wins_and_tunnels_have_no_part_in_the_adaptive_one() {
        let none = backend(1, "ready");
        assert_eq!(none.most_requests(), 0);
        let bounds = Some(model::Concurrency { min: 2, max: 9 });
        let adaptive = Backend { concurrency: bounds, ..none };
        assert_eq!(adaptive.most_requests(), 2, "until it is known");
        let tunnel = adaptive.state.begin(2).unwrap().into_tunnel();
        assert_eq!(adaptive.most_requests(), 3);
        let both = Backend { max_requests: 1, ..adaptive };
        assert_eq!(both.most_requests(), 1);
        assert!(!both.has_room(false));
        drop(tunnel);
        assert!(both.has_room(false));
    }

    #[test]
    fn the_name_hash_is_the_same_in_every_version() {
        // Tokens in browsers depend on these two figures.
        assert_eq!(name_hash("a"), xxhash_rust::xxh3::xxh3_64_with_seed(b"a", NAME_SEED));
        assert_ne!(name_hash("a"), name_hash("b"));
    }
}
