//! The control thread as a whole: file to snapshot, marks, stop.

use std::sync::atomic::Ordering;

use super::{House, pool, run};
use crate::admin::facts::{Phase, lock};
use crate::config::model::AdminState;
use crate::control::Ended;
use crate::event::{Actor, DrainPlan, Event, MarkAction};

#[test]
fn listeners_open_and_the_file_that_is_written_goes_into_force() {
    run(async {
        let house = House::start(&pool("a", 1));
        house.until(|facts| facts.phase.get() == Phase::Serving).await;
        assert_eq!(house.facts.bound().len(), 1);
        house.write(&pool("b", 2));
        house.until(|facts| facts.current.load().generation == 2).await;
        assert_eq!(house.facts.file_differs(), Some(false));
        assert_eq!(house.facts.reloads().applied_by, "file watch");
        let kept = house.folder.path().join("state/last-good.toml");
        assert!(std::fs::read_to_string(kept).unwrap().contains("\"b\""));
    });
}

#[test]
fn a_mistake_changes_nothing_and_is_told_with_its_place() {
    run(async {
        let house = House::start(&pool("a", 1));
        house.until(|facts| facts.phase.get() == Phase::Serving).await;
        house.write("[pools.shop]\nbackend = []\n");
        let refusal = house.reload().await.unwrap_err();
        assert_eq!(refusal.status, 422);
        assert!(refusal.detail.contains("ostler.toml:"), "{}", refusal.detail);
        assert_eq!(house.generation(), 1);
        assert!(!house.facts.reloads().last_success);
        assert_eq!(house.facts.file_differs(), Some(true));
        house.write(&pool("a", 1));
        assert_eq!(house.reload().await.unwrap()["result"], "unchanged");
        assert!(house.facts.reloads().last_success);
        assert_eq!(house.generation(), 1);
    });
}

#[test]
fn a_reload_tells_what_changed() {
    run(async {
        let house = House::start(&pool("a", 1));
        house.until(|facts| facts.phase.get() == Phase::Serving).await;
        house.write(&format!("{}[pools.api]\nbackends = []\n", pool("a", 1)));
        let answer = house.reload().await;
        // A watch may have been faster.
        assert!(answer.is_ok(), "{answer:?}");
        house.write(&pool("q", 1));
        house.until(|facts| facts.current.load().pool("shop").unwrap().member("q").is_some()).await;
    });
}

#[test]
fn marks_survive_reload_rename_and_restart_and_end_in_time() {
    run(async {
        let house = House::start(&pool("a", 1));
        house.until(|facts| facts.phase.get() == Phase::Serving).await;
        house.mark("a", MarkAction::Drain(DrainPlan::default())).await.unwrap();
        assert_eq!(house.mark("z", MarkAction::Maint).await.unwrap_err().status, 409);
        assert_eq!(house.mark("nobody", MarkAction::Maint).await.unwrap_err().status, 404);
        house.write(&pool("renamed", 1));
        house.until(|facts| facts.current.load().generation == 2).await;
        assert_eq!(house.state_of("renamed"), AdminState::Drain);
        house.running.abort();
        let House { folder, running, .. } = house;
        let _ = running.await;

        let house = House::start_in(folder);
        assert_eq!(house.state_of("renamed"), AdminState::Drain);
        house.mark("z", MarkAction::Weight(7)).await.unwrap();
        assert_eq!(house.facts.marks().len(), 2);
        house.until(|facts| facts.marks().len() == 1).await;
        let lifted = lock(&house.facts.lifted).clone();
        assert_eq!(lifted.iter().map(|it| &*it.who).collect::<Vec<_>>(), ["the end of its time"]);
        house.mark("renamed", MarkAction::Unmark).await.unwrap();
        assert_eq!(house.state_of("renamed"), AdminState::Up);
        let audit = house.folder.path().join("state/audit.log");
        assert!(std::fs::read_to_string(audit).unwrap().lines().count() >= 4);
    });
}

#[test]
fn a_stop_drains_and_a_second_one_ends_at_once() {
    run(async {
        let stop = |reply| Event::Stop { actor: Actor("test".to_owned()), reply: Some(reply) };
        let house = House::start(&pool("a", 1));
        house.sockets.open.store(1, Ordering::Relaxed);
        house.ask(stop).await.unwrap();
        assert_eq!(house.facts.phase.get(), Phase::Stopping);
        assert_eq!(house.reload().await.unwrap_err().status, 409);
        while house.sockets.drained.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        house.sockets.open.store(0, Ordering::Relaxed);
        assert_eq!(house.running.await.unwrap(), Ended::Drained);

        let house = House::start(&pool("a", 1));
        house.sockets.open.store(3, Ordering::Relaxed);
        house.ask(stop).await.unwrap();
        house.ask(stop).await.unwrap();
        assert_eq!(house.running.await.unwrap(), Ended::AtOnce { open: 3 });
    });
}
