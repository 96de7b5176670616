//! Tokens: what was sealed opens, nothing else does, and a request's cookies say the same whoever
//! remembers them.

#![no_main]

use std::path::Path;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use ostler::config::model::SecretKey;
use ostler::config::{FixedEnvironment, parse};
use ostler::sticky::{
    KeyRing, Memo, OpenError, Presented, Recent, SEALED_LENGTH, Shared, Stickiness, Token,
};

const NOW: u32 = 1_800_000_000;

static RING: LazyLock<Arc<KeyRing>> = LazyLock::new(|| ring(&[1, 2]));
/// Knows the second key of the other one, and not the first.
static OTHER: LazyLock<Arc<KeyRing>> = LazyLock::new(|| ring(&[2, 3]));
static STICKY: LazyLock<Stickiness> = LazyLock::new(sticky);

fn ring(keys: &[u8]) -> Arc<KeyRing> {
    let keys: Vec<SecretKey> = keys.iter().map(|key| SecretKey([*key; 32])).collect();
    Arc::new(KeyRing::new(&keys).expect("keys"))
}

fn sticky() -> Stickiness {
    let text = r#"
        [listeners.web]
        bind = ["127.0.0.1:1"]
        [[routes]]
        pool = "shop"
        [pools.shop]
        backends = [{ address = "127.0.0.1:2" }]
        sticky = { by = "cookie", idle = "30m", lifetime = "2h" }
    "#;
    let loaded = parse(text, Path::new("fuzz.toml"), &FixedEnvironment::default());
    let model = loaded.expect("a configuration").model;
    let sticky = model.pools[0].sticky.as_ref().expect("sessions");
    Stickiness::new(sticky, Arc::clone(&RING), Shared::Not)
}

fuzz_target!(|input: &[u8]| {
    // Too short an input says nothing.
    let _ = run(&mut Unstructured::new(input));
});

fn run(input: &mut Unstructured<'_>) -> Result<()> {
    let token = Token {
        session: input.arbitrary()?,
        pool: input.arbitrary()?,
        backend: input.arbitrary()?,
        home: input.arbitrary()?,
        first_seen: NOW.wrapping_sub(input.int_in_range(0..=10_000)?),
        last_seen: NOW.wrapping_sub(input.int_in_range(0..=4_000)?),
        flags: input.arbitrary()?,
    };
    let nonce: [u8; 12] = input.arbitrary()?;
    let (place, change) = (input.int_in_range(0..=SEALED_LENGTH - 1)?, input.arbitrary::<u8>()?);
    let https = input.arbitrary()?;
    let scope_length = input.int_in_range(0..=300)?;
    let scope = input.bytes(scope_length.min(input.len()))?;
    sealed(&token, nonce, scope, (place, change));
    cookies(&token, nonce, https, input.bytes(input.len())?);
    Ok(())
}

fn sealed(token: &Token, nonce: [u8; 12], scope: &[u8], (place, change): (usize, u8)) {
    let sealed = RING.seal(scope, token, nonce);
    assert_eq!(sealed.as_bytes().len(), SEALED_LENGTH);
    assert_eq!(RING.open(scope, sealed.as_bytes()), Ok(*token));
    assert_eq!(OTHER.open(scope, sealed.as_bytes()), Err(OpenError::UnknownKey));
    let elsewhere = [scope, b"."].concat();
    assert_eq!(RING.open(&elsewhere, sealed.as_bytes()), Err(OpenError::Forged));
    let old = OTHER.seal(scope, token, nonce);
    assert_eq!(RING.open(scope, old.as_bytes()), Ok(*token), "sealed by a key that we still have");
    if change != 0 {
        let mut changed = sealed.as_bytes().to_vec();
        changed[place] ^= change;
        assert!(RING.open(scope, &changed).is_err(), "{place} {change}");
    }
}

/// Any bytes as cookies, and the token among them.
fn cookies(token: &Token, nonce: [u8; 12], https: bool, field: &[u8]) {
    for value in field.split(|byte| matches!(byte, b';' | b'=')) {
        if let Ok(found) = RING.open(b"shop", value.trim_ascii()) {
            // Nobody but us has sealed it, and it has one spelling.
            panic!("{found:?} out of {}", value.escape_ascii());
        }
    }
    let sticky = &*STICKY;
    let set = sticky.set_cookie(token, https, nonce);
    let pair = set.split(|byte| *byte == b';').next().expect("a pair");
    let mut memo = Memo::default();
    let said = sticky.read([field], https, NOW, &mut memo);
    assert!(matches!(said, Presented::None | Presented::Invalid), "{said:?}");
    assert_eq!(sticky.read([field], https, NOW, &mut memo), said);
    let expected = judged(token);
    let (alone, _) = sticky.read_field(pair, https, NOW, &mut memo);
    assert_eq!(alone, expected);
    // In front of all others it is always found, with and without memory.
    let first = [pair, b"; ", field].concat();
    for memo in [&mut memo, &mut Memo::default()] {
        assert_eq!(sticky.read_field(&first, https, NOW, memo).0, expected);
        assert_eq!(sticky.read_field(&first, https, NOW, memo).0, expected);
    }
    // Behind them it is found unless two forgeries have been opened before.
    let last = [field, b"; ", pair].concat();
    let mut memo = Memo::default();
    let said = sticky.read([&*last], https, NOW, &mut memo);
    // A worker that knows the token finds it behind any forgeries.
    let mut recent = Recent::default();
    let mut both = |field: &[u8]| {
        sticky.read([field], https, NOW, &mut (&mut Memo::default(), &mut recent))
    };
    assert_eq!((both(&first), both(&last)), (expected, expected));
    assert!(said == expected || said == Presented::Invalid, "{said:?}");
}

/// What a token means now, by the words of the documentation.
fn judged(token: &Token) -> Presented {
    if token.flags & 1 != 0 {
        let over = NOW > token.last_seen;
        return if over { Presented::Expired(*token) } else { Presented::Look(*token) };
    }
    let (idle, age) = (NOW - token.last_seen, NOW - token.first_seen);
    let expired = idle > 1800 + 60 || age > 7200 + 60;
    if expired { Presented::Expired(*token) } else { Presented::Valid(*token) }
}
