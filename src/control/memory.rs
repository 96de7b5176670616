//! Measures how much memory the process has against its budget, on a thread of its own.
// Of its own, because a reload keeps the control thread busy for as long as it takes, and memory
// can be gone in less.

use std::thread;
use std::time::Duration;

use crate::config::Report;
use crate::config::model::Model;
use crate::net::clock;
use crate::net::pressure::{self, Level};
use crate::telemetry::process::Resident;

/// How often it looks while there is plenty…
const SELDOM: Duration = Duration::from_millis(100);
/// …and from half of the budget on, when an attack may be a tenth of a second from its end.
const OFTEN: Duration = Duration::from_millis(10);
/// How often it looks whether there is a budget again.
const NEVER: Duration = Duration::from_secs(1);

/// What there is for the process. The thread is started when there is first a budget.
#[derive(Debug, Default)]
pub(super) struct Memory {
    watched: bool,
}

impl Memory {
    /// A configuration is in force that says so.
    pub(super) fn follow(&mut self, budget: Option<u64>) {
        pressure::set_budget(budget);
        if budget.is_none() || self.watched {
            return;
        }
        let resident = match Resident::open() {
            Ok(resident) => resident,
            Err(error) => {
                tracing::error!(%error, "memory cannot be measured: runtime.memory has no effect");
                return;
            }
        };
        match thread::Builder::new().name("memory".to_owned()).spawn(move || watch(&resident)) {
            // It ends with the process.
            Ok(_) => self.watched = true,
            Err(error) => tracing::error!(%error, "memory is not watched"),
        }
    }
}

/// Bytes that the process has, where that can be read.
pub(super) fn used() -> Option<u64> {
    Resident::open().and_then(|resident| resident.read()).ok()
}

/// Warns of a budget that sheds load as soon as it holds.
pub(super) fn look(model: &Model, used: Option<u64>, report: &mut Report) {
    let Some((budget, used)) = model.runtime.memory.as_ref().zip(used) else { return };
    let level = Level::Calm.next(used, budget.value);
    if level == Level::Calm {
        return;
    }
    let (have, want) = (used.div_ceil(1 << 20), budget.value >> 20);
    let who = level.who();
    report
        .warning(
            format!("of these {want} MiB of memory {have} MiB are in use already: {who}"),
            &budget.place,
        )
        .hint(format!("what is used on a quiet day should be below half of it: {} MiB", have * 2));
}

fn watch(resident: &Resident) {
    loop {
        let Some(budget) = pressure::budget() else {
            // It may have gone while we were measuring.
            pressure::calm();
            thread::park_timeout(NEVER);
            continue;
        };
        // Once it was read it can be read: this is no file on a disk.
        if let Ok(used) = resident.read() {
            let (level, before) = pressure::measured(used, budget);
            if level != before {
                tell(level, before, used, budget);
            }
            thread::park_timeout(if used < budget / 2 { SELDOM } else { OFTEN });
        } else {
            thread::park_timeout(SELDOM);
        }
    }
}

fn tell(level: Level, before: Level, used: u64, budget: u64) {
    if level > before {
        // Who has to go hears of it at once.
        clock::stir();
    }
    let (word, before) = (level.as_str(), before.as_str());
    if level == Level::Calm {
        tracing::info!(event = "memory", level = word, before, used, budget, "memory suffices");
    } else {
        tracing::warn!(event = "memory", level = word, before, used, budget, "memory is short");
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::loaded;
    use super::*;

    #[test]
    fn a_budget_below_what_is_in_use_is_warned_of_with_both_figures() {
        let file = loaded("[runtime]\nmemory = \"64MiB\"\n");
        let told = |used| {
            let mut report = file.report();
            look(&file.model, used, &mut report);
            report
        };
        assert!(told(Some(20 << 20)).mistakes.is_empty() && told(None).mistakes.is_empty());
        let report = told(Some(131 << 20));
        let text = report.render(false);
        assert!(text.contains("64 MiB of memory 131 MiB are in use") && !report.has_errors());
        assert!(text.contains("everybody is refused") && text.contains("ostler.toml:"), "{text}");
        assert!(told(Some(46 << 20)).render(false).contains("idle connections are closed"));
    }
}
