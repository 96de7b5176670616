//! Tokens that were opened already, by their bytes, so that the same cookie is opened once.
// What is remembered is that the bytes are a token of a scope and a key ring. Whether it is still
// in force is judged anew each time.

use foldhash::quality::RandomState;
use quick_cache::UnitWeighter;
use quick_cache::unsync::{Cache, DefaultLifecycle};

use super::token::{SEALED_LENGTH, Token};

/// Tokens that a worker remembers: a browser opens half a dozen connections at once, and a client
/// that keeps none brings its cookie by the next one.
const TOKENS: usize = 512;

/// Where opened tokens are remembered. `domain`: scope and key ring, as [`Stickiness::domain`]
/// tells it.
///
/// [`Stickiness::domain`]: super::Stickiness::domain
pub trait Memory {
    /// The token of this value, where it is remembered.
    fn find(&mut self, domain: u64, value: &Value) -> Option<Token>;

    /// Remembers what a value was opened to.
    fn keep(&mut self, domain: u64, value: &Value, token: Token);
}

/// A sealed token as it comes.
pub(super) type Value = [u8; SEALED_LENGTH];

/// The token that last came on a connection.
#[derive(Debug, Clone, Default)]
pub struct Memo {
    known: Option<Known>,
}

#[derive(Debug, Clone)]
struct Known {
    domain: u64,
    value: Value,
    token: Token,
}

impl Memory for Memo {
    fn find(&mut self, domain: u64, value: &Value) -> Option<Token> {
        let known = self.known.as_ref()?;
        (known.domain == domain && known.value == *value).then_some(known.token)
    }

    fn keep(&mut self, domain: u64, value: &Value, token: Token) {
        self.known = Some(Known { domain, value: *value, token });
    }
}

/// Tokens that came lately, of all connections of a worker. Hashed by numbers that only the process
/// knows: nobody can tell from how long it takes how much of another's token a guess has right.
#[derive(Debug)]
pub struct Recent {
    known: Cache<(u64, Value), Token, UnitWeighter, RandomState>,
}

impl Default for Recent {
    fn default() -> Self {
        let (hash, lifecycle) = (RandomState::default(), DefaultLifecycle::default());
        Self { known: Cache::with(TOKENS, TOKENS as u64, UnitWeighter, hash, lifecycle) }
    }
}

impl Memory for Recent {
    #[inline(never)] // the first request of a connection only
    fn find(&mut self, domain: u64, value: &Value) -> Option<Token> {
        self.known.get(&(domain, *value)).copied()
    }

    fn keep(&mut self, domain: u64, value: &Value, token: Token) {
        self.known.insert((domain, *value), token);
    }
}

/// A connection's, then its worker's.
impl Memory for (&mut Memo, &mut Recent) {
    fn find(&mut self, domain: u64, value: &Value) -> Option<Token> {
        let (memo, recent) = self;
        if let Some(token) = memo.find(domain, value) {
            return Some(token);
        }
        let token = recent.find(domain, value)?;
        memo.keep(domain, value, token);
        Some(token)
    }

    fn keep(&mut self, domain: u64, value: &Value, token: Token) {
        let (memo, recent) = self;
        memo.keep(domain, value, token);
        recent.keep(domain, value, token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(session: u64) -> Token {
        Token::begin(session, 1, 2, 3)
    }

    fn value(number: u16) -> Value {
        let mut value = [b'A'; SEALED_LENGTH];
        let text = format!("{number:05}");
        value[90..].copy_from_slice(text.as_bytes());
        value
    }

    #[test]
    fn what_came_lately_is_found_by_all_of_its_bytes_and_its_domain() {
        let mut recent = Recent::default();
        assert_eq!(recent.find(7, &value(1)), None);
        recent.keep(7, &value(1), token(1));
        assert_eq!(recent.find(7, &value(1)), Some(token(1)));
        assert_eq!(recent.find(8, &value(1)), None, "of another scope or ring");
        assert_eq!(recent.find(7, &value(2)), None);
    }

    #[test]
    fn a_worker_remembers_so_many_and_no_more() {
        let mut recent = Recent::default();
        for number in 0..2000 {
            recent.keep(7, &value(number), token(number.into()));
            assert_eq!(recent.find(7, &value(number)), Some(token(number.into())));
        }
        let found = (0..2000).filter_map(|number| {
            let token = recent.find(7, &value(number))?;
            assert_eq!(token.session, u64::from(number));
            Some(token)
        });
        assert!((TOKENS / 2..=TOKENS).contains(&found.count()));
    }

    #[test]
    fn a_connection_learns_what_its_worker_knows() {
        let (mut memo, mut other, mut recent) =
            (Memo::default(), Memo::default(), Recent::default());
        (&mut memo, &mut recent).keep(7, &value(1), token(1));
        assert_eq!((&mut other, &mut recent).find(7, &value(1)), Some(token(1)));
        assert_eq!(other.find(7, &value(1)), Some(token(1)));
    }
}
