//! What is not as it should be, the worst first: decided from the status alone.

use jiff::Timestamp;

use crate::config::model::AdminState;
use crate::net::pressure::Level;

use super::facts::{Discovered, Mark};
use super::view::{Backend, Memory, Pool, Problem, RevocationList, Severity, Status, mark_line};

/// Certificates that end sooner are a warning (days).
const SOON: i64 = 30;
/// Certificates that end sooner are critical (days).
const VERY_SOON: i64 = 3;
/// Fewer errors since the start are chance.
const FEW_ERRORS: u64 = 10;

/// Every problem, the worst first, else in the order of the file. `last_problem` is the rendered
/// report of the last reload, if that failed.
pub(super) fn find(status: &Status, last_problem: Option<&str>) -> Vec<Problem> {
    let mut found = Vec::new();
    if status.blind {
        let text = "all checks fail at once: the fault may be in this machine or its network. The \
                    verdicts before hold, and /readyz is red (runtime.blind_guard)";
        found.push(Problem { severity: Severity::Critical, text: text.to_owned() });
    }
    found.extend(status.memory.as_ref().and_then(short_of_memory));
    if let Some(rival) = &status.state_dir_rival {
        found.push(warning(format!(
            "{rival} keeps its state in the same folder, and each overwrites the marks and \
             sessions of the other: give each a [runtime] state_dir of its own, or stop one"
        )));
    }
    if status.phase == "stopping" {
        found.push(warning("stopping: nothing new is accepted".to_owned()));
    }
    for pool in &status.pools {
        found.extend(short_of_backends(pool, status));
        found.extend(higher_tier(pool));
        found.extend(lost_quorum(pool));
    }
    found.extend(status.discovered.iter().flat_map(names));
    if !status.last_reload_ok {
        let why = last_problem.and_then(|text| text.lines().next()).unwrap_or("see the log");
        found.push(warning(format!("the last reload failed, the old file is in force: {why}")));
    }
    if status.file_differs {
        let text = "the file on disk is not what is in force: `ostler reload` applies it";
        found.push(warning(text.to_owned()));
    }
    found.extend(certificates(status));
    found.extend(status.revocation_lists.iter().filter_map(|list| ends(list, Timestamp::now())));
    for route in &status.routes {
        if route.errors > FEW_ERRORS && route.errors.saturating_mul(100) > route.requests {
            found.push(warning(format!(
                "route {}: {} of {} requests since the start failed",
                route.name, route.errors, route.requests
            )));
        }
    }
    for mark in &status.marks {
        let text = format!("{}{}", mark_line(mark), left(mark, status));
        found.push(Problem { severity: Severity::Info, text });
    }
    found.sort_by_key(|problem| std::cmp::Reverse(problem.severity));
    found
}

/// What a drain has left, for the line of its mark.
fn left(mark: &Mark, status: &Status) -> String {
    let pool = status.pools.iter().find(|pool| pool.name == mark.pool);
    let backends = pool.into_iter().flat_map(|pool| &pool.backends);
    let backend = backends.filter(|_| mark.drain.is_some()).find(|one| one.id == mark.backend);
    let Some(backend) = backend else { return String::new() };
    let (tunnels, exchanges) = (backend.tunnels, backend.in_flight.saturating_sub(backend.tunnels));
    let sessions = backend.sessions.map(|count| format!("{count} sessions, ")).unwrap_or_default();
    format!("; left: {sessions}{exchanges} exchanges, {tunnels} tunnels")
}

/// That load is shed for memory's sake, and whose.
fn short_of_memory(memory: &Memory) -> Option<Problem> {
    let (severity, level) = match memory.level.as_str() {
        "idle" => (Severity::Warning, Level::Idle),
        "handshakes" => (Severity::Warning, Level::Handshakes),
        "sessions" => (Severity::Critical, Level::Sessions),
        "everybody" => (Severity::Critical, Level::Everybody),
        _ => return None,
    };
    let mib = |bytes: u64| bytes >> 20;
    let (used, budget, who) = (mib(memory.used), mib(memory.budget), level.who());
    let text = format!("memory is short, {used} of {budget} MiB are used: {who} (runtime.memory)");
    Some(Problem { severity, text })
}

/// What ails a name that stands for backends.
fn names(of: &Discovered) -> Vec<Problem> {
    let Discovered { pool, name, backends, left_out, .. } = of;
    let mut found = Vec::new();
    if let Some(problem) = &of.problem {
        let kept = match backends {
            0 => "it has no backends".to_owned(),
            1 => "the one backend of its last answer is kept".to_owned(),
            more => format!("the {more} backends of its last answer are kept"),
        };
        found.push(warning(format!("pool {pool}: {name}: {problem}: {kept}")));
    }
    if *left_out > 0 {
        let text = format!("pool {pool}: {name} has {left_out} more backends than are taken");
        found.push(warning(text));
    }
    found
}

fn warning(text: String) -> Problem {
    Problem { severity: Severity::Warning, text }
}

/// What ails a pool. Backends that an operator took out are no problem while others are there.
fn short_of_backends(pool: &Pool, status: &Status) -> Option<Problem> {
    let name = &pool.name;
    let of_route = |pools: &str| pools.split(", ").any(|pool| pool == name);
    let routed = status.routes.iter().any(|route| route.pool.as_deref().is_some_and(of_route));
    if pool.usable == 0 {
        let severity = if routed { Severity::Critical } else { Severity::Warning };
        let why: Vec<String> =
            pool.backends.iter().map(|one| format!("{name}/{} {}", one.id, why(one))).collect();
        let why = if why.is_empty() { "it is empty".to_owned() } else { why.join(", ") };
        let text = format!("pool {name} has no usable backend: {why}");
        return Some(Problem { severity, text });
    }
    let ailing: Vec<String> = pool
        .backends
        .iter()
        .filter(|one| !one.leaving && matches!(one.state.as_str(), "down" | "unchecked"))
        .map(|one| format!("{name}/{} {}", one.id, why(one)))
        .collect();
    let all = pool.backends.iter().filter(|one| one.state != "ghost" && !one.leaving).count();
    let usable = pool.usable;
    let text = || format!("pool {name} has {usable} of {all} backends: {}", ailing.join(", "));
    (!ailing.is_empty()).then(|| warning(text()))
}

/// That a pool is served by a tier that is there for bad times.
fn higher_tier(pool: &Pool) -> Option<Problem> {
    let (name, tier) = (&pool.name, pool.tier?);
    let below = || pool.backends.iter().filter(|one| one.tier < tier && one.state != "ghost");
    let lowest = below().map(|one| one.tier).min()?;
    let back = below().any(|one| one.state == "up" && one.weight > 0);
    let why = if back {
        format!("a lower one is usable and held back: `ostler failback {name}` ends that")
    } else {
        format!("none from tier {lowest} on below it is usable")
    };
    Some(warning(format!("pool {name} is served by tier {tier}: {why}")))
}

/// That a pool has too few backends for new visitors.
fn lost_quorum(pool: &Pool) -> Option<Problem> {
    let quorum = pool.quorum.as_ref().filter(|quorum| quorum.lost)?;
    let (name, usable, spare, again) = (&pool.name, pool.usable, &quorum.pool, quorum.again);
    let text = format!(
        "pool {name} has lost its quorum ({usable} usable): new visitors go to pool {spare} until \
         {again} are"
    );
    Some(warning(text))
}

/// Why a backend takes nobody new.
fn why(backend: &Backend) -> String {
    if let (Some(name), true) = (&backend.found, backend.leaving) {
        return format!("is no more in the answer of {name}");
    }
    let by = match backend.mark {
        Some(_) => "by a mark",
        None => "by the file",
    };
    match backend.state.as_str() {
        "drain" | "maint" => format!("is in {} {by}", backend.state),
        "unchecked" => "has passed no check yet".to_owned(),
        "down" if backend.verdict.as_deref() != Some("down") => "does not resolve".to_owned(),
        "down" => {
            let check = backend.last_check.as_ref();
            let saw = match check {
                Some(check) if check.passed => "passes again, not often enough yet".to_owned(),
                Some(check) => format!("{}, {} checks in a row", check.detail, check.in_a_row),
                None => "by its checks".to_owned(),
            };
            let maint = backend.state_in_file == AdminState::Maint;
            if maint { format!("is down ({saw}), marked up") } else { format!("is down ({saw})") }
        }
        _ if backend.weight == 0 => "has weight 0".to_owned(),
        state => format!("is {state}"),
    }
}

fn certificates(status: &Status) -> impl Iterator<Item = Problem> {
    status.certificates.iter().filter(|one| one.days_left < SOON).map(|one| {
        let name = one.names.first().map_or("(no name)", String::as_str);
        let (listener, days) = (&one.listener, one.days_left);
        let end = match days {
            ..0 => format!("has ended on {}", one.not_after),
            0 => "ends today".to_owned(),
            1 => "ends in 1 day".to_owned(),
            _ => format!("ends in {days} days"),
        };
        let severity = if days < VERY_SOON { Severity::Critical } else { Severity::Warning };
        let text = format!("the certificate of {name} on listener {listener} {end}");
        Problem { severity, text }
    })
}

/// Lists live for hours or for months: one should have been renewed with a tenth of its time left.
fn ends(list: &RevocationList, now: Timestamp) -> Option<Problem> {
    let end = list.next_update?;
    let whole = end.as_second().saturating_sub(list.this_update.as_second());
    let left = end.as_second().saturating_sub(now.as_second());
    if left > whole / 10 {
        return None;
    }
    let (issuer, listener) = (&list.issuer, &list.listener);
    let list = format!("the revocation list of {issuer} on listener {listener}");
    Some(if left < 0 {
        let text = format!("{list} has ended on {end}: no client of this issuer is served");
        Problem { severity: Severity::Critical, text }
    } else {
        warning(format!("{list} ends on {end}, and no newer one is here"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::status::gather;
    use super::super::tests::facts;
    use super::super::view::{Certificate, Quorum, Route};
    use super::*;

    fn healthy() -> Status {
        let mut status = gather(&facts());
        status.problems.clear();
        status
    }

    fn only(status: &Status) -> Problem {
        let found = find(status, Some("error: unknown key\n --> ostler.toml:1:1"));
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    }

    #[test]
    fn nothing_is_wrong_with_what_is_right() {
        assert_eq!(find(&healthy(), None), []);
    }

    #[test]
    fn a_pool_with_fewer_backends_is_a_warning_with_the_checks_words() {
        let mut status = healthy();
        let check = json!({"at": "2026-11-24T10:00:00Z", "passed": false, "detail": "HTTP 503",
            "took_ms": 1.0, "in_a_row": 4});
        let backend = &mut status.pools[0].backends[0];
        backend.state = "down".to_owned();
        backend.verdict = Some("down".to_owned());
        backend.last_check = serde_json::from_value(check).unwrap();
        status.pools[0].usable = 1;
        let problem = only(&status);
        assert_eq!(problem.severity, Severity::Warning);
        assert!(problem.text.contains("shop/a is down (HTTP 503, 4 checks in a row)"));
        status.pools[0].usable = 0;
        assert_eq!(only(&status).severity, Severity::Critical);
    }

    #[test]
    fn what_an_operator_took_out_is_no_problem_until_nobody_is_left() {
        let mut status = healthy();
        status.pools[0].backends[0].state = "maint".to_owned();
        status.pools[0].usable = 1;
        assert_eq!(find(&status, None), []);
        status.pools[0].usable = 0;
        assert!(only(&status).text.contains("is in maint"));
    }

    #[test]
    fn a_tier_for_bad_times_that_serves_is_a_warning_and_says_how_to_go_back() {
        let mut status = healthy();
        let pool = &mut status.pools[0];
        pool.usable = 2;
        pool.backends[1].tier = 1;
        pool.tier = Some(0);
        assert_eq!(find(&status, None), []);
        status.pools[0].tier = Some(1);
        assert!(only(&status).text.contains("`ostler failback shop`"));
        status.pools[0].backends[0].state = "maint".to_owned();
        assert!(only(&status).text.contains("served by tier 1: none"));
    }

    #[test]
    fn a_lost_quorum_is_a_warning_that_names_where_visitors_go() {
        let mut status = healthy();
        let quorum = Quorum { min: 1, again: 2, pool: "spare".to_owned(), lost: true };
        status.pools[0].usable = 2;
        status.pools[0].quorum = Some(quorum.clone());
        assert!(only(&status).text.contains("new visitors go to pool spare until 2 are"));
        status.pools[0].quorum = Some(Quorum { lost: false, ..quorum });
        assert_eq!(find(&status, None), []);
    }

    #[test]
    fn blindness_is_told_before_everything_else() {
        let mut status = healthy();
        status.pools[0].usable = 0;
        status.blind = true;
        let found = find(&status, None);
        assert!(found.len() == 2 && found[0].text.starts_with("all checks fail at once"));
    }

    #[test]
    fn another_process_in_our_state_folder_is_named() {
        let mut status = healthy();
        status.state_dir_rival = Some("pid 812".to_owned());
        assert!(only(&status).text.starts_with("pid 812 keeps its state in the same folder"));
    }

    #[test]
    fn whoever_is_shed_for_memory_is_named() {
        let mut status = healthy();
        let memory = |level: &str| {
            Some(Memory { budget: 256 << 20, used: 230 << 20, level: level.to_owned() })
        };
        status.memory = memory("calm");
        assert_eq!(find(&status, None), []);
        status.memory = memory("idle");
        assert_eq!(only(&status).severity, Severity::Warning);
        status.memory = memory("sessions");
        let problem = only(&status);
        assert_eq!(problem.severity, Severity::Critical);
        assert!(problem.text.contains("230 of 256 MiB"), "{}", problem.text);
    }

    #[test]
    fn errors_count_above_one_in_a_hundred_and_ten_in_all() {
        let mut status = healthy();
        let route = |requests, errors| {
            vec![Route { name: "shop".to_owned(), pool: None, requests, errors }]
        };
        for (requests, errors, told) in
            [(10, 10, false), (1_100, 11, false), (1_099, 11, true), (11, 11, true)]
        {
            status.routes = route(requests, errors);
            status.pools.clear();
            assert_eq!(!find(&status, None).is_empty(), told, "{errors} of {requests}");
        }
    }

    #[test]
    fn certificates_are_told_of_in_time_and_the_worst_comes_first() {
        let mut status = healthy();
        for days_left in [45, 29, 2, -1] {
            status.certificates.push(Certificate {
                listener: "web".to_owned(),
                names: vec!["a.example".to_owned()],
                not_after: "2026-11-24T10:00:00Z".parse().unwrap(),
                days_left,
            });
        }
        status.last_reload_ok = false;
        let found = find(&status, Some("error: unknown key\n --> ostler.toml:1:1"));
        let texts: Vec<&str> = found.iter().map(|problem| problem.text.as_str()).collect();
        assert!(texts[0].contains("ends in 2 days") && texts[1].contains("has ended on"));
        assert!(texts[2].contains("error: unknown key") && texts[3].contains("29 days"));
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn a_revocation_list_is_told_of_when_a_tenth_of_its_time_is_left() {
        let list = RevocationList {
            listener: "web".to_owned(),
            issuer: "CN=Clients".to_owned(),
            this_update: "2026-11-20T00:00:00Z".parse().unwrap(),
            next_update: Some("2026-11-30T00:00:00Z".parse().unwrap()),
        };
        for (now, severity) in [
            ("2026-11-28T23:00:00Z", None),
            ("2026-11-29T01:00:00Z", Some(Severity::Warning)),
            ("2026-11-30T00:00:01Z", Some(Severity::Critical)),
        ] {
            let problem = ends(&list, now.parse().unwrap());
            assert_eq!(problem.map(|problem| problem.severity), severity, "{now}");
        }
        let endless = RevocationList { next_update: None, ..list };
        assert_eq!(ends(&endless, Timestamp::MAX), None);
    }
}
