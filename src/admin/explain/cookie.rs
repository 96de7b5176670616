//! Cookies that an operator has of a visitor: found in what was given, and opened.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::COOKIE;
use jiff::Timestamp;

use super::super::view::explain::{Binding, Opened};
use super::Request;
use crate::snapshot::{Pool, Snapshot};
use crate::sticky::{By, SEALED_LENGTH, Stickiness, Token};

/// Values that may be tokens: in the `Cookie` fields of the request, and in what was given beside
/// it: a value, `name=value`, or a whole line of `Cookie` or `Set-Cookie`.
pub(super) fn given(sticky: &Stickiness, request: &Request) -> Vec<String> {
    if *sticky.by() != By::Cookie {
        return Vec::new();
    }
    let fields = request.headers.get_all(COOKIE).filter_map(|field| field.to_str().ok());
    let mut found: Vec<String> = fields.flat_map(|field| candidates(sticky, field)).collect();
    if let Some(text) = &request.cookie {
        let more = candidates(sticky, text);
        // Whatever it is, the operator wants to know what is wrong with it.
        let whole = || vec![text.trim().to_owned()];
        found.extend(if more.is_empty() { whole() } else { more });
    }
    found
}

/// What a jar of curl's (`curl -c`) holds as a `Cookie` field would; other text as it is. A line of
/// a jar has seven fields between tabulators, of which the last two are name and value; one for
/// `HttpOnly` begins like a comment.
pub(super) fn out_of_jar(text: String) -> String {
    let pairs = text.lines().filter_map(|line| match *line.split('\t').collect::<Vec<_>>() {
        [_, _, _, _, _, name, value] => Some(format!("{name}={}", value.trim_end())),
        _ => None,
    });
    let pairs: Vec<String> = pairs.collect();
    if pairs.is_empty() { text } else { pairs.join("; ") }
}

fn candidates(sticky: &Stickiness, text: &str) -> Vec<String> {
    let line = text.trim();
    let without = |name: &str| {
        let (head, rest) = line.split_at_checked(name.len())?;
        head.eq_ignore_ascii_case(name).then_some(rest)
    };
    let line = without("set-cookie:").or_else(|| without("cookie:")).unwrap_or(line);
    let ours = [sticky.name(true), sticky.name(false)];
    let value = |piece: &str| match piece.split_once('=') {
        Some((name, value)) => {
            let value = value.trim();
            (ours.contains(&name.trim()) || value.len() == SEALED_LENGTH).then(|| value.to_owned())
        }
        None => (piece.trim().len() == SEALED_LENGTH).then(|| piece.trim().to_owned()),
    };
    line.split(';').filter_map(value).collect()
}

/// What a value says, or why it says nothing here.
pub(super) fn open(
    snapshot: &Snapshot,
    sticky: &Stickiness,
    value: &str,
    now: Timestamp,
) -> Opened {
    let key = key_id(value).map(|id| format!("{id:02x}"));
    match sticky.keys().open(sticky.scope().as_bytes(), value.as_bytes()) {
        Ok(token) => {
            let token = binding(snapshot, sticky, &token, now);
            Opened { key, problem: None, token: Some(token) }
        }
        Err(error) => Opened { key, problem: Some(error.to_string()), token: None },
    }
}

/// The second byte of a token names its key.
fn key_id(value: &str) -> Option<u8> {
    let start = value.as_bytes().first_chunk::<4>().filter(|_| value.len() == SEALED_LENGTH)?;
    let mut raw = [0; 3];
    URL_SAFE_NO_PAD.decode_slice(start, &mut raw).ok()?;
    let [_, id, _] = raw;
    Some(id)
}

fn binding(snapshot: &Snapshot, sticky: &Stickiness, token: &Token, now: Timestamp) -> Binding {
    let pool = snapshot.pools.iter().find(|pool| pool.hash == token.pool);
    let time = |seconds: u32| Timestamp::from_second(seconds.into()).unwrap_or(Timestamp::MAX);
    let left = |since: u32, limit: u32| {
        let end = i64::from(since).saturating_add(limit.into());
        u64::try_from(end.saturating_sub(now.as_second())).unwrap_or(0)
    };
    let look = token.is_look();
    Binding {
        session: format!("{:016x}", token.session),
        pool: pool.map_or_else(|| unknown(token.pool), |pool| pool.name.to_string()),
        backend: backend(snapshot, pool.map(|pool| &**pool), token.backend),
        home: backend(snapshot, pool.map(|pool| &**pool), token.home),
        first_seen: time(token.first_seen),
        last_seen: time(if look { token.first_seen } else { token.last_seen }),
        idle_left_seconds: left(token.last_seen, if look { 0 } else { sticky.idle() }),
        lifetime_left_seconds: sticky.lifetime().map(|limit| left(token.first_seen, limit)),
        look_until: look.then(|| time(token.last_seen)),
    }
}

/// A backend by its hash: in the token's pool, else, after a rename of the pool, in any.
fn backend(snapshot: &Snapshot, pool: Option<&Pool>, name: u64) -> String {
    let of = |pool: &Pool| {
        let member = pool.member_named(name).and_then(|index| pool.members.get(index))?;
        Some(member.backend.id.to_string())
    };
    match pool {
        Some(pool) => of(pool),
        None => snapshot.pools.iter().find_map(|pool| of(pool)),
    }
    .unwrap_or_else(|| unknown(name))
}

fn unknown(hash: u64) -> String {
    format!("unknown ({hash:016x})")
}
