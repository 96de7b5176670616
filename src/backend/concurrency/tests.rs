//! The limit under simulated time: a backend of so many slots that serves so many at once.

use proptest::prelude::*;

use super::*;

/// Between two looks, milliseconds.
const LOOK: u64 = 250;
const BOUNDS: Bounds = Bounds { min: 5, max: 1_000 };

struct World {
    slots: f64,
    /// What one request takes in a slot, milliseconds.
    work: f64,
    /// Attempts in a thousand that fail.
    failing: u32,
    gradient: Gradient,
    limit: f64,
    now: u64,
    random: u64,
    /// Requests that are not answered yet, of the last look.
    rest: f64,
    answered: u32,
}

impl World {
    fn new(slots: f64, work: f64) -> Self {
        Self {
            slots,
            work,
            failing: 0,
            gradient: Gradient::default(),
            limit: f64::from(BOUNDS.min),
            now: 0,
            random: 1,
            rest: 0.0,
            answered: 0,
        }
    }

    /// 0 to 999.
    fn random(&mut self) -> u32 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        u32::try_from((self.random >> 33) % 1_000).unwrap()
    }

    /// Goes on to the next look while so many want to be in flight.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a simulation")]
    fn look(&mut self, wanted: f64) {
        let in_flight = wanted.min(self.limit);
        let time = self.work * (in_flight / self.slots).max(1.0);
        self.rest += in_flight / time * 250.0;
        let samples = Samples::default();
        while self.rest >= 1.0 {
            self.rest -= 1.0;
            if self.random() < self.failing {
                samples.failed();
                continue;
            }
            self.answered += 1;
            // A fifth more or less than usual.
            let spread = 0.8 + 0.4 * f64::from(self.random()) / 1_000.0;
            samples.answered((time * spread * 1e6) as u64);
        }
        self.now += LOOK;
        let load = Load { in_flight: in_flight as u32, waiting: wanted > self.limit };
        let limit = self.gradient.step(&samples.take(), load, self.now, (BOUNDS, 0));
        assert!((BOUNDS.min..=BOUNDS.max).contains(&limit), "{limit}");
        self.limit = f64::from(limit);
    }

    /// So many seconds, and the mean of the limit in the last ten of them.
    fn run(&mut self, seconds: u32, wanted: f64) -> f64 {
        let mut sum = 0.0;
        for look in 0..seconds * 4 {
            self.look(wanted);
            if look >= seconds * 4 - 40 {
                sum += self.limit;
            }
        }
        sum / 40.0
    }
}

/// Where it should settle: little beyond the slots.
fn settled(limit: f64, slots: f64) -> bool {
    (slots * 0.9..=slots * 1.6 + 12.0).contains(&limit)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn it_settles_a_little_above_the_slots_and_keeps_them_busy(
        slots in 5u32..300,
        work in 1u32..300,
    ) {
        let (slots, work) = (f64::from(slots), f64::from(work));
        let mut world = World::new(slots, work);
        let limit = world.run(40, 5_000.0);
        prop_assert!(settled(limit, slots), "{} at {} slots", limit, slots);
        let before = world.answered;
        let limit = world.run(80, 5_000.0);
        prop_assert!(settled(limit, slots), "{} at {} slots, later", limit, slots);
        let could = slots / work * 80_000.0;
        let did = f64::from(world.answered - before);
        prop_assert!(did > could * 0.9, "{} of {}", did, could);
    }

    #[test]
    fn it_follows_a_backend_that_changes(
        slots in 10u32..200,
        part in 2u32..5,
        work in 5u32..100,
        longer in 2u32..6,
    ) {
        let (slots, work) = (f64::from(slots), f64::from(work));
        let mut world = World::new(slots, work);
        world.run(40, 5_000.0);
        world.slots = (slots / f64::from(part)).max(5.0);
        let limit = world.run(80, 5_000.0);
        prop_assert!(settled(limit, world.slots), "{} at {} slots", limit, world.slots);
        // The work itself takes longer: that is no queue, and nobody is to be held back for it.
        world.slots = slots;
        world.work = work * f64::from(longer);
        let limit = world.run(120, 5_000.0);
        prop_assert!(settled(limit, slots), "{} at {} slots, slower", limit, slots);
    }

    #[test]
    fn whatever_comes_it_stays_within_its_bounds(
        looks in proptest::collection::vec(
            (0u64..5_000, 0u32..2_000, any::<bool>(), 0u64..200, any::<u64>(), 0u32..50), 1..200,
        ),
    ) {
        let mut gradient = Gradient::default();
        let mut now = 0;
        for (after, in_flight, waiting, answers, nanos, failures) in looks {
            now += after;
            let samples = Samples::default();
            (0..answers).for_each(|_| samples.answered(nanos));
            (0..failures).for_each(|_| samples.failed());
            let load = Load { in_flight, waiting };
            let limit = gradient.step(&samples.take(), load, now, (BOUNDS, 0));
            prop_assert!((BOUNDS.min..=BOUNDS.max).contains(&limit), "{}", limit);
        }
    }
}

#[test]
fn who_does_not_feel_the_limit_says_nothing_about_it() {
    let mut world = World::new(100.0, 20.0);
    let limit = world.run(40, 5_000.0);
    // A few slow ones while there is little to do.
    world.work = 200.0;
    let later = world.run(25, 3.0);
    assert!((later - limit).abs() < limit / 2.0, "{limit} became {later}");
}

#[test]
fn failures_make_it_smaller_and_a_few_of_them_do_not_strangle_anybody() {
    let mut world = World::new(50.0, 20.0);
    world.run(40, 5_000.0);
    world.failing = 1_000;
    assert!(world.run(20, 5_000.0) < 6.0);
    world.failing = 20;
    let limit = world.run(60, 5_000.0);
    assert!(limit > 45.0, "{limit}");
}

#[test]
fn streams_that_do_not_end_hold_nobody_up() {
    let mut world = World::new(50.0, 20.0);
    world.run(40, 5_000.0);
    let mut gradient = world.gradient;
    let load = Load { in_flight: 60, waiting: true };
    let mut low = 0;
    for look in 1..=480 {
        let now = world.now + look * LOOK;
        let limit = gradient.step(&Seen::default(), load, now, (BOUNDS, 0));
        low += u32::from(f64::from(limit) < world.limit * 0.9);
    }
    // Two looks at a time, each half minute.
    assert!(low <= 12, "{low} of 480 looks");
}

#[test]
fn it_is_told_to_workers_and_lifted() {
    let concurrency = Concurrency::default();
    assert_eq!((concurrency.limit(), concurrency.lift()), (None, false));
    let load = Load { in_flight: 1, waiting: true };
    assert_eq!(concurrency.look(BOUNDS, load, 0, 0), (5, true));
    for look in 1..20 {
        (0..60).for_each(|_| concurrency.answered(1_000_000));
        concurrency.look(BOUNDS, load, look * LOOK, 0);
    }
    assert!(concurrency.limit().unwrap() > 20);
    assert!(concurrency.lift() && !concurrency.lift());
    assert_eq!(concurrency.limit(), Some(u32::MAX), "for who still reads the file before");
    assert_eq!(concurrency.look(BOUNDS, load, 9_000, 0), (5, true));
}
