//! Pools that share a route.

use std::collections::HashMap;

use super::Object;
use super::check::{Check, Names};
use crate::config::defaults as d;
use crate::config::model::{Place, Share};
use crate::config::text::{At, List, PoolText, RouteText, ShareText};

/// The shares of a split route; none where one of them cannot be read.
pub(super) fn shares(
    object: &Object<RouteText>,
    list: &List<ShareText>,
    pools: &Names<'_, PoolText>,
    check: &mut Check<'_>,
) -> Option<Vec<Share>> {
    if list.value.is_empty() {
        if !object.broken {
            check
                .error("a split over no pool", &list.place())
                .hint("add { pool = \"…\", weight = 1 }");
        }
        return None;
    }
    let mut seen: HashMap<usize, Place> = HashMap::new();
    let mut shares = Vec::with_capacity(list.value.len());
    for entry in &list.value {
        let text = &entry.value;
        let weight = check.number("weight", text.weight.as_ref(), 0..=d::MAX_WEIGHT, d::WEIGHT);
        let Some(at) = &text.pool else {
            if !object.broken {
                check.error("a share without `pool`", &entry.place()).hint("add pool = \"…\"");
            }
            continue;
        };
        let Some(pool) = check.reference("pool", at, pools) else { continue };
        if let Some(first) = seen.get(&pool) {
            check
                .error(format!("pool \"{}\" stands here twice", at.value), &at.place())
                .also(first, "the first")
                .hint("give it one share of both weights");
            continue;
        }
        seen.insert(pool, at.place());
        shares.push(Share { pool, weight });
    }
    if shares.len() < list.value.len() {
        return None;
    }
    warn_of_nobody(list, &shares, check);
    Some(shares)
}

/// Only who is bound already is served where every weight is 0.
fn warn_of_nobody(list: &List<ShareText>, shares: &[Share], check: &mut Check<'_>) {
    if shares.iter().all(|share| share.weight == 0) {
        let first = list.value.iter().find_map(|entry| entry.value.weight.as_ref());
        let place = first.map_or_else(|| list.place(), At::place);
        check
            .warning("all weights of this split are 0: nobody new is served", &place)
            .hint("give one of its pools a weight above 0");
    }
}
