//! A request for each of a million sessions, and what the program says, holds and spends at it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::rand;
use ostler::config::model::SecretKey;
use ostler::sticky::KeyRing;

use super::farm;
use super::process::{self, Ostler, Told, pause};
use super::visitors::{BACKENDS, Clients, SMALL, Visitors, home};

/// Where it is read how things are, and at the end.
const POINTS: [u32; 4] = [10_000, 100_000, 200_000, 500_000];
/// Up to so many every count is exact.
const EXACT: u32 = 100_000;
/// All of it is over by then, or fails.
const LIMIT: Duration = Duration::from_mins(10);
/// Requests without a session that come first: connections, buffers and pages of code are there
/// before memory is read for the first time.
const WARM: u32 = 20_000;
/// Sweeps come once a second.
const SWEPT: Duration = Duration::from_millis(1600);
/// While sessions are added none may end.
const LONG: &str = "30m";
/// While a backend is drained they end soon.
const SHORT: (&str, Duration) = ("30s", Duration::from_secs(30));
/// A second that has begun counts as one, and so does a sweep.
const ROUNDED: Duration = Duration::from_secs(3);

/// How things are at one point.
struct Point {
    sessions: u32,
    told: Vec<Told>,
    /// KiB.
    memory: u32,
    /// Microseconds of CPU for each request since the point before; none where there was none.
    each: Option<f64>,
}

/// Measures so many sessions, with ids from this seed, and prints a table.
pub(super) fn million(sessions: u32, seed: u64) -> Result<()> {
    let end = Instant::now() + LIMIT;
    let mut key = [0; 32];
    rand::fill(&mut key).ok().context("the system has no randomness")?;
    let visitors = Visitors { ring: KeyRing::new(&[SecretKey(key)])?, seed };
    let ostler = Ostler::start(farm::start(&BACKENDS)?, &key, LONG)?;
    super::say(&format!("{} serves on {}", process::program().display(), ostler.web));
    let mut clients = Clients::connect(ostler.web, end)?;
    let measured = add(&ostler, &visitors, &mut clients, sessions)
        .and_then(|(points, last)| Ok((points, drain(&ostler, &visitors, &mut clients, last)?)));
    let (points, drained) = measured.with_context(|| format!("ostler said: {}", ostler.said()))?;
    super::print(&format!("{}\n{drained}", table(&points)))
}

/// Adds sessions from point to point; gives what was seen there, and when the last one was added.
fn add(
    ostler: &Ostler,
    visitors: &Visitors,
    clients: &mut Clients,
    sessions: u32,
) -> Result<(Vec<Point>, Added)> {
    clients.pass_by(WARM)?;
    let mut points = vec![read(ostler, 0, None)?];
    let mut added = Added { sessions: 0, last: Instant::now() };
    for to in POINTS.into_iter().filter(|point| *point < sessions).chain([sessions]) {
        let who: Vec<u32> = (added.sessions..to).collect();
        let before = ostler.busy()?;
        clients.visit(visitors, &who)?;
        let spent = ostler.busy()?.saturating_sub(before);
        added = Added { sessions: to, last: Instant::now() };
        let each = Duration::from_nanos(spent).as_secs_f64() * 1e6 / count(who.len())?;
        let point = read(ostler, to, Some(each))?;
        let right = |(told, truth): (&Told, u32)| told.exact && told.sessions == truth;
        ensure!(
            to > EXACT || point.told.iter().zip(truths(to)).all(right),
            "of {to} sessions it says {:?}",
            point.told
        );
        points.push(point);
        super::say(&format!("{to} sessions"));
    }
    Ok((points, added))
}

/// How far it is.
#[derive(Clone, Copy)]
struct Added {
    sessions: u32,
    /// When the last request was answered.
    last: Instant,
}

fn read(ostler: &Ostler, sessions: u32, each: Option<f64>) -> Result<Point> {
    pause(SWEPT);
    Ok(Point { sessions, told: ostler.told()?, memory: ostler.memory()?, each })
}

/// Drains the backend that has the fewest, and looks on until it is empty.
fn drain(
    ostler: &Ostler,
    visitors: &Visitors,
    clients: &mut Clients,
    added: Added,
) -> Result<String> {
    let who: Vec<u32> = (0..added.sessions).filter(|it| home(*it) == SMALL).collect();
    let truth = u32::try_from(who.len())?;
    let small = |told: Vec<Told>| told.get(SMALL).copied().context("the last backend is not told");
    let (idle, idle_time) = SHORT;
    ostler.set_idle(idle)?;
    ostler.drain(BACKENDS.get(SMALL).context("a farm without a last backend")?)?;
    pause(SWEPT);
    super::say("the drain has begun");
    // All come once more at once. Some that it did not know were here within the idle time, so it
    // may be sure of nothing yet.
    clients.visit(visitors, &who)?;
    pause(SWEPT);
    let early = small(ostler.told()?)?;
    // The idle time after the last one of those it must be.
    while added.last.elapsed() < idle_time + ROUNDED {
        pause(Duration::from_millis(100));
    }
    clients.visit(visitors, &who)?;
    let last = Instant::now();
    pause(SWEPT);
    let late = small(ostler.told()?)?;
    ensure!(
        late.exact && late.sessions == truth,
        "{truth} sessions are on the backend that drains, and it says {late:?}"
    );
    super::say("waiting until the drained backend is empty");
    // Nobody comes any more.
    let quiet = loop {
        let quiet = last.elapsed();
        let told = small(ostler.told()?)?;
        if told.sessions == 0 && told.empty {
            break quiet;
        }
        ensure!(quiet < 2 * idle_time + ROUNDED, "it does not become empty: {told:?}");
        pause(Duration::from_millis(50));
    };
    ensure!(quiet >= idle_time, "it said 0 when a session was seen {quiet:?} before");
    Ok(format!(
        "\nDrained backend, of {truth} sessions, with idle = {idle}:\n\
         - {} ({} %, {}) when each had come once more right after the drain began\n\
         - {} (exact) when each had come once more and the idle time had passed since the drain \
         began\n\
         - 0 and empty {:.1} s after the last request; none of its sessions was younger than {idle}",
        early.sessions,
        error(early.sessions, truth),
        if early.exact { "exact" } else { "an estimate" },
        late.sessions,
        quiet.as_secs_f64(),
    ))
}

/// All points, as a table of Markdown.
fn table(points: &[Point]) -> String {
    let errors = BACKENDS.map(|name| format!("{name} error %")).join(" | ");
    let columns = "---:|".repeat(BACKENDS.len());
    let mut lines = vec![
        format!(
            "| sessions | told | exact | error % | {errors} | resident MiB | bytes a session | \
             CPU µs/req |"
        ),
        format!("|---:|---:|:---:|---:|{columns}---:|---:|---:|"),
    ];
    let before = points.first().map_or(0, |point| point.memory);
    lines.extend(points.iter().map(|point| line(point, before)));
    lines.join("\n")
}

/// A line of it; `before`: resident KiB without a session.
fn line(point: &Point, before: u32) -> String {
    let told = point.told.iter().map(|told| told.sessions).sum();
    let exact = if point.told.iter().all(|told| told.exact) { "yes" } else { "no" };
    let truths = truths(point.sessions);
    let each = point.told.iter().zip(truths).map(|(told, truth)| error(told.sessions, truth));
    let errors = each.collect::<Vec<_>>().join(" | ");
    let resident = f64::from(point.memory) / 1024.0;
    let grown = (f64::from(point.memory) - f64::from(before)) * 1024.0;
    let bytes = (point.sessions > 0).then(|| grown / f64::from(point.sessions));
    let (all, bytes, spent) = (error(told, point.sessions), or_dash(bytes), or_dash(point.each));
    let sessions = point.sessions;
    format!(
        "| {sessions} | {told} | {exact} | {all} | {errors} | {resident:.1} | {bytes} | {spent} |"
    )
}

/// How many of so many sessions each backend has.
fn truths(sessions: u32) -> [u32; BACKENDS.len()] {
    let mut truths = [0; BACKENDS.len()];
    for visitor in 0..sessions {
        if let Some(truth) = truths.get_mut(home(visitor)) {
            *truth += 1;
        }
    }
    truths
}

/// How far what was told is from the truth, in percent of it.
fn error(told: u32, truth: u32) -> String {
    if told == truth {
        return "0".to_owned();
    }
    let (told, truth) = (f64::from(told), f64::from(truth));
    format!("{:+.2}", (told - truth) / truth * 100.0)
}

fn or_dash(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.1}"))
}

fn count(number: usize) -> Result<f64> {
    Ok(f64::from(u32::try_from(number)?))
}
