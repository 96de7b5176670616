//! What only a start would find wrong with a file: folders that are missing or not ours to write.

use std::io;

use super::state;
use crate::config::model::Model;
use crate::config::{Mistake, Report, Severity};
use crate::telemetry::access_log;

/// Looks at what a start would need, and makes nothing of it. What a process has `started` with,
/// and what this user may not try where nobody has, is a warning: whoever reloads wants something
/// else, and a file may be checked by somebody who does not serve it.
pub fn look(model: &Model, started: Option<&Model>, report: &mut Report) {
    let state = state::look(model);
    let known = |was: &Model| {
        let folder = |model: &Model| model.runtime.state_dir.as_ref().map(|at| at.value.clone());
        folder(was) == folder(model)
    };
    told(state, started.map(known), report);
    let log = model.log.access.then(|| access_log::look(&model.log)).flatten();
    told(log, started.map(|was| was.log.access && was.log.to == model.log.to), report);
}

fn told(found: Option<(Mistake, io::ErrorKind)>, known: Option<bool>, report: &mut Report) {
    let Some((mut mistake, kind)) = found else { return };
    if known.unwrap_or(kind == io::ErrorKind::PermissionDenied) {
        mistake.severity = Severity::Warning;
    }
    report.push(mistake);
}

#[cfg(test)]
mod tests {
    use super::super::tests::loaded;
    use super::*;

    fn looked(text: &str, started: Option<&str>) -> Report {
        let loaded_now = loaded(text);
        let mut report = loaded_now.report();
        let started = started.map(|text| loaded(text).model);
        look(&loaded_now.model, started.as_ref(), &mut report);
        report
    }

    #[test]
    fn folders_that_are_missing_are_told_with_their_lines() {
        let text = "[runtime]\nstate_dir = \"/nowhere/at/all\"\n\
                    [log]\nto = \"/nowhere/access.log\"\n";
        let report = looked(text, None);
        let told = report.render(false);
        assert!(report.mistakes.len() == 2 && report.has_errors(), "{told}");
        for words in
            ["state folder /nowhere/at/all", "`mkdir -p /nowhere/at`", "access log /nowhere"]
        {
            assert!(told.contains(words), "{words} in {told}");
        }
        assert!(report.mistakes.iter().all(|mistake| mistake.place.is_some()));
        let off = looked(&format!("{text}access = \"off\"\n"), None);
        assert_eq!(off.mistakes.len(), 1);
    }

    #[test]
    fn what_the_process_runs_with_holds_up_no_reload() {
        let text = "[runtime]\nstate_dir = \"/nowhere/at/all\"\n\
                    [log]\nto = \"/nowhere/access.log\"\n";
        let report = looked(text, Some(text));
        assert!(!report.has_errors() && report.mistakes.len() == 2, "{report}");
        assert!(looked(text, Some("")).has_errors());
    }
}
