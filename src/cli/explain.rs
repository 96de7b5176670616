//! `ostler explain`: where a request would go and why, without sending anything.

use std::fmt::Write as _;
use std::io::{self, Read as _};

use http::Method;
use jiff::Timestamp;
use serde_json::json;

use crate::admin::view::explain::{Binding, Explained, Opened, Outcome};

use super::args;
use super::client::{Places, understood};
use super::fail::Fail;
use super::out::{self, ago};

/// Bytes of a cookie that are read.
const MAX_COOKIE: u64 = 16 << 10;

/// Asks, and prints the answer in a few lines.
///
/// # Errors
/// What makes no sense in the request, or that nobody answers.
pub(super) fn explain(places: &Places, explain: &args::Explain) -> Result<(), Fail> {
    let mut headers = Vec::new();
    for field in &explain.headers {
        let Some((name, value)) = field.split_once(':') else {
            return Err(Fail::Usage(format!("`{field}` is no header: write 'name: value'")));
        };
        headers.push((name.trim(), value.trim()));
    }
    let mut body = json!({"method": explain.method, "url": explain.url, "headers": headers});
    if let (Some(client), Some(members)) = (explain.client, body.as_object_mut()) {
        members.insert("client".to_owned(), json!(client));
    }
    if let (Some(from), Some(members)) = (&explain.cookie, body.as_object_mut()) {
        if from != "-" {
            let text = "a cookie is read from standard input, where no history keeps it: write \
                        --cookie -";
            return Err(Fail::Usage(text.to_owned()));
        }
        let mut text = String::new();
        io::stdin().lock().take(MAX_COOKIE).read_to_string(&mut text)?;
        members.insert("cookie".to_owned(), json!(text.trim()));
    }
    let answer = places.ask(Method::POST, "/api/v1/explain", Some(&body))?;
    if explain.json {
        return out::json(&answer);
    }
    out::print(&page(&understood(answer)?, Timestamp::now()))
}

fn page(explained: &Explained, now: Timestamp) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<9} {}", out::plain(value));
    };
    line("listener", explained.listener.as_deref().unwrap_or("none"));
    if let Some(note) = &explained.listener_note {
        line("", note);
    }
    line("route", explained.route.as_deref().unwrap_or("none"));
    explained.unmet.iter().for_each(|other| line("", other));
    let Explained { route_note, access, rate, auth, .. } = explained;
    for (name, told) in [("", route_note), ("access", access), ("rate", rate), ("auth", auth)] {
        if let Some(told) = told {
            line(name, told);
        }
    }
    line("action", &explained.action);
    for share in &explained.pools {
        let weight = match explained.pools.len() {
            1 => String::new(),
            _ => format!(" (weight {})", share.weight),
        };
        let usable: Vec<&str> = share.usable.iter().map(String::as_str).collect();
        let (usable, policy) = (out::listed(&usable), &share.policy);
        line("pool", &format!("{}{weight}: {policy} among {usable}", share.pool));
    }
    if let Some(session) = &explained.session {
        line("sessions", &format!("by {}, scope {}", session.by, session.scope));
        for cookie in &session.cookies {
            let [first, rest @ ..] = &*cookie_lines(cookie, now) else { continue };
            line("cookie", first);
            for more in rest {
                line("", more);
            }
        }
    }
    if let Some(outcome) = &explained.now {
        line("now", &outcome_line(outcome));
    }
    text
}

fn cookie_lines(cookie: &Opened, now: Timestamp) -> Vec<String> {
    let key = cookie.key.as_ref().map_or_else(String::new, |key| format!(", key {key}"));
    let Some(token) = &cookie.token else {
        let problem = cookie.problem.as_deref().unwrap_or("it cannot be opened");
        return vec![format!("{problem}{key}")];
    };
    let Binding { session, pool, backend, home, .. } = token;
    let at_home = if home == backend { String::new() } else { format!(" (home {home})") };
    let begun = ago(token.first_seen, now);
    if let Some(until) = token.look_until {
        let until = format!("made {begun} ago, holds until {until}");
        return vec![format!("a look at {pool}/{backend}{key}"), until];
    }
    let left = |seconds: u64| match seconds {
        0 => "over".to_owned(),
        seconds => format!("in {}", out::rough(seconds)),
    };
    let lifetime = token
        .lifetime_left_seconds
        .map_or_else(String::new, |seconds| format!("; lifetime ends {}", left(seconds)));
    vec![
        format!("session {session} bound to {pool}/{backend}{at_home}{key}"),
        format!("begun {begun} ago, written {} ago", ago(token.last_seen, now)),
        format!("idle time ends {}{lifetime}", left(token.idle_left_seconds)),
    ]
}

fn outcome_line(outcome: &Outcome) -> String {
    let whom = outcome.backend.as_ref().map(|id| format!("{}/{id}", outcome.pool));
    let words: Vec<&str> = [&outcome.token, &outcome.outcome, &outcome.cause]
        .into_iter()
        .filter_map(|word| word.as_deref())
        .collect();
    let words = if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) };
    format!("{}{words}: {}", whom.unwrap_or_else(|| format!("pool {}", outcome.pool)), outcome.why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_visitor_is_told_in_a_few_lines() {
        let explained: Explained = serde_json::from_value(json!({"listener": "web",
            "listener_note": null, "route": "shop", "access": "deny 10.66.0.0/16",
            "route_note": "for clients in 10.0.0.0/8 route office: see --client",
            "rate": "10/m by client_ip, 5 at once; beyond it 429, reason rate_limited",
            "unmet": ["not route beta, which asks for header x-beta"],
            "auth": "basic_auth, one user", "action": "forward to pool shop",
            "pools": [{"pool": "shop", "weight": 1, "policy": "least-request", "usable": ["a"]}],
            "session": {"by": "cookie", "scope": "shop", "cookies": [
                {"key": "4b", "problem": null, "token": {"session": "0000000000000007",
                "pool": "shop", "backend": "b", "home": "a", "idle_left_seconds": 1700,
                "lifetime_left_seconds": null, "look_until": null,
                "first_seen": "2026-11-24T09:58:00Z", "last_seen": "2026-11-24T09:59:00Z"}},
                {"key": null, "problem": "not a token", "token": null}]},
            "now": {"pool": "shop", "backend": "a", "token": "down", "outcome": "moved",
                "cause": "maint", "why": "its backend b is in maint"}}))
        .unwrap();
        let text = page(&explained, "2026-11-24T10:00:00Z".parse().unwrap());
        let wanted = "listener  web\n\
            route     shop\n          \
            not route beta, which asks for header x-beta\n          \
            for clients in 10.0.0.0/8 route office: see --client\n\
            access    deny 10.66.0.0/16\n\
            rate      10/m by client_ip, 5 at once; beyond it 429, reason rate_limited\n\
            auth      basic_auth, one user\n\
            action    forward to pool shop\n\
            pool      shop: least-request among a\n\
            sessions  by cookie, scope shop\n\
            cookie    session 0000000000000007 bound to shop/b (home a), key 4b\n          \
            begun 2m 0s ago, written 1m 0s ago\n          \
            idle time ends in 29m\n\
            cookie    not a token\n\
            now       shop/a (down, moved, maint): its backend b is in maint\n";
        assert_eq!(text, wanted);
    }
}
