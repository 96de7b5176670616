//! How many backends a pool must have to take new visitors, and who takes them else.

use super::Object;
use super::check::{Check, Names};
use crate::config::defaults as d;
use crate::config::model::{Pool, Quorum};
use crate::config::text::{At, PoolText, QuorumText};

/// Gives each pool its quorum. `pools` are the models of `objects`.
pub(super) fn quorums(objects: &[Object<PoolText>], pools: &mut [Pool], check: &mut Check<'_>) {
    let names = Names::new(objects);
    for (index, (object, pool)) in objects.iter().zip(pools.iter_mut()).enumerate() {
        let Some(at) = &object.text.quorum else { continue };
        pool.quorum = quorum(object, at, &names, check);
        let Some(quorum) = pool.quorum else { continue };
        let place = at.value.pool.as_ref().map_or_else(|| object.place.clone(), At::place);
        if quorum.pool == index {
            check
                .error(format!("the quorum of pool \"{}\" leads to itself", object.name), &place)
                .hint("name another pool, which takes new visitors meanwhile");
        }
        let count = pool.backends.len();
        if quorum.again > count && !object.broken {
            check
                .warning(
                    format!(
                        "the quorum of pool \"{}\" wants {} backends, but it has {count}",
                        object.name, quorum.again
                    ),
                    &place,
                )
                .hint("once it is lost, new visitors never come back");
        }
    }
}

fn quorum(
    object: &Object<PoolText>,
    at: &At<QuorumText>,
    names: &Names<'_, PoolText>,
    check: &mut Check<'_>,
) -> Option<Quorum> {
    let text = &at.value;
    let place = if at.span.is_empty() { object.place.clone() } else { at.place() };
    let (Some(least), Some(pool)) = (&text.min, &text.pool) else {
        if !object.broken {
            check
                .error("a quorum without `min` or `pool`", &place)
                .hint("quorum = { min = 2, again = 3, pool = \"spare\" }");
        }
        return None;
    };
    let range = 1..=d::MAX_QUORUM;
    let min = check.number("min", Some(least), range.clone(), 1);
    let again = check.number("again", text.again.as_ref(), range, min);
    if again < min {
        let place = text.again.as_ref().map_or(place, At::place);
        check
            .error(format!("again = {again} is less than min = {min}"), &place)
            .hint("a quorum that is there again at once would be lost again at once");
    }
    Some(Quorum { min, again, pool: check.reference("pool", pool, names)? })
}
