//! Any sequence of operations leaves what a hash map would.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Touch(u64, usize),
    Note(u64, usize),
    Forget(u64),
    Pass(u32),
    Sweep,
    Idle(u32),
    Full(usize, bool),
    Rename(usize),
    /// Many new sessions, so that the table grows.
    Many(u64, usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..60_u64, 0..4_usize).prop_map(|(key, seat)| Step::Touch(key, seat)),
        3 => (1..60_u64, 0..4_usize).prop_map(|(key, seat)| Step::Note(key, seat)),
        2 => (1..60_u64).prop_map(Step::Forget),
        3 => (0..80_u32).prop_map(Step::Pass),
        3 => Just(Step::Sweep),
        1 => prop_oneof![Just(100), Just(40), Just(250)].prop_map(Step::Idle),
        1 => (0..4_usize, any::<bool>()).prop_map(|(seat, on)| Step::Full(seat, on)),
        1 => (0..4_usize).prop_map(Step::Rename),
        1 => (0..9_u64, 0..4_usize).prop_map(|(start, seat)| Step::Many(start * 100, seat)),
    ]
}

/// What is known of a session.
#[derive(Debug, Clone, Copy)]
struct Known {
    seat: usize,
    returned: bool,
    last: u32,
}

struct Model {
    known: HashMap<u64, Known>,
    idle: u32,
}

impl Model {
    fn live(&self, key: u64, now: u32) -> Option<Known> {
        self.known.get(&key).copied().filter(|known| now - known.last <= self.idle)
    }

    fn count(&self, seat: usize, now: u32) -> usize {
        let live = |known: &&Known| now - known.last <= self.idle && known.returned;
        self.known.values().filter(live).filter(|known| known.seat == seat).count()
    }
}

proptest! {
    #[test]
    fn counts_are_those_of_a_hash_map(
        steps in proptest::collection::vec(step(), 1..120),
        learns: bool,
    ) {
        let purpose = if learns { Purpose::Learn { most: 100_000 } } else { Purpose::Count };
        let mut now = START;
        let sessions = Sessions::new(purpose, 100, now);
        let seats: Vec<_> = (0..4).map(|backend| sessions.seat(backend).unwrap()).collect();
        let mut model = Model { known: HashMap::new(), idle: 100 };
        let mut names = 4;
        for step in steps {
            match step {
                Step::Touch(key, seat) => {
                    let expected = match model.live(key, now).filter(|known| known.returned) {
                        None => Seen::New,
                        Some(known) if known.seat == seat => Seen::Again { last: known.last },
                        Some(Known { seat, last, .. }) => {
                            Seen::Moved { from: seats[seat].index(), last }
                        }
                    };
                    prop_assert_eq!(sessions.touch(key, &seats[seat], now), expected);
                    model.known.insert(key, Known { seat, returned: true, last: now });
                }
                Step::Note(key, seat) => {
                    prop_assert!(sessions.note(key, &seats[seat], now));
                    let live = model.live(key, now);
                    let returned = live.is_some_and(|it| it.seat == seat && it.returned);
                    model.known.insert(key, Known { seat, returned, last: now });
                }
                Step::Forget(key) => {
                    sessions.forget(key);
                    model.known.remove(&key);
                }
                Step::Pass(seconds) => now += seconds,
                Step::Sweep => sessions.sweep(now),
                Step::Idle(idle) => {
                    // What the shorter time has ended stays ended.
                    sessions.sweep(now);
                    let before = model.idle;
                    model.known.retain(|_, known| now - known.last <= before.min(idle));
                    model.idle = idle;
                    sessions.set_idle(idle, now);
                }
                Step::Full(seat, on) => seats[seat].track_in_full(on),
                Step::Rename(seat) => {
                    names += 1;
                    prop_assert!(sessions.rename(seats[seat].backend(), names));
                }
                Step::Many(start, seat) => {
                    for key in start + 1..=start + 300 {
                        sessions.touch(key, &seats[seat], now);
                        model.known.insert(key, Known { seat, returned: true, last: now });
                    }
                }
            }
            for key in 1..60 {
                let expected = model.live(key, now).map(|known| Found {
                    seat: seats[known.seat].index(),
                    last_seen: known.last,
                    returned: known.returned,
                });
                prop_assert_eq!(sessions.find(key, now), expected);
            }
        }
        sessions.sweep(now);
        prop_assert!(is_consistent(&sessions));
        let mut total = 0;
        for (index, seat) in seats.iter().enumerate() {
            let expected = model.count(index, now);
            total += expected as u64;
            let tally = Tally { sessions: expected as u64, exact: true };
            prop_assert_eq!(sessions.tally(seat, now), tally);
        }
        prop_assert_eq!(sessions.total(now), Tally { sessions: total, exact: true });
    }
}
