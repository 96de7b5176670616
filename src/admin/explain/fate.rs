//! What would become of a visitor now: the decision of the request path, told in words.

use http::header::{COOKIE, HeaderName, HeaderValue};
use jiff::Timestamp;

use super::super::status::{policy_word, state_word};
use super::super::view::explain::Outcome;
use super::Request;
use crate::balance::Cursor;
use crate::snapshot::choice::{Choice, Selected, Tried, Visitor};
use crate::snapshot::forward::Forward;
use crate::snapshot::{Member, Pool, Snapshot};
use crate::sticky::{
    By, Memo, Presented, Stickiness, Token, cookie, prefix_hash, query_value, value_hash,
};
use crate::telemetry::counters::{MoveCause, StickyOutcome};

/// What the request says about its session.
///
/// # Errors
/// Why that cannot be known here.
pub(super) fn presented(
    sticky: Option<&Stickiness>,
    request: &Request,
    given: &[String],
    now: Timestamp,
) -> Result<Presented, &'static str> {
    let Some(sticky) = sticky else { return Ok(Presented::None) };
    let header = |name: &HeaderName| request.headers.get(name).map(HeaderValue::as_bytes);
    let value = match sticky.by() {
        By::Cookie => return Ok(token(sticky, request, given, now)),
        By::Header(name) | By::LearnHeader(name) => header(name).and_then(value_hash),
        By::Query(name) => {
            request.query.as_deref().and_then(|query| query_value(query, name)).and_then(value_hash)
        }
        By::AppCookie(name) | By::LearnCookie(name) => {
            let own = request.cookie.as_deref().map(str::as_bytes);
            let fields = header(&COOKIE).into_iter().chain(own);
            let mut values = fields.flat_map(|field| cookie::values(field, name.as_bytes()));
            values.find_map(value_hash)
        }
        By::Source { ipv4, ipv6 } => match request.client {
            Some(client) => Some(prefix_hash(client, *ipv4, *ipv6)),
            None => return Err("it is bound by the client's address: see --client"),
        },
    };
    Ok(value.map_or(Presented::None, Presented::Value))
}

/// The token that the request path would find among these values.
fn token(sticky: &Stickiness, request: &Request, given: &[String], now: Timestamp) -> Presented {
    let name = sticky.name(request.https);
    let seconds = seconds(now);
    let mut last = Presented::None;
    for value in given {
        let field = format!("{name}={value}");
        last = sticky.read([field.as_bytes()], request.https, seconds, &mut Memo::default());
        if !matches!(last, Presented::Invalid | Presented::None) {
            break;
        }
    }
    last
}

/// What would happen now.
pub(super) fn of(
    snapshot: &Snapshot,
    forward: &Forward,
    sticky: Option<&Stickiness>,
    presented: Presented,
    now: Timestamp,
) -> Outcome {
    let visitor = Visitor {
        presented,
        join: None,
        fresh: 0,
        now: seconds(now),
        // To even out a pool takes one of its moves, and nobody is moved here.
        plain: false,
        desperate: false,
        key: None,
        spill: false,
        called: false,
        evicted: None,
    };
    let Some(pool) = forward.choose(&visitor) else {
        return unknown(forward, "there is no pool");
    };
    let elsewhere = pool.elsewhere(sticky, &visitor).and_then(|at| snapshot.pools.get(at));
    if let Some(spare) = elsewhere.filter(|spare| spare.usable() > 0) {
        let (own, other) = (&pool.name, &spare.name);
        let why = format!("pool {own} has lost its quorum: who is new goes to {other}, unbound");
        return Outcome { pool: other.to_string(), ..unknown(forward, &why) };
    }
    let selected = pool.select(sticky, &visitor, &Tried::default(), &mut Cursor::new(0));
    let mut outcome = Outcome {
        pool: pool.name.to_string(),
        backend: None,
        token: None,
        outcome: None,
        cause: None,
        why: String::new(),
    };
    let id = |index: usize| pool.members.get(index).map(|it| it.backend.id.to_string());
    match selected {
        Err(reason) => {
            outcome.outcome = Some("refused".to_owned());
            outcome.why = format!("it is refused with reason {}", reason.as_str());
        }
        Ok(Selected::Wait(at)) => {
            outcome.backend = at.and_then(id);
            let whose = outcome.backend.as_deref().unwrap_or("any backend");
            outcome.why = format!("it waits for its turn at {whose}: max_requests is reached");
        }
        Ok(Selected::Now(choice)) => {
            outcome.token = choice.told.map(|told| told.token.as_str().to_owned());
            outcome.outcome = choice.told.map(|told| told.outcome.as_str().to_owned());
            outcome.cause =
                choice.told.and_then(|told| told.cause).map(|cause| cause.as_str().to_owned());
            let home = home(pool, visitor.token());
            if is_open(&choice, presented) {
                outcome.why = by_policy(forward, pool, presented);
                if forward.shares().len() > 1 {
                    "one of them".clone_into(&mut outcome.pool);
                }
            } else {
                outcome.backend = id(choice.member);
                outcome.why = why(snapshot, pool, &choice, home, presented);
            }
        }
    }
    outcome
}

/// Where something that is not known here decides.
pub(super) fn unknown(forward: &Forward, why: &str) -> Outcome {
    let pools: Vec<&str> = forward.shares().iter().map(|share| &*share.pool.name).collect();
    Outcome {
        pool: pools.join(", "),
        backend: None,
        token: None,
        outcome: None,
        cause: None,
        why: why.to_owned(),
    }
}

fn home<'a>(pool: &'a Pool, token: Option<&Token>) -> Option<&'a Member> {
    pool.member_named(token?.backend).and_then(|index| pool.members.get(index))
}

/// Whether the policy may pick another backend the next time.
fn is_open(choice: &Choice, presented: Presented) -> bool {
    let bound = choice.told.is_none_or(|told| told.outcome == StickyOutcome::Bound);
    bound && !matches!(presented, Presented::Value(_))
}

fn by_policy(forward: &Forward, pool: &Pool, presented: Presented) -> String {
    let session = match presented {
        Presented::Expired(_) => "its session has ended; ",
        Presented::Invalid => "its cookie is none of ours; ",
        _ => "",
    };
    if forward.shares().len() > 1 {
        return format!("{session}one of the pools by weight, then a backend by its policy");
    }
    let policy = policy_word(pool.policy);
    let open = super::share(pool, 1).usable;
    let of = pool.tier().map(|tier| format!(" of tier {tier}")).unwrap_or_default();
    match open.as_slice() {
        [only] => format!("{session}{only} is the only one{of} that takes anybody"),
        all => format!("{session}by policy {policy} among {}{of}", all.join(", ")),
    }
}

fn why(
    snapshot: &Snapshot,
    pool: &Pool,
    choice: &Choice,
    home: Option<&Member>,
    presented: Presented,
) -> String {
    if matches!(presented, Presented::Look(_)) {
        return "a token for a look: it reaches its backend whatever holds for visitors".to_owned();
    }
    let its = home.map_or_else(
        || "its backend".to_owned(),
        |home| format!("its backend {} ({})", home.backend.id, state_word(&home.backend)),
    );
    let Some(told) = choice.told else { return String::new() };
    match (told.outcome, told.cause) {
        (_, Some(MoveCause::Down)) => format!("{its} is down: the same session goes on here"),
        (_, Some(MoveCause::Maint)) => format!("{its} is in maint: the same session goes on here"),
        (_, Some(MoveCause::Removed)) => {
            let there = snapshot.pool(&pool.name).is_some();
            let of = if there { format!("pool {}", pool.name) } else { "the file".to_owned() };
            format!("{its} has left {of}: the same session goes on here")
        }
        (_, Some(MoveCause::Deadline)) => format!("the drain of {its} is over"),
        (_, Some(MoveCause::Quiet)) => format!("it was quiet for long enough while {its} drains"),
        (_, Some(MoveCause::Full)) => format!("{its} is full"),
        (_, Some(MoveCause::Rebalance)) => format!("{its} has more than its share"),
        (_, Some(MoveCause::Home)) if left_tier(pool, choice, home) => {
            format!("a lower tier than that of {its} serves again")
        }
        (_, Some(MoveCause::Home)) => "its home is well again".to_owned(),
        (StickyOutcome::Spilled, None) => format!("{its} is full: here this once"),
        (StickyOutcome::Bound, None) => "by the hash of its value".to_owned(),
        (_, None) if matches!(presented, Presented::Value(_)) => {
            format!("by its value: {}", stays(pool, choice))
        }
        (_, None) => format!("it is bound to it: {}", stays(pool, choice)),
    }
}

fn left_tier(pool: &Pool, choice: &Choice, home: Option<&Member>) -> bool {
    let to = pool.members.get(choice.member);
    home.zip(to).is_some_and(|(from, to)| from.backend.tier > to.backend.tier)
}

/// Why a backend that may drain still serves the visitor.
fn stays(pool: &Pool, choice: &Choice) -> String {
    let Some(member) = pool.members.get(choice.member) else { return String::new() };
    let word = state_word(&member.backend);
    if !member.backend.is_draining() {
        return format!("state {word}");
    }
    let until = member.backend.state.drain.deadline().map(i64::from);
    match until.and_then(|until| Timestamp::from_second(until).ok()) {
        Some(until) => format!("state {word}, the bound stay until {until}"),
        None => format!("state {word}, the bound stay"),
    }
}

fn seconds(time: Timestamp) -> u32 {
    u32::try_from(time.as_second()).unwrap_or(u32::MAX)
}
