//! What this worker has read lately, so that the same bytes are read once: hosts and tokens.

use std::cell::RefCell;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use http::HeaderValue;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::sticky;

/// Authorities that a worker remembers.
const HOSTS: usize = 256;
/// Longer ones (bytes) are not remembered.
const LONGEST: usize = 128;

thread_local! {
    static HOSTS_READ: RefCell<Hosts> = RefCell::default();
    static TOKENS: RefCell<sticky::Recent> = RefCell::default();
}

/// The host of an authority: read only where this one did not come lately.
///
/// # Errors
/// Of `read`, which are not remembered.
pub(super) fn host<E>(
    authority: &HeaderValue,
    read: impl FnOnce() -> Result<Arc<str>, E>,
) -> Result<Arc<str>, E> {
    let text = authority.as_bytes();
    if let Some(host) = HOSTS_READ.with_borrow(|hosts| hosts.find(text)) {
        return Ok(host);
    }
    let host = read()?;
    HOSTS_READ.with_borrow_mut(|hosts| hosts.keep(text, &host));
    Ok(host)
}

/// Tokens that were opened lately.
pub(super) fn tokens<T>(act: impl FnOnce(&mut sticky::Recent) -> T) -> T {
    TOKENS.with_borrow_mut(act)
}

/// Authorities as they came, and their hosts as routes have them. Each has one place, and gives it
/// up to the next that has the same.
struct Hosts {
    /// Nobody can tell which ones share a place, and so have a site's own read again and again.
    seed: u64,
    /// Made when the first is kept.
    places: Vec<Option<Known>>,
}

struct Known {
    authority: Box<[u8]>,
    host: Arc<str>,
}

impl Default for Hosts {
    fn default() -> Self {
        Self { seed: RandomState::new().hash_one(()), places: Vec::new() }
    }
}

impl Hosts {
    fn place(&self, authority: &[u8]) -> usize {
        let most = u64::try_from(HOSTS).unwrap_or(u64::MAX);
        let number = xxh3_64_with_seed(authority, self.seed) % most;
        usize::try_from(number).unwrap_or_default()
    }

    #[inline(never)] // small beside what it spares
    fn find(&self, authority: &[u8]) -> Option<Arc<str>> {
        let known = self.places.get(self.place(authority))?.as_ref()?;
        (*known.authority == *authority).then(|| Arc::clone(&known.host))
    }

    fn keep(&mut self, authority: &[u8], host: &Arc<str>) {
        if authority.len() > LONGEST {
            return;
        }
        if self.places.is_empty() {
            self.places.resize_with(HOSTS, || None);
        }
        let place = self.place(authority);
        if let Some(place) = self.places.get_mut(place) {
            *place = Some(Known { authority: authority.into(), host: Arc::clone(host) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_read_once_and_again_when_another_has_taken_its_place() {
        let mut reads = 0;
        let mut ask = |authority: &str| {
            let value = HeaderValue::try_from(authority).unwrap();
            host(&value, || {
                reads += 1;
                Ok::<_, ()>(Arc::from(authority.trim_end_matches(":80")))
            })
        };
        assert_eq!(ask("a.example:80").as_deref(), Ok("a.example"));
        assert_eq!(ask("a.example:80").as_deref(), Ok("a.example"));
        assert_eq!(ask("a.example").as_deref(), Ok("a.example"));
        for number in 0..2000 {
            let other = format!("{number}.example:80");
            let wanted = format!("{number}.example");
            assert_eq!(ask(&other).as_deref(), Ok(&*wanted));
            assert_eq!(ask(&other).as_deref(), Ok(&*wanted));
        }
        assert_eq!(reads, 2002);
    }

    #[test]
    fn neither_a_wrong_authority_nor_a_long_one_is_remembered() {
        let value = HeaderValue::from_static("b.example:x");
        assert_eq!(host(&value, || Err("wrong")), Err("wrong"));
        assert_eq!(host(&value, || Err("still")), Err("still"));
        let long = HeaderValue::try_from("x".repeat(LONGEST + 1)).unwrap();
        assert!(host(&long, || Ok::<_, ()>("x".into())).is_ok());
        assert_eq!(host(&long, || Err("again")), Err("again"));
    }
}
