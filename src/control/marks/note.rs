//! What there is to say about a mark that is legal and does not do what it seems to.

use std::collections::BTreeSet;

use super::decide::Named;
use crate::event::MarkAction;
use crate::snapshot::Snapshot;

/// Pools that have no usable backend before a backend is taken out of them, each in a sentence.
pub(super) fn wholly_down(
    targets: &[Named],
    action: MarkAction,
    snapshot: &Snapshot,
) -> Vec<String> {
    let takes_out =
        matches!(action, MarkAction::Drain(_) | MarkAction::Maint | MarkAction::Weight(0));
    let pools: BTreeSet<&str> = targets.iter().map(|target| &*target.pool).collect();
    let pools = pools.into_iter().filter_map(|name| snapshot.pool(name));
    let down = pools.filter(|pool| takes_out && pool.usable() == 0);
    let told = |name: &str| {
        format!("pool {name} has no usable backend, with this mark or without: see `ostler status`")
    };
    down.map(|pool| told(&pool.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::tests::snapshot;
    use crate::event::DrainPlan;

    #[test]
    fn a_pool_that_is_wholly_down_is_told_of_where_a_backend_is_taken_out_of_it() {
        // A name that nobody has resolved is a backend that is down.
        let pools = "[pools.up]\nbackends = [{ id = \"a\", address = \"10.0.0.1:80\" }]\n\
                     [pools.down]\nbackends = [{ id = \"a\", address = \"a.internal:80\" }]\n";
        let snapshot = snapshot(pools);
        let targets = ["down", "up", "gone"]
            .map(|pool| Named { pool: pool.to_owned(), backend: "a".to_owned() });
        let drain = MarkAction::Drain(DrainPlan::default());
        for action in [drain, MarkAction::Maint, MarkAction::Weight(0)] {
            let told = wholly_down(&targets, action, &snapshot);
            assert!(told.len() == 1 && told[0].starts_with("pool down has no usable"), "{told:?}");
        }
        for action in [MarkAction::Ready, MarkAction::Unmark, MarkAction::Weight(1)] {
            assert_eq!(wholly_down(&targets, action, &snapshot), Vec::<String>::new());
        }
    }
}
