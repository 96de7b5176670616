//! Out, on trial, and back.

use std::sync::atomic::AtomicU32;

use proptest::prelude::*;

use super::*;

fn ejected(cause: Cause, seconds: u64) -> News {
    News::Ejected { cause, time: Duration::from_secs(seconds) }
}

#[test]
fn the_fifth_failure_in_a_row_ejects_at_once() {
    let world = World::new(4, TERMS);
    world.attempts(0, &[BROKEN, BROKEN, BROKEN, BROKEN, FINE, BROKEN, BROKEN, BROKEN, BROKEN]);
    assert!(world.backends[0].outcomes.takes_new());
    assert_eq!(world.backends[0].outcomes.consecutive(), 4);
    assert!(world.attempt(0, BROKEN));
    assert!(!world.backends[0].outcomes.takes_new());
    // Those who are bound go on there; what becomes of it changes nothing.
    assert!(!world.attempt(0, BROKEN));
    world.attempts(0, &[FINE; 9]);
    assert_eq!((world.phase(0), world.quota.held()), (Phase::Ejected, 1));
}

#[test]
fn an_applications_own_5xx_ejects_nobody_unless_asked_for() {
    const STATUS: Outcome = Outcome::Failure(Kind::Status);
    let world = World::new(4, TERMS);
    world.attempts(0, &[STATUS; 99]);
    assert_eq!(world.phase(0), Phase::In);
    // It is an answer, and ends a row of failures.
    world.attempts(0, &[BROKEN, BROKEN, BROKEN, BROKEN, STATUS, BROKEN]);
    assert_eq!(world.phase(0), Phase::In);
    let world = World::new(4, Terms { on: TERMS.on.with(Kind::Status), ..TERMS });
    world.attempts(0, &[STATUS; 5]);
    assert_eq!(world.phase(0), Phase::Ejected);
}

#[test]
fn a_failure_that_is_not_asked_for_neither_counts_nor_ends_a_row() {
    let world = World::new(4, Terms { on: Kinds::default().with(Kind::Reset), ..TERMS });
    world.attempts(0, &[Outcome::Failure(Kind::Timeout); 99]);
    assert_eq!(world.backends[0].outcomes.consecutive(), 0);
    world.attempts(0, &[BROKEN; 4]);
    world.attempt(0, Outcome::Failure(Kind::Timeout));
    assert!(world.attempt(0, BROKEN));
}

#[test]
fn on_trial_a_few_are_let_in_and_five_successes_bring_it_back() {
    let mut world = World::new(4, TERMS);
    world.attempts(1, &[BROKEN; 5]);
    assert_eq!(world.wait(1), (1, ejected(Cause::Consecutive, 10)));
    assert_eq!(world.wait(1), (10, News::Tried));
    for _ in 0..PLACES {
        assert!(world.backends[1].outcomes.takes_new());
        world.attempt(1, FINE);
    }
    assert!(!world.backends[1].outcomes.takes_new());
    world.tick();
    assert!(world.backends[1].outcomes.takes_new());
    world.attempts(1, &[FINE; 2]);
    assert_eq!((world.phase(1), world.quota.held()), (Phase::In, 0));
    assert_eq!(world.tick()[1], Some(News::Returned));
}

#[test]
fn each_ejection_is_longer_and_none_is_longer_than_five_minutes() {
    let mut world = World::new(4, TERMS);
    world.attempts(1, &[BROKEN; 5]);
    let mut times = vec![world.wait(1).1];
    for _ in 0..40 {
        assert_eq!(world.wait(1).1, News::Tried);
        assert!(world.attempt(1, BROKEN));
        times.push(world.wait(1).1);
    }
    assert_eq!(
        times[..3],
        [ejected(Cause::Consecutive, 10), ejected(Cause::Trial, 20), ejected(Cause::Trial, 30),]
    );
    assert_eq!(
        times[28..32],
        [
            ejected(Cause::Trial, 290),
            ejected(Cause::Trial, 300),
            ejected(Cause::Trial, 300),
            ejected(Cause::Trial, 300)
        ]
    );
}

#[test]
fn an_interval_without_an_ejection_forgives_one() {
    let mut world = World::new(4, TERMS);
    world.attempts(1, &[BROKEN; 5]);
    for _ in 0..3 {
        world.wait(1);
        assert_eq!(world.wait(1).1, News::Tried);
        world.attempt(1, BROKEN);
    }
    assert_eq!(world.wait(1).1, ejected(Cause::Trial, 40));
    world.wait(1);
    world.attempts(1, &[FINE; 5]);
    // The interval in which it came back is not one without: two whole ones lie within 29.
    for _ in 0..29 {
        world.tick();
    }
    world.attempts(1, &[BROKEN; 5]);
    let (_, News::Ejected { time, .. }) = world.wait(1) else { panic!("not ejected") };
    assert_eq!(time, Duration::from_secs(30));
}

#[test]
fn what_began_before_it_came_back_says_nothing_about_it_now() {
    let mut world = World::new(4, TERMS);
    let late: Vec<_> = (0..9).map(|_| world.backends[1].outcomes.enter()).collect();
    world.attempts(1, &[BROKEN; 5]);
    let bound = world.backends[1].outcomes.enter();
    world.wait(1);
    world.wait(1);
    assert!(!world.ended(1, bound, BROKEN));
    assert_eq!(world.phase(1), Phase::Trial);
    world.attempts(1, &[FINE; 5]);
    for entry in late {
        world.ended(1, entry, BROKEN);
    }
    assert_eq!((world.phase(1), world.backends[1].outcomes.consecutive()), (Phase::In, 0));
}

#[test]
fn a_pool_of_one_keeps_it_and_a_pool_of_two_keeps_one() {
    let world = World::new(1, TERMS);
    world.attempts(0, &[BROKEN; 99]);
    assert_eq!(world.phase(0), Phase::In);
    let world = World::new(2, TERMS);
    world.attempts(0, &[BROKEN; 9]);
    world.attempts(1, &[BROKEN; 9]);
    assert_eq!((world.phase(0), world.phase(1)), (Phase::Ejected, Phase::In));
}

#[test]
fn who_is_ejected_comes_back_when_the_checks_take_the_others() {
    let mut world = World::new(4, TERMS);
    world.attempts(0, &[BROKEN; 5]);
    world.tick();
    world.attempts(1, &[BROKEN; 5]);
    world.tick();
    world.backends[2].down = true;
    world.backends[3].down = true;
    world.tick();
    // Of two one may be out: the one who went first is back.
    assert_eq!((world.phase(0), world.phase(1)), (Phase::In, Phase::Ejected));
    assert_eq!(world.quota.held(), 1);
    world.backends[0].down = true;
    world.tick();
    assert_eq!((world.phase(1), world.quota.held()), (Phase::In, 0));
}

#[test]
fn who_is_out_for_other_reasons_holds_no_place_and_begins_anew() {
    let mut world = World::new(2, TERMS);
    world.attempts(0, &[BROKEN; 5]);
    world.backends[0].down = true;
    world.tick();
    assert_eq!((world.phase(0), world.quota.held()), (Phase::Aside, 0));
    world.attempts(0, &[BROKEN; 99]);
    assert_eq!(world.phase(0), Phase::Aside);
    world.backends[0].down = false;
    world.tick();
    assert_eq!((world.phase(0), world.backends[0].outcomes.factor()), (Phase::In, WHOLE));
}

#[test]
fn who_refused_connections_is_back_when_a_check_has_found_it() {
    const REFUSED: Outcome = Outcome::Failure(Kind::Connect);
    for (last, back) in [(REFUSED, true), (BROKEN, false)] {
        let mut world = World::new(4, TERMS);
        world.backends[0].passed = Some(0);
        world.attempts(0, &[REFUSED, REFUSED, last, REFUSED, REFUSED]);
        world.tick();
        let seen = world.seconds;
        world.tick();
        assert_eq!(world.phase(0), Phase::Ejected, "that check was before it was ejected");
        world.backends[0].passed = Some(seen + 1);
        world.tick();
        let phase = if back { Phase::In } else { Phase::Ejected };
        assert_eq!((world.phase(0), world.quota.held()), (phase, u32::from(!back)), "{last:?}");
    }
    // A success in between, and what came before it is forgotten.
    let world = World::new(4, TERMS);
    world.attempts(0, &[BROKEN, FINE, REFUSED, REFUSED, REFUSED, REFUSED, REFUSED]);
    assert!(world.backends[0].outcomes.is_unreachable());
}

#[test]
fn the_place_of_a_backend_that_left_the_pool_is_found() {
    let mut world = World::new(4, TERMS);
    world.attempts(0, &[BROKEN; 5]);
    world.tick();
    world.backends.remove(0);
    world.tick();
    assert_eq!(world.quota.held(), 1);
    world.tick();
    assert_eq!(world.quota.held(), 0);
}

#[test]
fn without_terms_outcomes_are_counted_and_who_was_out_comes_back() {
    let mut world = World::new(4, TERMS);
    world.attempts(0, &[BROKEN; 5]);
    let Backend { outcomes, tally, .. } = &world.backends[0];
    let (phase, counts) = (outcomes.phase(), tally.counts());
    let (unreachable, passed) = (false, None);
    let seen = Seen { name: 0, usable: true, phase, unreachable, passed, counts };
    let plan = world.ejection.tick(Duration::from_secs(1), None, 1, &[seen]);
    plan.apply(std::iter::once(outcomes), &world.quota);
    assert_eq!((outcomes.phase().0, world.quota.held(), plan.most), (Phase::In, 0, 0));
    for _ in 0..99 {
        assert!(!outcomes.record(tally, outcomes.enter(), BROKEN, None));
    }
    assert_eq!((outcomes.phase().0, tally.counts().reset), (Phase::In, 104));
}

#[test]
fn a_rate_ejects_where_no_row_of_failures_does() {
    let mut world = World::new(6, TERMS);
    let mut news = None;
    for _ in 0..12 {
        for index in 0..6 {
            world.attempts(index, &[FINE; 12]);
        }
        // One in four: never five in a row.
        world.attempts(2, &[FINE, BROKEN, FINE, BROKEN, FINE, BROKEN, FINE, BROKEN]);
        let now = world.tick()[2];
        news = news.or(now);
    }
    assert_eq!(news, Some(ejected(Cause::SuccessRate, 10)));
    assert_eq!(world.out(), 1);
}

#[test]
fn no_more_are_ejected_than_may_be_however_many_workers_fail() {
    let world = World::new(6, Terms { consecutive: 1, ..TERMS });
    let told = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (world, told) = (&world, &told);
            scope.spawn(move || {
                let tally = Tally::default();
                for round in 0..2000 {
                    let outcomes = &world.backends[(round + worker) % 6].outcomes;
                    let entry = outcomes.enter();
                    let terms = Some((&world.terms, &world.quota));
                    if outcomes.record(&tally, entry, BROKEN, terms) {
                        told.fetch_add(1, Ordering::Relaxed);
                    }
                    assert!(world.quota.held() <= 3);
                }
            });
        }
    });
    assert_eq!((world.out(), world.quota.held(), told.into_inner()), (3, 3, 3));
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Fine(usize, u8),
    Broken(usize, u8),
    Down(usize),
    Up(usize),
    Tick(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let place = 0_usize..6;
    prop_oneof![
        (place.clone(), 1_u8..30).prop_map(|(index, times)| Step::Fine(index, times)),
        (place.clone(), 1_u8..30).prop_map(|(index, times)| Step::Broken(index, times)),
        place.clone().prop_map(Step::Down),
        place.prop_map(Step::Up),
        (1_u8..40).prop_map(Step::Tick),
    ]
}

proptest! {
    #[test]
    fn never_are_more_out_than_may_be_and_never_all(
        backends in 1_u64..7, percent in 0_u8..=100,
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let mut world = World::new(backends, Terms { max_ejected: percent, ..TERMS });
        for step in steps {
            let number = world.backends.len();
            match step {
                Step::Fine(index, times) => {
                    (0..times).for_each(|_| { world.attempt(index % number, FINE); });
                }
                Step::Broken(index, times) => {
                    (0..times).for_each(|_| { world.attempt(index % number, BROKEN); });
                }
                Step::Down(index) => world.backends[index % number].down = true,
                Step::Up(index) => world.backends[index % number].down = false,
                Step::Tick(times) => (0..times).for_each(|_| { world.tick(); }),
            }
            // Until the next look the quota is that of the last one.
            prop_assert!(world.out() <= world.quota.most());
            prop_assert_eq!(world.out(), world.quota.held());
            if matches!(step, Step::Tick(_)) {
                let usable = world.usable();
                prop_assert_eq!(world.quota.most(), most_ejected(usable, percent));
                prop_assert!(usable == 0 || world.out() < usable);
                for backend in world.backends.iter().filter(|backend| backend.down) {
                    prop_assert_eq!(backend.outcomes.phase().0, Phase::Aside);
                }
            }
        }
    }

    #[test]
    fn who_does_well_again_is_always_back_in_the_end(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut world = World::new(6, TERMS);
        for step in steps {
            match step {
                Step::Broken(index, times) => {
                    (0..times).for_each(|_| { world.attempt(index, BROKEN); });
                }
                Step::Tick(times) => (0..times).for_each(|_| { world.tick(); }),
                _ => {}
            }
        }
        for _ in 0..310 {
            for index in 0..6 {
                if world.backends[index].outcomes.takes_new() {
                    world.attempt(index, FINE);
                }
            }
            world.tick();
        }
        prop_assert_eq!((world.out(), world.quota.held()), (0, 0));
        let whole = world.backends.iter().all(|backend| backend.outcomes.factor() == WHOLE);
        prop_assert!(whole, "{:?}", world.backends);
    }
}
