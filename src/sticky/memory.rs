//! Tokens that were opened already, by their bytes, so that the same cookie is opened once.
// What is remembered is that the bytes are a token of a scope and a key ring. Whether it is still
// in force is judged anew each time.

use std::hash::{BuildHasher as _, RandomState};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::token::{SEALED_LENGTH, Token};

/// Tokens that a worker remembers: a browser opens half a dozen connections at once, and a client
/// that keeps none brings its cookie by the next one.
const PLACES: usize = 512;

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

#[derive(Debug, Clone)]
struct Known {
    domain: u64,
    value: Value,
    token: Token,
}

impl Known {
    fn is(&self, domain: u64, value: &Value) -> bool {
        self.domain == domain && self.value == *value
    }
}

/// The token that last came on a connection.
#[derive(Debug, Clone, Default)]
pub struct Memo {
    known: Option<Known>,
}

impl Memory for Memo {
    fn find(&mut self, domain: u64, value: &Value) -> Option<Token> {
        self.known.as_ref().filter(|known| known.is(domain, value)).map(|known| known.token)
    }

    fn keep(&mut self, domain: u64, value: &Value, token: Token) {
        self.known = Some(Known { domain, value: *value, token });
    }
}

/// Tokens that came lately, of all connections of a worker. Each has one place, and gives it up to
/// the next that has the same.
pub struct Recent {
    /// Nobody can tell from how long it takes how much of another's token a guess has right: places
    /// and what is compared first go by a number that only the process knows.
    seed: u64,
    /// Made when the first is kept.
    places: Vec<Option<Box<Place>>>,
}

struct Place {
    number: u64,
    known: Known,
}

impl Default for Recent {
    fn default() -> Self {
        Self { seed: RandomState::new().hash_one(()), places: Vec::new() }
    }
}

impl std::fmt::Debug for Recent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recent")
            .field("kept", &self.places.iter().flatten().count())
            .finish_non_exhaustive()
    }
}

impl Recent {
    fn number(&self, domain: u64, value: &Value) -> u64 {
        xxh3_64_with_seed(value, self.seed ^ domain)
    }

    fn place(&mut self, number: u64) -> Option<&mut Option<Box<Place>>> {
        let most = u64::try_from(PLACES).unwrap_or(u64::MAX);
        self.places.get_mut(usize::try_from(number % most).ok()?)
    }
}

impl Memory for Recent {
    #[inline(never)] // the first request of a connection only
    fn find(&mut self, domain: u64, value: &Value) -> Option<Token> {
        let number = self.number(domain, value);
        let place = self.place(number)?.as_deref().filter(|place| place.number == number)?;
        place.known.is(domain, value).then_some(place.known.token)
    }

    fn keep(&mut self, domain: u64, value: &Value, token: Token) {
        if self.places.is_empty() {
            self.places.resize_with(PLACES, || None);
        }
        let number = self.number(domain, value);
        let known = Known { domain, value: *value, token };
        if let Some(place) = self.place(number) {
            *place = Some(Box::new(Place { number, known }));
        }
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
    fn a_worker_remembers_so_many_and_never_takes_one_for_another() {
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
        assert!((PLACES / 2..=PLACES).contains(&found.count()));
    }

    #[test]
    fn a_number_that_two_tokens_have_in_common_makes_them_no_one() {
        let mut recent = Recent::default();
        recent.keep(7, &value(1), token(1));
        let number = recent.number(7, &value(1));
        // As if the other one had that number, too.
        if let Some(Some(place)) = recent.place(number) {
            place.known.value = value(2);
        }
        assert_eq!(recent.find(7, &value(1)), None);
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
