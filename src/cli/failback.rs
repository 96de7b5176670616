//! `ostler failback`: the lowest usable tier of a pool serves again.

use http::Method;
use serde_json::{Value, json};

use super::args;
use super::client::Places;
use super::fail::Fail;
use super::out;

/// Has the pool's lowest usable tier serve and says which one that is.
///
/// # Errors
/// That no lower tier is usable, what else the running process has against it, or that nobody
/// answers.
pub(super) fn failback(places: &Places, wish: &args::Failback) -> Result<(), Fail> {
    if wish.pool.contains('/') {
        let text = format!("`{}` is no pool: write `ostler failback POOL`", wish.pool);
        return Err(Fail::Usage(text));
    }
    let page = format!("/api/v1/pools/{}/failback", wish.pool);
    let body = json!({ "reason": wish.reason });
    let answer = places.ask(Method::POST, &page, Some(&body))?;
    if wish.json {
        return out::json(&answer);
    }
    let tier = |key| answer.get(key).and_then(Value::as_u64).unwrap_or_default();
    let pool = out::plain(&wish.pool);
    out::print(&format!("{pool}: tier {} serves, no more tier {}\n", tier("to"), tier("from")))
}
