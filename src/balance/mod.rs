//! How a pool picks a backend: one policy a file, over whatever can be counted and weighed.

mod cursor;
mod least_request;
mod logarithm;
mod maglev;
mod peak_ewma;
mod ramp;
mod random;
mod rendezvous;
mod round_robin;

pub use cursor::Cursor;
pub use maglev::Maglev;
pub use rendezvous::{rendezvous, rendezvous_bounded};

use crate::backend::slow_start::FULL;
use crate::config::model::PolicyKind;

/// What a policy chooses from: the backends of one pool by index, as they are at this moment.
pub trait Candidates {
    /// Number of candidates, eligible or not.
    fn len(&self) -> usize;
    /// Share of requests; at least 1 where the candidate is eligible, and the same on every node.
    fn weight(&self, index: usize) -> u32;
    /// Requests in flight over all workers.
    fn in_flight(&self, index: usize) -> u32;
    /// What counts as being in flight where loads are compared, in 1/65,536 of a request.
    fn load(&self, index: usize) -> u64 {
        u64::from(self.in_flight(index)) << 16
    }
    /// Whether it may be chosen: false for what is down, drained, of weight 0 or already tried.
    fn eligible(&self, index: usize) -> bool;
    /// How much of its weight it is to have now, in 1/256, from 1 to `FULL`: less where it has just
    /// come up. Hashes take no notice, or nodes would not agree.
    fn factor(&self, _index: usize) -> u32 {
        FULL
    }
    /// How well it has been doing beside the others, in 1/256 of its weight. Hashes take no notice.
    fn fitness(&self, _index: usize) -> u32 {
        FULL
    }
    /// How long it takes to answer, in nanoseconds from 1; none where nobody knows.
    fn latency(&self, _index: usize) -> Option<u64> {
        None
    }
    /// What a request is hashed by, in a pool that hashes; none where it does not have it.
    fn hashed(&self) -> Option<Hashed<'_>> {
        None
    }
    /// Whether there is none at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A request's key, and the pool's table that it is looked up in.
#[derive(Debug, Clone, Copy)]
pub struct Hashed<'a> {
    /// Made of the backends of the pool, in the order of their indexes.
    pub table: &'a Maglev,
    /// A hash of what the request has.
    pub key: u64,
}

/// How a pool picks a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Smooth weighted round-robin, a position a worker.
    RoundRobin,
    /// Fewest requests in flight for its weight, counted over all workers.
    LeastRequest,
    /// Weighted random.
    Random,
    /// Shortest time to answer, by a moving average and the requests in flight.
    PeakEwma,
    /// By a hash of something that the request has, within bounds of load; random without it.
    Hash,
}

impl From<PolicyKind> for Policy {
    fn from(kind: PolicyKind) -> Self {
        match kind {
            PolicyKind::RoundRobin => Self::RoundRobin,
            PolicyKind::LeastRequest => Self::LeastRequest,
            PolicyKind::Random => Self::Random,
            PolicyKind::PeakEwma => Self::PeakEwma,
            PolicyKind::Hash => Self::Hash,
        }
    }
}

impl Policy {
    /// The index of an eligible candidate; none only where no candidate is eligible.
    pub fn pick(self, candidates: &impl Candidates, cursor: &mut Cursor) -> Option<usize> {
        match self {
            Self::RoundRobin => round_robin::pick(candidates, cursor),
            Self::LeastRequest => least_request::pick(candidates, cursor),
            Self::Random => random::pick(candidates, cursor),
            Self::PeakEwma => peak_ewma::pick(candidates, cursor),
            Self::Hash => match candidates.hashed() {
                Some(Hashed { table, key }) => table.pick_bounded(key, candidates),
                None => random::pick(candidates, cursor),
            },
        }
    }

    /// Counts a pick that was not the policy's own: a bound visitor went home. Others are then
    /// given what this one has had already. Requests in flight count by themselves.
    pub fn count(self, candidates: &impl Candidates, cursor: &mut Cursor, picked: usize) {
        match self {
            Self::RoundRobin => round_robin::count(candidates, cursor, picked),
            Self::LeastRequest | Self::PeakEwma | Self::Random | Self::Hash => {}
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One candidate of a test.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Seat {
        pub(crate) weight: u32,
        pub(crate) in_flight: u32,
        pub(crate) eligible: bool,
        pub(crate) factor: u32,
        pub(crate) latency: Option<u64>,
    }

    /// A candidate with nothing to do.
    pub(crate) const IDLE: Seat =
        Seat { weight: 1, in_flight: 0, eligible: true, factor: FULL, latency: None };

    /// A test's candidates.
    #[derive(Debug, Clone)]
    pub(crate) struct Seats(pub(crate) Vec<Seat>);

    impl Candidates for Seats {
        fn len(&self) -> usize {
            self.0.len()
        }
        fn weight(&self, index: usize) -> u32 {
            self.0[index].weight
        }
        fn in_flight(&self, index: usize) -> u32 {
            self.0[index].in_flight
        }
        fn eligible(&self, index: usize) -> bool {
            self.0[index].eligible
        }
        fn factor(&self, index: usize) -> u32 {
            self.0[index].factor
        }
        fn latency(&self, index: usize) -> Option<u64> {
            self.0[index].latency
        }
    }

    /// Idle candidates of these weights; weight 0 is not eligible.
    pub(crate) fn seats(weights: &[u32]) -> Seats {
        let seat = |&weight: &u32| Seat { weight, eligible: weight > 0, ..IDLE };
        Seats(weights.iter().map(seat).collect())
    }

    /// How often each is picked in so many picks.
    pub(crate) fn shares(policy: Policy, seats: &Seats, picks: u32) -> Vec<u32> {
        let mut cursor = Cursor::new(7);
        let mut counts = vec![0; seats.0.len()];
        for _ in 0..picks {
            counts[policy.pick(seats, &mut cursor).unwrap()] += 1;
        }
        counts
    }

    /// Whether counts follow weights within five standard deviations and a systematic hundredth.
    pub(crate) fn follows(counts: &[u32], weights: &[u32]) -> bool {
        let picks = f64::from(counts.iter().sum::<u32>());
        let total = f64::from(weights.iter().sum::<u32>());
        counts.iter().zip(weights).all(|(count, weight)| {
            let share = f64::from(*weight) / total;
            let deviation = (picks * share * (1.0 - share)).sqrt();
            let off = (f64::from(*count) - picks * share).abs();
            off <= 5.0 * deviation + 0.01 * picks
        })
    }

    const POLICIES: [Policy; 5] =
        [Policy::RoundRobin, Policy::LeastRequest, Policy::Random, Policy::PeakEwma, Policy::Hash];

    fn seat() -> impl Strategy<Value = Seat> {
        let weight = prop_oneof![1u32..4, 1u32..2000, Just(65_535)];
        let factor = prop_oneof![Just(FULL), 26..FULL];
        let latency = proptest::option::of(1u64..1_000_000_000);
        (weight, 0u32..5, any::<bool>(), factor, latency).prop_map(
            |(weight, in_flight, eligible, factor, latency)| Seat {
                weight,
                in_flight,
                eligible,
                factor,
                latency,
            },
        )
    }

    proptest! {
        #[test]
        fn only_an_eligible_one_is_picked_and_always_one_of_them(
            rounds in proptest::collection::vec(proptest::collection::vec(seat(), 0..30), 1..8),
            seed: u64,
        ) {
            for policy in POLICIES {
                let mut cursor = Cursor::new(seed);
                for round in &rounds {
                    let seats = Seats(round.clone());
                    let any = round.iter().any(|seat| seat.eligible);
                    for _ in 0..5 {
                        let picked = policy.pick(&seats, &mut cursor);
                        prop_assert_eq!(picked.is_some(), any);
                        prop_assert!(picked.is_none_or(|index| round[index].eligible));
                    }
                }
            }
        }
    }
}
