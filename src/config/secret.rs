//! Session keys: read from text, told apart by one byte of their hash.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::{
    GeneralPurpose, STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD,
};

use super::model::SecretKey;

const ENCODINGS: [&GeneralPurpose; 4] = [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD];

/// The byte that names a key in a token: the first of its SHA-256.
pub fn key_id(key: &SecretKey) -> u8 {
    digest::digest(&digest::SHA256, &key.0).as_ref().first().copied().unwrap_or(0)
}

/// 32 bytes in hex or base64; `None` for anything else.
pub(crate) fn read_key(text: &str) -> Option<SecretKey> {
    if let Some(key) = hex(text) {
        return Some(SecretKey(key));
    }
    let bytes = ENCODINGS.iter().find_map(|encoding| encoding.decode(text).ok())?;
    Some(SecretKey(bytes.try_into().ok()?))
}

fn hex(text: &str) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    if text.len() != 2 * key.len() {
        return None;
    }
    let mut digits = text.chars().map(|digit| digit.to_digit(16));
    for byte in &mut key {
        let (high, low) = (digits.next()??, digits.next()??);
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_from_hex_and_both_kinds_of_base64() {
        let key = SecretKey([0xfb; 32]);
        let hex = "fb".repeat(32);
        for text in [hex.clone(), STANDARD.encode(key.0), URL_SAFE_NO_PAD.encode(key.0)] {
            assert!(read_key(&text) == Some(key.clone()), "{text}");
        }
        for wrong in ["", "short", &hex[..62], &STANDARD.encode([1; 31])] {
            assert!(read_key(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn the_id_of_a_key_is_the_first_byte_of_its_sha_256() {
        assert_eq!(key_id(&SecretKey([0; 32])), 0x66);
    }
}
