//! `ostler drain`: sets the mark, and with `--wait` tells how it goes until nobody is bound.

mod cause;
mod left;
mod line;

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::admin::facts::{Lifted, Mark, MarkWord};
use crate::admin::view;
use crate::event::{DrainPlan, MarkAction};

use super::args;
use super::client::{Places, block_on};
use super::fail::{Fail, INTERRUPTED, MOVED};
use super::{marks, out};
use cause::Causes;
use left::{Ended, Left};
pub(super) use left::{Target, find};
use line::Line;

/// How often `--wait` looks.
const LOOK: Duration = Duration::from_secs(1);
/// For so long the process, or a peer, may be away: it may be starting again.
const AWAY: Duration = Duration::from_secs(30);

/// Marks backends as draining, and waits where asked to until nobody is bound to them.
///
/// # Errors
/// What the running process has against it, or that nobody answers; with `--wait` also that the
/// mark was lifted or changed meanwhile.
pub(super) fn drain(places: &Places, drain: &args::Drain) -> Result<ExitCode, Fail> {
    let options = &drain.mark.options;
    let page = marks::page(drain.mark.target.as_deref(), options)?;
    let body = body(drain)?;
    let answer = places.ask(Method::PATCH, &page, Some(&body))?;
    if drain.wait.is_none() {
        marks::print(&answer, options.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !options.json {
        marks::print(&answer, false)?;
    }
    let targets: Vec<Target> = marks::matched(&answer);
    block_on(async {
        tokio::select! {
            ended = wait(places, &targets, drain) => ended,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                out::note(&goes_on(&targets, options));
                Ok(ExitCode::from(INTERRUPTED))
            }
        }
    })?
}

/// What is asked, as the API takes it.
fn body(drain: &args::Drain) -> Result<Value, Fail> {
    let wrong = |name| move |problem| Fail::Usage(format!("{name}: {problem}"));
    let mut body = marks::body(&drain.mark.options, MarkAction::Drain(DrainPlan::default()))?;
    let Some(members) = body.as_object_mut() else { return Ok(body) };
    if drain.wait == Some(args::WaitFor::Deadline) && drain.deadline.as_deref() == Some("none") {
        return Err(Fail::Usage("--wait=deadline needs a --deadline".to_owned()));
    }
    if let Some(text) = &drain.deadline {
        view::drain_deadline(text).map_err(wrong("--deadline"))?;
        members.insert("deadline".to_owned(), json!(text));
    }
    if let Some(text) = &drain.quiet {
        view::drain_quiet(text).map_err(wrong("--quiet"))?;
        members.insert("quiet".to_owned(), json!(text));
    }
    if let Some(then) = drain.then {
        let word = if then == args::Then::Cut { "cut" } else { "move" };
        members.insert("then".to_owned(), json!(word));
    }
    if let Some(tunnels) = drain.tunnels {
        let word = if tunnels == args::Tunnels::Close { "close" } else { "keep" };
        members.insert("tunnels".to_owned(), json!(word));
    }
    Ok(body)
}

/// Looks every second until nobody is bound to any of them.
async fn wait(places: &Places, targets: &[Target], drain: &args::Drain) -> Result<ExitCode, Fail> {
    let options = &drain.mark.options;
    let mut line = Line::new(options.json);
    let mut causes = Causes::default();
    let mut begun = None;
    let mut away: Option<Instant> = None;
    let mut past = false;
    loop {
        match places.sessions(options.this_node, &query(targets)).await {
            Ok(nodes) => {
                away = None;
                let left = match Left::of(&nodes, targets, &mut begun) {
                    Ok(left) => left,
                    Err(ended) => {
                        line.end()?;
                        return Err(Fail::refused(why(places, &ended).await));
                    }
                };
                line.show(&left, Instant::now(), Timestamp::now())?;
                // Seen twice: somebody may have come in the very second of the deadline.
                let before = std::mem::replace(&mut past, left.is_past());
                let enough = before && past && drain.wait == Some(args::WaitFor::Deadline);
                if left.empty || enough {
                    line.end()?;
                    return finish(targets, &left, drain);
                }
                if let Some(news) = causes.news(&left).filter(|_| !options.json) {
                    line.end()?;
                    out::note(&news);
                }
            }
            Err(fail) => {
                if away.is_none() {
                    line.end()?;
                    let text = fail.text();
                    out::note(&format!("{text}; trying again for {}s", AWAY.as_secs()));
                }
                if away.get_or_insert_with(Instant::now).elapsed() >= AWAY {
                    return Err(fail);
                }
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Only what is waited for, where that is one backend.
pub(super) fn query(targets: &[Target]) -> String {
    match targets {
        [(pool, backend)] => format!("pool={pool}&backend={backend}"),
        _ => String::new(),
    }
}

fn finish(targets: &[Target], left: &Left, drain: &args::Drain) -> Result<ExitCode, Fail> {
    if !drain.mark.options.json {
        let mut text = String::new();
        for (pool, backend) in targets {
            let _ = if left.empty {
                writeln!(text, "{pool}/{backend} is empty: nobody is bound to it any more")
            } else {
                writeln!(
                    text,
                    "the deadline of {pool}/{backend} has passed: nothing is under way there"
                )
            };
        }
        if !left.empty {
            text.push_str(&left.absent_line());
        }
        if left.moved > 0 {
            let _ = writeln!(text, "{}", left.moved_line());
        }
        out::print(&text)?;
    }
    // Who has not come back moves when they do.
    let strictly = drain.strict && (left.moved > 0 || !left.empty);
    Ok(if strictly { ExitCode::from(MOVED) } else { ExitCode::SUCCESS })
}

fn goes_on(targets: &[Target], options: &args::MarkOptions) -> String {
    let this_node = if options.this_node { " --this-node" } else { "" };
    let what = match (&options.address, targets) {
        (Some(address), _) => format!("--address {address}"),
        (None, [(pool, backend), ..]) => format!("{pool}/{backend}"),
        (None, []) => "POOL/BACKEND".to_owned(),
    };
    format!("\nthe drain goes on; `ostler unmark {what}{this_node}` lifts it")
}

/// Why it is no drain any more, and who did it, as far as it can be known.
async fn why(places: &Places, ended: &Ended) -> String {
    let (pool, backend, node) = match ended {
        Ended::Left { pool, backend, node } => {
            return format!("{pool}/{backend} has left the configuration of {node}");
        }
        Ended::Lifted { pool, backend, node } => (pool, backend, node),
    };
    let of_state = |mark: &Mark| {
        mark.pool == *pool && mark.backend == *backend && matches!(mark.says, MarkWord::State(_))
    };
    let marks: Vec<Mark> = places.getting("marks").await.unwrap_or_default();
    if let Some(mark) = marks.iter().find(|mark| of_state(mark)) {
        return format!("the mark has changed: {}", view::mark_line(mark));
    }
    let lifted: Vec<Lifted> = places.getting("marks/lifted").await.unwrap_or_default();
    let of_backend = |it: &&Lifted| it.pool == *pool && it.backend == *backend;
    match lifted.iter().rev().find(of_backend) {
        Some(it) => format!("the drain of {pool}/{backend} was lifted by {}", it.who),
        None => format!("the drain of {pool}/{backend} has ended on {node}: see its audit log"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::args::{Arguments, Command};
    use super::*;

    fn drained(words: &[&str]) -> args::Drain {
        let words = ["ostler", "drain"].iter().chain(words);
        match Arguments::try_parse_from(words).unwrap().command {
            Some(Command::Drain(drain)) => drain,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn how_to_drain_is_written_as_the_api_takes_it() {
        let words = [
            "shop/a",
            "--deadline",
            "none",
            "--quiet",
            "5m",
            "--then",
            "cut",
            "--tunnels",
            "close",
        ];
        let expected = json!({"state": "drain", "force": false, "deadline": "none",
            "quiet": "5m", "then": "cut", "tunnels": "close"});
        assert_eq!(body(&drained(&words)).unwrap(), expected);
        assert_eq!(body(&drained(&["shop/a"])).unwrap(), json!({"state": "drain", "force": false}));
        for wrong in [["--deadline", "soon"], ["--quiet", "none"]] {
            let words = ["shop/a", wrong[0], wrong[1]];
            assert_eq!(body(&drained(&words)).unwrap_err().code(), 2, "{wrong:?}");
        }
    }

    #[test]
    fn what_is_waited_for_is_a_word_behind_an_equals_sign() {
        use args::WaitFor;
        assert_eq!(drained(&["shop/a"]).wait, None);
        assert_eq!(drained(&["--wait", "shop/a"]).wait, Some(WaitFor::Empty));
        assert_eq!(drained(&["shop/a", "--wait=deadline"]).wait, Some(WaitFor::Deadline));
        assert!(drained(&["shop/a", "--wait", "--strict"]).strict);
    }

    #[test]
    fn who_is_interrupted_learns_how_to_lift_the_drain() {
        let one = [("shop".to_owned(), "a".to_owned())];
        let options = drained(&["shop/a", "--this-node"]).mark.options;
        assert!(goes_on(&one, &options).contains("`ostler unmark shop/a --this-node`"));
        let options = drained(&["--address", "10.0.0.1"]).mark.options;
        assert!(goes_on(&one, &options).contains("`ostler unmark --address 10.0.0.1`"));
    }
}
