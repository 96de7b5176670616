//! `ostler token`: a short-lived cookie that reaches a backend even in drain or maint.

use http::Method;
use jiff::Timestamp;
use serde_json::json;

use crate::admin::view;
use crate::admin::view::explain::Look;

use super::args;
use super::client::Places;
use super::fail::Fail;
use super::out;

/// Prints the cookies as `curl -b` takes them, one line for each scope, and beside the output
/// until when they hold.
///
/// # Errors
/// What the running process has against it, or that nobody answers.
pub(super) fn token(places: &Places, token: &args::Token) -> Result<(), Fail> {
    let (pool, backend) = out::backend(&token.target)?;
    let mut body = json!({"pool": pool, "backend": backend});
    if let (Some(time), Some(members)) = (&token.time, body.as_object_mut()) {
        view::mark_time(time).map_err(|problem| Fail::Usage(format!("--for: {problem}")))?;
        members.insert("for".to_owned(), json!(time));
    }
    let answer = places.ask(Method::POST, "/api/v1/token", Some(&body))?;
    if token.json {
        return out::json(&answer);
    }
    let look: Look = super::client::understood(answer)?;
    out::print(&lines(&look))?;
    let left = look.until.as_second().saturating_sub(Timestamp::now().as_second());
    let left = out::rough(u64::try_from(left).unwrap_or(0));
    out::note(&format!("reaches {pool}/{backend} for {left}, whatever holds for visitors"));
    Ok(())
}

/// Both names in one line: each side takes the one that its scheme has.
fn lines(look: &Look) -> String {
    let line = |https: &view::explain::Cookie, http: &view::explain::Cookie| {
        format!("{}={}; {}={}\n", https.name, https.value, http.name, http.value)
    };
    look.tokens.iter().map(|token| line(&token.https, &token.http)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_one_line_for_curl() {
        let look: Look = serde_json::from_value(json!({"pool": "shop", "backend": "a",
            "until": "2026-11-24T10:00:00Z", "tokens": [{"scope": "shop",
            "https": {"name": "__Host-ostler-shop", "value": "x"},
            "http": {"name": "ostler-shop", "value": "y"}}]}))
        .unwrap();
        assert_eq!(lines(&look), "__Host-ostler-shop=x; ostler-shop=y\n");
    }
}
