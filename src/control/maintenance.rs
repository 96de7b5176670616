//! Backends that are drained because somebody has touched a file in the maintenance folder.

mod folder;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::marks::{Marks, Named};
use crate::event::{Actor, DrainPlan, MarkAction, MarkChange, MarkTarget, Until};
use crate::snapshot::Snapshot;
use folder::{Folder, Target, Touched};

/// Who sets these marks, and whose marks are lifted when a file has gone.
const WHO: &str = "maintenance folder";

/// What the folder said when it was last looked at.
#[derive(Debug, Default)]
pub(super) struct Maintenance {
    /// What was drained for each file: only what is new is drained, so that an operator who says
    /// otherwise is not contradicted every second.
    applied: BTreeMap<Target, (Touched, BTreeSet<Named>)>,
    /// Told of already.
    problems: BTreeSet<String>,
    /// Whether the folder has been looked at since the start.
    looked: bool,
}

impl Maintenance {
    /// Once a second: drains for files that have come, lifts for those that have gone. Without a
    /// folder all that it has drained is lifted.
    pub(super) fn look(&mut self, folder: Option<&Path>, marks: &mut Marks, snapshot: &Snapshot) {
        let says = match folder.map(folder::read) {
            None => Folder::default(),
            Some(Ok(says)) => says,
            Some(Err(error)) => {
                // Nothing is known, so nothing is lifted.
                let folder = folder.map(|folder| folder.display().to_string());
                let folder = folder.unwrap_or_default();
                self.tell(BTreeSet::from([format!("{folder} cannot be read: {error}")]));
                return;
            }
        };
        let mut problems: BTreeSet<String> = BTreeSet::new();
        let mut wanted: BTreeSet<Named> = BTreeSet::new();
        for mistake in &says.mistakes {
            problems.insert(mistake.to_string());
            // The file is still there, so what it drains stays so.
            if let Some(target) = &mistake.target {
                wanted.extend(self.drained_for(target, marks));
            }
        }
        for touched in says.touched {
            let target = mark_target(&touched.target);
            let named = match marks.targets(&target, snapshot) {
                Ok(named) => named.into_iter().collect::<BTreeSet<_>>(),
                Err(refusal) => {
                    // A name that does not resolve at the moment is no reason to lift anything.
                    wanted.extend(self.drained_for(&touched.target, marks));
                    problems.insert(refusal.title);
                    continue;
                }
            };
            wanted.extend(named.iter().cloned());
            let before = self.applied.get(&touched.target);
            let same = before.is_some_and(|(before, _)| *before == touched);
            let had = |one: &Named| same && before.is_some_and(|(_, had)| had.contains(one));
            let new = named.iter().filter(|one| !had(one)).cloned().collect::<Vec<_>>();
            let mut done: BTreeSet<Named> = named.iter().filter(|one| had(one)).cloned().collect();
            for one in new {
                // After a restart marks are as they were left.
                if !self.looked && marks.named_by(WHO).contains(&one) {
                    done.insert(one);
                    continue;
                }
                match drain(&one, &touched, marks, snapshot) {
                    Ok(()) => {
                        done.insert(one);
                    }
                    Err(problem) => {
                        problems.insert(problem);
                    }
                }
            }
            self.applied.insert(touched.target.clone(), (touched, done));
        }
        self.applied.retain(|_, (_, named)| named.iter().any(|one| wanted.contains(one)));
        for one in marks.named_by(WHO) {
            if !wanted.contains(&one) {
                marks.lift_state(&one, &Actor(WHO.to_owned()), snapshot);
            }
        }
        self.looked = true;
        self.tell(problems);
    }

    /// What a file that says nothing useful now has drained before: for an address after a restart,
    /// whatever this folder has drained, for nobody knows what it matched.
    fn drained_for(&self, target: &Target, marks: &Marks) -> BTreeSet<Named> {
        if let Some((_, named)) = self.applied.get(target) {
            return named.clone();
        }
        let all = marks.named_by(WHO).into_iter();
        match target {
            Target::Address(_) => all.collect(),
            Target::Backend { pool, id } => {
                all.filter(|named| named.pool == *pool && named.backend == *id).collect()
            }
        }
    }

    /// Each problem is told of once, and again when it comes back.
    fn tell(&mut self, problems: BTreeSet<String>) {
        for problem in problems.difference(&self.problems) {
            tracing::warn!("maintenance folder: {problem}");
        }
        self.problems = problems;
    }
}

fn mark_target(target: &Target) -> MarkTarget {
    match target {
        Target::Backend { pool, id } => {
            MarkTarget::Backend { pool: pool.clone(), backend: id.clone() }
        }
        Target::Address(address) => MarkTarget::Address(address.clone()),
    }
}

fn drain(
    one: &Named,
    touched: &Touched,
    marks: &mut Marks,
    snapshot: &Snapshot,
) -> Result<(), String> {
    let deadline = match touched.deadline {
        None => Until::Default,
        Some(None) => Until::Never,
        Some(Some(time)) => Until::After(time),
    };
    let change = MarkChange {
        target: MarkTarget::Backend { pool: one.pool.clone(), backend: one.backend.clone() },
        action: MarkAction::Drain(DrainPlan { deadline, ..DrainPlan::default() }),
        reason: touched.reason.clone(),
        until: None,
        force: false,
    };
    let done = marks.change(&change, &Actor(WHO.to_owned()), snapshot);
    done.map(drop).map_err(|refusal| format!("{}/{}: {}", one.pool, one.backend, refusal.title))
}
