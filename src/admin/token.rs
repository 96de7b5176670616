//! Cookies that reach one backend even in drain or maint: for a look at it before `ready`.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::answer::refusal;
use super::facts::Facts;
use super::view;
use super::view::explain::{Cookie, Look, LookToken};
use crate::event::{Actor, Refusal};
use crate::snapshot::{Action, Pool, Snapshot};
use crate::sticky::{By, Stickiness, Token};

/// How long a cookie holds when it is not said.
const DEFAULT: Duration = Duration::from_mins(10);
/// It passes by what operators have marked: it must not lie around.
const MOST: Duration = Duration::from_hours(1);

/// What the page takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    pool: String,
    backend: String,
    r#for: Option<String>,
}

/// Makes the cookies, and has the log say who asked.
///
/// # Errors
/// Where there is no such backend, where its pool keeps nobody by cookie, or where the body makes
/// no sense.
pub(super) fn make(facts: &Facts, actor: &Actor, body: &[u8]) -> Result<Value, Refusal> {
    let asked: Asked = serde_json::from_slice(body)
        .map_err(|error| refusal(400, format!("the body asks for no token: {error}")))?;
    let time = match asked.r#for.as_deref().map(view::mark_time).transpose() {
        Ok(time) => time.unwrap_or(DEFAULT),
        Err(error) => return Err(refusal(422, format!("`for`: {error}"))),
    };
    if time > MOST {
        return Err(refusal(422, "`for`: a token holds for an hour at most"));
    }
    let snapshot = facts.current.load();
    let look = look(&snapshot, &asked.pool, &asked.backend, Timestamp::now(), time)?;
    let (who, subject) = (actor.0.as_str(), format!("{}/{}", look.pool, look.backend));
    tracing::info!(target: "audit", who, what = "token", subject, until = %look.until);
    serde_json::to_value(look)
        .map_err(|error| refusal(500, format!("the token cannot be written: {error}")))
}

fn look(
    snapshot: &Snapshot,
    pool: &str,
    backend: &str,
    now: Timestamp,
    time: Duration,
) -> Result<Look, Refusal> {
    let Some(pool) = snapshot.pool(pool) else {
        return Err(refusal(404, format!("there is no pool {pool}")));
    };
    let Some(member) = pool.member(backend) else {
        return Err(refusal(404, format!("pool {} has no backend {backend}", pool.name)));
    };
    let scopes = scopes(snapshot, pool);
    if scopes.is_empty() {
        return Err(refusal(422, format!("pool {} keeps no sessions by cookie", pool.name)));
    }
    let seconds = |time: Timestamp| u32::try_from(time.as_second()).unwrap_or(u32::MAX);
    let until = now.checked_add(time).unwrap_or(Timestamp::MAX);
    let random = SystemRandom::new();
    let no_randomness = |_| refusal(500, "the system has no randomness");
    let mut tokens = Vec::new();
    for sticky in scopes {
        let mut session = [0; 8];
        random.fill(&mut session).map_err(no_randomness)?;
        let session = u64::from_ne_bytes(session);
        let token =
            Token::look(session, pool.hash, member.backend.name, seconds(now), seconds(until));
        let cookie = |https: bool| {
            let mut nonce = [0; 12];
            random.fill(&mut nonce).map_err(no_randomness)?;
            let sealed = sticky.keys().seal(sticky.scope().as_bytes(), &token, nonce);
            Ok(Cookie { name: sticky.name(https).to_owned(), value: sealed.as_str().to_owned() })
        };
        let (https, http) = (cookie(true)?, cookie(false)?);
        tokens.push(LookToken { scope: sticky.scope().to_owned(), https, http });
    }
    let (pool, backend) = (pool.name.to_string(), member.backend.id.to_string());
    Ok(Look { pool, backend, until, tokens })
}

/// Every way in which a pool's visitors are kept by cookie: its own, and those of routes that bind
/// in a scope of theirs.
fn scopes<'a>(snapshot: &'a Snapshot, pool: &'a Pool) -> Vec<&'a Arc<Stickiness>> {
    let forwards = snapshot.routes.iter().filter_map(|route| match &route.action {
        Action::Forward(forward) => Some(forward),
        Action::Redirect(_) | Action::Respond(_) => None,
    });
    let of_pool = forwards
        .filter(|forward| forward.shares().iter().any(|share| share.pool.slot == pool.slot));
    let all = of_pool.filter_map(|forward| forward.sticky()).chain(&pool.sticky);
    let mut found: Vec<&Arc<Stickiness>> = Vec::new();
    for sticky in all.filter(|sticky| *sticky.by() == By::Cookie) {
        if !found.iter().any(|other| other.domain() == sticky.domain()) {
            found.push(sticky);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::tests::facts;
    use super::*;

    fn made(body: &str) -> Result<Look, u16> {
        let actor = Actor("uid 0".to_owned());
        let made = make(&facts(), &actor, body.as_bytes()).map_err(|refused| refused.status)?;
        Ok(serde_json::from_value(made).unwrap())
    }

    #[test]
    fn a_look_opens_where_it_is_for_and_ends() {
        let look = made(r#"{"pool": "shop", "backend": "b", "for": "5m"}"#).unwrap();
        assert_eq!(look.tokens.len(), 1);
        let left = look.until.as_second() - Timestamp::now().as_second();
        assert!((298..=300).contains(&left), "{left}");
        let facts = facts();
        let snapshot = facts.current.load();
        let pool = &snapshot.pools[0];
        let sticky = pool.sticky.as_ref().unwrap();
        let value = look.tokens[0].http.value.as_bytes();
        let token = sticky.keys().open(sticky.scope().as_bytes(), value).unwrap();
        assert!(token.is_look() && pool.member_named(token.backend) == Some(1));
        assert_eq!(look.tokens[0].https.name, "__Host-ostler-shop");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (body, status) in [
            (r#"{"pool": "none", "backend": "b"}"#, 404),
            (r#"{"pool": "shop", "backend": "none"}"#, 404),
            (r#"{"pool": "shop", "backend": "b", "for": "2h"}"#, 422),
            (r#"{"pool": "shop", "backend": "b", "for": "none"}"#, 422),
            (r#"{"pool": "shop"}"#, 400),
        ] {
            assert_eq!(made(body), Err(status), "{body}");
        }
    }
}
