//! What this worker has read lately, so that the same bytes are read once: hosts and tokens.

use std::cell::RefCell;
use std::sync::Arc;

use foldhash::quality::RandomState;
use http::HeaderValue;
use quick_cache::UnitWeighter;
use quick_cache::unsync::{Cache, DefaultLifecycle};

use crate::sticky;

/// Authorities that a worker remembers.
const HOSTS: usize = 256;
/// Longer ones (bytes) are not remembered.
const LONGEST: usize = 128;

/// Authorities as they came, and their hosts as routes have them.
type Hosts = Cache<Box<[u8]>, Arc<str>, UnitWeighter, RandomState>;

thread_local! {
    static HOSTS_READ: RefCell<Hosts> = RefCell::new(Cache::with(
        HOSTS,
        HOSTS as u64,
        UnitWeighter,
        RandomState::default(),
        DefaultLifecycle::default(),
    ));
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
    if let Some(host) = HOSTS_READ.with_borrow(|hosts| hosts.get(text).cloned()) {
        return Ok(host);
    }
    let host = read()?;
    if text.len() <= LONGEST {
        HOSTS_READ.with_borrow_mut(|hosts| hosts.insert(text.into(), Arc::clone(&host)));
    }
    Ok(host)
}

/// Tokens that were opened lately.
pub(super) fn tokens<T>(act: impl FnOnce(&mut sticky::Recent) -> T) -> T {
    TOKENS.with_borrow_mut(act)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_read_once_however_many_others_come() {
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
            let wanted = format!("{number}.example");
            assert_eq!(ask(&format!("{wanted}:80")).as_deref(), Ok(&*wanted));
        }
        assert_eq!(ask("a.example:80").as_deref(), Ok("a.example"));
        assert_eq!(reads, 2002, "what comes again stays");
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
