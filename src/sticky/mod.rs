//! How a pool knows its visitors again: read the token, judge its age, write the cookie.
// What a client or a backend brings by itself (a header, a query, an application's cookie) is a
// value: its hash stands for the session, and there is nothing to write.

mod cacheable;
pub mod cookie;
pub mod count;
mod keys;
mod memory;
mod render;
mod token;
mod value;

use std::sync::Arc;
use std::time::Duration;

pub use cacheable::{explicit_freshness, is_publicly_cacheable};
pub use cookie::Stripped;
pub use keys::{KeyError, KeyRing};
pub use memory::{Memo, Memory, Recent};
pub use token::{OpenError, SEALED_LENGTH, Sealed, Token};
pub use value::{prefix_hash, query_value, value_hash};

pub use crate::config::model::{By, OnDown, OnFull};
use crate::config::model::{OnCacheable, Sticky};
use render::SetCookie;

/// Clocks of nodes may differ by so many seconds, or by a tenth of a shorter limit.
const SKEW: u32 = 60;
/// A client cannot make us open more candidates than this in one exchange.
const MOST_OPENS: u32 = 2;

/// A pool's session keeping, compiled.
#[derive(Debug, Clone)]
pub struct Stickiness {
    by: By,
    keys: Arc<KeyRing>,
    scope: Arc<str>,
    /// Scope and key ring in one number, for [`Memory`].
    domain: u64,
    shared: Shared,
    https: SetCookie,
    http: SetCookie,
    idle: u32,
    lifetime: Option<u32>,
    refresh: u32,
    on_down: OnDown,
    home_stable: u32,
    on_full: OnFull,
    max_sessions: u32,
    /// Sessions that were idle for so many seconds may be moved to even out the pool.
    rebalance_idle: Option<u32>,
    on_cacheable: OnCacheable,
    pass: bool,
}

/// Which pools bind in a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shared {
    /// One: tokens of any are its own, so that it may be renamed.
    Not,
    /// Several between which no route chooses. A visitor goes from one to the other, and their
    /// backends of one id are one machine to it.
    ById,
    /// Several, and a route splits its visitors over some: each has its own.
    ByPool,
}

/// What a request said about its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presented {
    /// No cookie of ours.
    None,
    /// A token in force.
    Valid(Token),
    /// A token whose idle time or lifetime is over.
    Expired(Token),
    /// Cookies of our name, none of which opens.
    Invalid,
    /// An operator's token for a look at one backend, whatever holds for visitors.
    Look(Token),
    /// A value that the client brings, by its hash.
    Value(u64),
}

/// What a choice of a backend means for the visitor's cookie. Written only when that backend has
/// answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Issue {
    /// Leave it as it is.
    Nothing,
    /// A new session.
    Bind(Token),
    /// The same binding, with a newer `last_seen`.
    Refresh(Token),
    /// The same session on another backend.
    Move(Token),
}

impl Issue {
    /// The token to write.
    pub fn token(&self) -> Option<&Token> {
        match self {
            Self::Nothing => None,
            Self::Bind(token) | Self::Refresh(token) | Self::Move(token) => Some(token),
        }
    }
}

impl Stickiness {
    /// Compiles a pool's `sticky` table. `keys`: the pool's own or those of `[sessions]`.
    pub fn new(sticky: &Sticky, keys: Arc<KeyRing>, shared: Shared) -> Self {
        let scope = Arc::clone(&sticky.scope.value);
        let domain = xxhash_rust::xxh3::xxh3_64_with_seed(scope.as_bytes(), keys.fingerprint());
        let idle = seconds(sticky.idle).max(1);
        let max_age = sticky.max_age.map(seconds);
        Self {
            by: sticky.by.clone(),
            keys,
            scope,
            domain,
            shared,
            https: SetCookie::new(sticky, true),
            http: SetCookie::new(sticky, false),
            idle,
            lifetime: sticky.lifetime.map(seconds),
            refresh: (max_age.unwrap_or(idle).min(idle) / 10).max(1),
            on_down: sticky.on_down,
            home_stable: seconds(sticky.home_stable),
            on_full: sticky.on_full,
            max_sessions: sticky.max_sessions,
            rebalance_idle: sticky.rebalance.map(|rebalance| seconds(rebalance.idle)),
            on_cacheable: sticky.on_cacheable,
            pass: sticky.pass,
        }
    }

    /// What binds a visitor.
    pub fn by(&self) -> &By {
        &self.by
    }

    /// Whether the backend makes the value by which it knows its visitors.
    pub fn learns(&self) -> bool {
        matches!(self.by, By::LearnHeader(_) | By::LearnCookie(_))
    }

    /// Scope and key ring in one number: what remembered tokens are told apart by.
    pub fn domain(&self) -> u64 {
        self.domain
    }

    /// What happens to visitors whose backend is down.
    pub fn on_down(&self) -> OnDown {
        self.on_down
    }

    /// Seconds for which a home must have been well before its visitors go back to it.
    pub fn home_stable(&self) -> u32 {
        self.home_stable
    }

    /// What happens to visitors whose backend is at `max_requests`.
    pub fn on_full(&self) -> OnFull {
        self.on_full
    }

    /// Sessions from which on a backend takes nobody new; 0: no limit.
    pub fn max_sessions(&self) -> u32 {
        self.max_sessions
    }

    /// Seconds of silence after which a session may be moved to even out the pool; none: never.
    pub fn rebalance_idle(&self) -> Option<u32> {
        self.rebalance_idle
    }

    /// Finds the visitor's token in the fields of `Cookie`. Over https both names are read, the
    /// https one first; of several cookies the first that opens wins. At most two are opened, and
    /// none that is remembered by its bytes. `now`: Unix seconds.
    pub fn read<'a>(
        &self,
        cookies: impl IntoIterator<Item = &'a [u8]>,
        https: bool,
        now: u32,
        memory: &mut impl Memory,
    ) -> Presented {
        let mut search = Search { sticky: self, memory, opens: 0, seen: false };
        let preferred = self.name(https).as_bytes();
        let other = self.name(false).as_bytes();
        // Plain-named candidates of an https request wait until no better one has opened.
        let mut waiting: [Option<&'a [u8]>; MOST_OPENS as usize] = [None; 2];
        for (name, value) in cookies.into_iter().flat_map(cookie::pairs) {
            if name == preferred {
                if let Some(token) = search.open(value) {
                    return self.judge(token, now);
                }
            } else if https && name == other {
                search.seen = true;
                if self.keys.knows(value)
                    && let Some(place) = waiting.iter_mut().find(|place| place.is_none())
                {
                    *place = Some(value);
                }
            }
        }
        for value in waiting.into_iter().flatten() {
            if let Some(token) = search.open(value) {
                return self.judge(token, now);
            }
        }
        if search.seen { Presented::Invalid } else { Presented::None }
    }

    /// As [`Self::read`], of one field. True where the field is that one cookie and nothing else.
    pub fn read_field(
        &self,
        field: &[u8],
        https: bool,
        now: u32,
        memory: &mut impl Memory,
    ) -> (Presented, bool) {
        // The usual visitor brings one cookie, the same as last time: nothing has to be parsed.
        if let Some(value) = field.strip_prefix(self.name(https).as_bytes())
            && let Some(value) = value.strip_prefix(b"=")
            && let Ok(value) = value.try_into()
            && let Some(token) = memory.find(self.domain, value)
        {
            return (self.judge(token, now), true);
        }
        (self.read([field], https, now, memory), false)
    }

    /// Whether this pool (a hash of its name) has written a token, as far as can be known: the only
    /// one of a scope may have been renamed.
    pub fn is_of_pool(&self, token: &Token, pool: u64) -> bool {
        token.pool == pool || self.shared == Shared::Not
    }

    /// Whether a token's backend is this pool's one of the same id.
    pub fn binds_in(&self, token: &Token, pool: u64) -> bool {
        self.is_of_pool(token, pool) || self.shared == Shared::ById
    }

    /// Whether a token in force should be written anew: a tenth of the idle time has passed (or
    /// of `max_age`, where that is shorter).
    pub fn refresh_due(&self, token: &Token, now: u32) -> bool {
        now.saturating_sub(token.last_seen) >= self.refresh
    }

    /// The whole value of a `Set-Cookie` field, with attributes by the client's scheme. The nonce
    /// is random.
    pub fn set_cookie(&self, token: &Token, https: bool, nonce: [u8; 12]) -> Vec<u8> {
        let sealed = self.keys.seal(self.scope.as_bytes(), token, nonce);
        self.cookie(https).render(&sealed)
    }

    /// The cookie's name by the client's scheme.
    pub fn name(&self, https: bool) -> &str {
        self.cookie(https).name()
    }

    /// Where a binding holds.
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// Seconds after which an unused session ends.
    pub fn idle(&self) -> u32 {
        self.idle
    }

    /// Seconds after which a session ends even if it is used.
    pub fn lifetime(&self) -> Option<u32> {
        self.lifetime
    }

    /// Seconds after which a session ends at the latest, by the clock of whatever node: so long
    /// somebody may still be bound.
    pub fn longest(&self) -> u32 {
        self.idle.saturating_add(tolerance(self.idle))
    }

    /// What happens on publicly cacheable answers.
    pub fn on_cacheable(&self) -> OnCacheable {
        self.on_cacheable
    }

    /// Whether the backend sees our cookies.
    pub fn pass(&self) -> bool {
        self.pass
    }

    /// The ring that seals and opens here.
    pub fn keys(&self) -> &Arc<KeyRing> {
        &self.keys
    }

    fn cookie(&self, https: bool) -> &SetCookie {
        if https { &self.https } else { &self.http }
    }

    /// A time in the future, from a node whose clock is ahead, counts as now.
    fn judge(&self, token: Token, now: u32) -> Presented {
        if token.is_look() {
            let over = now > token.last_seen;
            return if over { Presented::Expired(token) } else { Presented::Look(token) };
        }
        let expired = over(token.last_seen, self.idle, now) || self.outlived(&token, now);
        if expired { Presented::Expired(token) } else { Presented::Valid(token) }
    }

    /// Whether its lifetime is over, however often it was used.
    pub fn outlived(&self, token: &Token, now: u32) -> bool {
        self.lifetime.is_some_and(|lifetime| over(token.first_seen, lifetime, now))
    }
}

fn over(since: u32, limit: u32, now: u32) -> bool {
    now.saturating_sub(since) > limit.saturating_add(tolerance(limit))
}

/// How far clocks of nodes may be apart before a limit holds.
fn tolerance(limit: u32) -> u32 {
    SKEW.min(limit / 10)
}

/// One exchange's search for a token that opens.
struct Search<'s, M> {
    sticky: &'s Stickiness,
    memory: &'s mut M,
    opens: u32,
    seen: bool,
}

impl<M: Memory> Search<'_, M> {
    fn open(&mut self, value: &[u8]) -> Option<Token> {
        self.seen = true;
        let sealed = value.try_into().ok()?;
        let domain = self.sticky.domain;
        if let Some(token) = self.memory.find(domain, sealed) {
            return Some(token);
        }
        if self.opens >= MOST_OPENS {
            return None;
        }
        match self.sticky.keys.open(self.sticky.scope.as_bytes(), value) {
            Ok(token) => {
                self.memory.keep(domain, sealed, token);
                Some(token)
            }
            Err(OpenError::Forged) => {
                self.opens += 1;
                None
            }
            Err(OpenError::Shape | OpenError::Version | OpenError::UnknownKey) => None,
        }
    }
}

/// Whole seconds, rounded up.
fn seconds(duration: Duration) -> u32 {
    let whole = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    u32::try_from(whole).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
