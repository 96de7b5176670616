//! What a pool does about backends that fail: ejection, slow start, and where its requests go.

use std::time::Duration;

use super::Object;
use super::check::{Check, Names};
use super::route::respond;
use crate::config::defaults as d;
use crate::config::model::{Concurrency, Ejection, Failback, Place, Pool, WhenAllDown};
use crate::config::text::{
    AllDownText, AllDownWord, At, ConcurrencyText, ConcurrencyWord, EjectionFailureWord,
    EjectionText, FailbackWord, PoolText, WordOr,
};
use crate::config::unit::Time;

/// A time that has no bounds but its largest; `"0s"` and `"none"` are none.
pub(super) fn slow_start(at: Option<&At<Time>>, check: &mut Check<'_>) -> Option<Duration> {
    check.at_most("slow_start", at, d::MAX_SLOW_START);
    at?.value.0.filter(|window| !window.is_zero())
}

/// Without the key its defaults hold.
pub(super) fn ejection(object: &Object<PoolText>, check: &mut Check<'_>) -> Option<Ejection> {
    let silent = EjectionText::default();
    let text = match object.text.ejection.as_ref().map(|at| &at.value) {
        Some(WordOr::Word(_)) => return None,
        Some(WordOr::Table(text)) => text,
        None => &silent,
    };
    if let Some(list) = text.on.as_ref().filter(|list| list.value.is_empty() && !object.broken) {
        check
            .error("an ejection on no failure", &list.place())
            .hint("to eject nobody write ejection = \"off\"");
    }
    let on = |word: EjectionFailureWord| match &text.on {
        Some(list) => list.value.iter().any(|at| at.value == word),
        None => word != EjectionFailureWord::Status5xx,
    };
    check.at_most("base", text.base.as_ref(), d::MAX_EJECTION_BASE);
    let percent = text.max_ejected.as_ref().and_then(|at| u8::try_from(at.value.0).ok());
    Some(Ejection {
        connect: on(EjectionFailureWord::Connect),
        reset: on(EjectionFailureWord::Reset),
        timeout: on(EjectionFailureWord::Timeout),
        status_5xx: on(EjectionFailureWord::Status5xx),
        consecutive: check.number(
            "consecutive",
            text.consecutive.as_ref(),
            1..=d::MAX_EJECTION_CONSECUTIVE,
            d::EJECTION_CONSECUTIVE,
        ),
        base: check.finite("base", text.base.as_ref(), d::MIN_EJECTION_BASE, d::EJECTION_BASE),
        max_ejected: percent.unwrap_or(d::EJECTION_MAX_EJECTED),
    })
}

/// Within the default bounds where the file has none; without the key there is no such limit.
pub(super) fn concurrency(
    at: Option<&At<WordOr<ConcurrencyWord, ConcurrencyText>>>,
    check: &mut Check<'_>,
) -> Option<Concurrency> {
    let silent = ConcurrencyText::default();
    let text = match &at?.value {
        WordOr::Word(ConcurrencyWord::Off) => return None,
        WordOr::Word(ConcurrencyWord::Adaptive) => &silent,
        WordOr::Table(text) => text,
    };
    let range = 1..=d::MAX_REQUESTS;
    let max = check.number("max", text.max.as_ref(), range.clone(), d::CONCURRENCY_MAX);
    let min = check.number("min", text.min.as_ref(), range, d::CONCURRENCY_MIN.min(max));
    if let Some(at) = text.min.as_ref().filter(|_| min > max) {
        check
            .error(format!("min = {min} is above max = {max}"), &at.place())
            .hint("the limit moves between the two");
    }
    Some(Concurrency { min, max })
}

/// Without the key: at once.
pub(super) fn failback(object: &Object<PoolText>, check: &mut Check<'_>) -> Failback {
    let Some(at) = &object.text.failback else { return Failback::Auto };
    match &at.value {
        WordOr::Word(FailbackWord::Auto) => Failback::Auto,
        WordOr::Word(FailbackWord::Manual) => Failback::Manual,
        WordOr::Word(FailbackWord::NewSessions) => Failback::NewSessions,
        WordOr::Table(text) => {
            if text.after.is_none() && !object.broken {
                let place = if at.span.is_empty() { object.place.clone() } else { at.place() };
                check
                    .error("failback that does not say `after`", &place)
                    .hint("\"auto\", \"manual\", \"new-sessions\" or { after = \"5m\" }");
            }
            check.at_most("after", text.after.as_ref(), d::MAX_FAILBACK);
            let least = d::MIN_FAILBACK;
            Failback::After(check.finite("after", text.after.as_ref(), least, d::FAILBACK))
        }
    }
}

/// Says of each pool what happens while it has no usable backend. `pools` are the models of
/// `objects`.
pub(super) fn when_all_down(
    objects: &[Object<PoolText>],
    pools: &mut [Pool],
    check: &mut Check<'_>,
) {
    let names = Names::new(objects);
    for (object, pool) in objects.iter().zip(pools.iter_mut()) {
        let Some(at) = &object.text.when_all_down else { continue };
        pool.when_all_down = match &at.value {
            WordOr::Word(AllDownWord::Fail) => WhenAllDown::Fail,
            WordOr::Word(AllDownWord::TryAll) => WhenAllDown::TryAll,
            WordOr::Table(text) => {
                // What could not be read is a mistake already.
                table(object, at.place(), text, &names, check).unwrap_or(WhenAllDown::Fail)
            }
        };
    }
    circles(objects, pools, check);
}

fn table(
    object: &Object<PoolText>,
    place: Place,
    text: &AllDownText,
    names: &Names<'_, PoolText>,
    check: &mut Check<'_>,
) -> Option<WhenAllDown> {
    match (&text.pool, &text.respond) {
        (Some(pool), None) => check.reference("pool", pool, names).map(WhenAllDown::Pool),
        (None, Some(at)) => {
            Some(WhenAllDown::Respond(respond(&at.value, d::ALL_DOWN_STATUS, check)))
        }
        (Some(pool), Some(at)) => {
            check
                .error("when_all_down by both `pool` and `respond`", &at.place())
                .also(&pool.place(), "this one stands already")
                .hint("keep one; the other pool may respond when it is down too");
            None
        }
        (None, None) => {
            if !object.broken {
                // A table that is written by a header of its own has no place.
                let place = if place.span.is_empty() { object.place.clone() } else { place };
                check
                    .error("when_all_down that says neither `pool` nor `respond`", &place)
                    .hint("\"fail\", \"try-all\", { pool = \"…\" } or { respond = { … } }");
            }
            None
        }
    }
}

/// Each circle of pools that fall back to each other is one error, at the first of them in the
/// file.
fn circles(objects: &[Object<PoolText>], pools: &[Pool], check: &mut Check<'_>) {
    let next: Vec<Option<usize>> = pools
        .iter()
        .map(|pool| match pool.when_all_down {
            WhenAllDown::Pool(next) => Some(next),
            _ => None,
        })
        .collect();
    // By whose walk each pool was first met: each is met once, however long the chains are.
    let mut met: Vec<Option<usize>> = vec![None; pools.len()];
    for start in 0..pools.len() {
        let mut at = Some(start);
        while let Some(here) = at {
            let Some(by) = met.get_mut(here) else { break };
            match *by {
                None => *by = Some(start),
                Some(walk) if walk == start => {
                    circle(objects, here, &next, check);
                    break;
                }
                Some(_) => break,
            }
            at = next.get(here).copied().flatten();
        }
    }
}

/// Names a circle, beginning with the first of its pools in the file.
fn circle(
    objects: &[Object<PoolText>],
    from: usize,
    next: &[Option<usize>],
    check: &mut Check<'_>,
) {
    let after = |at: &usize| next.get(*at).copied().flatten();
    let mut around: Vec<usize> = vec![from];
    around.extend(std::iter::successors(after(&from), after).take_while(|at| *at != from));
    let first = around.iter().enumerate().min_by_key(|(_, pool)| **pool).map(|(at, _)| at);
    around.rotate_left(first.unwrap_or(0));
    let objects: Vec<_> = around.iter().filter_map(|pool| objects.get(*pool)).collect();
    let (Some(first), Some(last)) = (objects.first(), objects.last()) else { return };
    let message = if objects.len() == 1 {
        format!("pool \"{}\" falls back to itself", first.name)
    } else {
        let names: Vec<_> =
            objects.iter().chain([first]).map(|object| format!("\"{}\"", object.name)).collect();
        format!("pools fall back to each other in a circle: {}", names.join(" to "))
    };
    let (place, back) = (named(first), named(last));
    let mistake = check.error(message, &place);
    if back != place {
        mistake.also(&back, "and this leads back");
    }
    mistake.hint(format!("for pool \"{}\" write when_all_down = \"fail\"", last.name));
}

/// Where a pool names the one it falls back to.
fn named(object: &Object<PoolText>) -> Place {
    let pool = object.text.when_all_down.as_ref().and_then(|at| match &at.value {
        WordOr::Table(text) => text.pool.as_ref(),
        WordOr::Word(_) => None,
    });
    pool.map_or_else(|| object.place.clone(), At::place)
}
