//! Tests of the token: nothing but what a ring sealed for a scope is ever opened.

use proptest::prelude::*;

use super::*;
use crate::config::model::SecretKey;

fn ring(keys: &[u8]) -> KeyRing {
    let keys: Vec<_> = keys.iter().map(|byte| SecretKey([*byte; 32])).collect();
    KeyRing::new(&keys).unwrap()
}

const TOKEN: Token = Token {
    session: 0x0123_4567_89ab_cdef,
    pool: 2,
    backend: 3,
    home: 4,
    first_seen: 1_800_000_000,
    last_seen: 1_800_000_100,
    flags: 0,
};

/// The sealed form decoded, changed and encoded again.
fn changed(sealed: &Sealed, change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut raw = URL_SAFE_NO_PAD.decode(sealed.as_bytes()).unwrap();
    change(&mut raw);
    URL_SAFE_NO_PAD.encode(raw)
}

#[test]
fn what_was_sealed_opens_in_its_scope_only() {
    let ring = ring(&[1]);
    let sealed = ring.seal(b"shop", &TOKEN, [7; 12]);
    assert_eq!(ring.open(b"shop", sealed.as_bytes()), Ok(TOKEN));
    for scope in [&b"shoq"[..], b"sho", b"shopp", b""] {
        assert_eq!(ring.open(scope, sealed.as_bytes()), Err(OpenError::Forged));
    }
    let long = vec![b'x'; 1000];
    let sealed = ring.seal(&long, &TOKEN, [7; 12]);
    assert_eq!(ring.open(&long, sealed.as_bytes()), Ok(TOKEN));
}

#[test]
fn its_form_never_changes() {
    let sealed = ring(&[1]).seal(b"shop", &TOKEN, [7; 12]);
    assert_eq!(SEALED_LENGTH, 95);
    assert_eq!(sealed.as_str().len(), 95);
    // Browsers hold tokens of older versions: this one must open for ever. Another implementation
    // (AESGCMSIV of Python's cryptography) seals the same bytes.
    assert_eq!(sealed.as_str(), GOLDEN);
}

const GOLDEN: &str = "AXIHBwcHBwcHBwcHBwfqrrYk_3lLHnRYLL-sGwZv_oDNjmy6B2_6-KrPbiCD-\
    dXtQIsqh0SGNCKsCTf8ITLfxvQE7QRGXH4";

#[test]
fn every_flipped_bit_is_refused() {
    let ring = ring(&[1]);
    let sealed = ring.seal(b"shop", &TOKEN, [7; 12]);
    for bit in 0..RAW * 8 {
        let value = changed(&sealed, |raw| raw[bit / 8] ^= 1 << (bit % 8));
        assert!(ring.open(b"shop", value.as_bytes()).is_err(), "bit {bit}");
    }
    for bit in 0..SEALED_LENGTH * 8 {
        let mut value = sealed.as_bytes().to_vec();
        value[bit / 8] ^= 1 << (bit % 8);
        assert!(ring.open(b"shop", &value).is_err(), "bit {bit} of the text");
    }
}

#[test]
fn version_and_key_are_told_before_anything_is_opened() {
    let ring = ring(&[1]);
    let sealed = ring.seal(b"shop", &TOKEN, [7; 12]);
    let version = changed(&sealed, |raw| raw[0] = 2);
    assert_eq!(ring.open(b"shop", version.as_bytes()), Err(OpenError::Version));
    let key = changed(&sealed, |raw| raw[1] ^= 1);
    assert_eq!(ring.open(b"shop", key.as_bytes()), Err(OpenError::UnknownKey));
    let tag = changed(&sealed, |raw| raw[RAW - 1] ^= 1);
    assert_eq!(ring.open(b"shop", tag.as_bytes()), Err(OpenError::Forged));
}

#[test]
fn other_lengths_and_alphabets_are_refused() {
    let ring = ring(&[1]);
    let sealed = ring.seal(b"shop", &TOKEN, [7; 12]);
    for length in 0..SEALED_LENGTH {
        let value = sealed.as_bytes().get(..length).unwrap();
        assert_eq!(ring.open(b"shop", value), Err(OpenError::Shape));
    }
    let longer = format!("{}A", sealed.as_str());
    let padded = format!("{}=", sealed.as_str());
    let quoted = format!("\"{}\"", sealed.as_str());
    let blank = " ".repeat(SEALED_LENGTH);
    for value in [longer, padded, quoted, blank] {
        assert_eq!(ring.open(b"shop", value.as_bytes()), Err(OpenError::Shape));
    }
}

#[test]
fn keys_rotate_in_two_steps_without_losing_anyone() {
    let (old, appended, turned, new) = (ring(&[1]), ring(&[1, 2]), ring(&[2, 1]), ring(&[2]));
    let by_old = old.seal(b"shop", &TOKEN, [7; 12]);
    let by_appended = appended.seal(b"shop", &TOKEN, [7; 12]);
    let by_turned = turned.seal(b"shop", &TOKEN, [7; 12]);
    assert_eq!(by_old, by_appended);
    for ring in [&old, &appended, &turned] {
        assert_eq!(ring.open(b"shop", by_old.as_bytes()), Ok(TOKEN));
    }
    for ring in [&appended, &turned, &new] {
        assert_eq!(ring.open(b"shop", by_turned.as_bytes()), Ok(TOKEN));
    }
    assert_eq!(new.open(b"shop", by_old.as_bytes()), Err(OpenError::UnknownKey));
}

#[test]
fn a_moved_session_keeps_its_name_home_and_beginning() {
    let token = Token::begin(1, 2, 3, 100).touched(200).moved(2, 4, 300);
    assert_eq!((token.session, token.backend, token.home), (1, 4, 3));
    assert_eq!((token.first_seen, token.last_seen), (100, 300));
}

proptest! {
    #[test]
    fn every_token_comes_back(
        session: u64, pool: u64, backend: u64, home: u64, first_seen: u32, last_seen: u32,
        flags: u8, nonce: [u8; 12], scope in "[a-zA-Z0-9._-]{1,64}",
    ) {
        let token = Token { session, pool, backend, home, first_seen, last_seen, flags };
        let ring = ring(&[1]);
        let sealed = ring.seal(scope.as_bytes(), &token, nonce);
        prop_assert_eq!(ring.open(scope.as_bytes(), sealed.as_bytes()), Ok(token));
    }

    #[test]
    fn no_other_bytes_are_opened(value in proptest::collection::vec(any::<u8>(), 0..120)) {
        prop_assert!(ring(&[1]).open(b"shop", &value).is_err());
    }
}
