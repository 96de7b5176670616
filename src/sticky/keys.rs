//! The key ring: its first key seals tokens, all of its keys open them.

use aws_lc_rs::aead::{AES_256_GCM_SIV, LessSafeKey, UnboundKey};
use aws_lc_rs::digest::{Context, SHA256, digest};

use crate::config::model::SecretKey;

/// Why keys make no ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is none.
    #[error("there is no session key")]
    Empty,
    /// Two have one id: the same key twice, or one pair in 256 by chance.
    #[error("two session keys have the id {id:02x}: make another one")]
    SameId {
        /// Their id.
        id: u8,
    },
    /// The cryptographic library takes no key.
    #[error("the session key cannot be used")]
    Unusable,
}

/// Session keys, prepared once. A token says by its id which one sealed it.
pub struct KeyRing {
    keys: Box<[Key]>,
    fingerprint: u64,
}

pub(super) struct Key {
    pub(super) id: u8,
    pub(super) aead: LessSafeKey,
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRing").field("ids", &self.ids().collect::<Vec<_>>()).finish()
    }
}

impl KeyRing {
    /// Prepares keys for AES-256-GCM-SIV (RFC 8452), which unlike plain GCM gives nothing away
    /// but equality where two nodes once draw the same nonce.
    pub fn new(secrets: &[SecretKey]) -> Result<Self, KeyError> {
        let mut keys: Vec<Key> = Vec::with_capacity(secrets.len());
        let mut all = Context::new(&SHA256);
        for SecretKey(secret) in secrets {
            let hash = digest(&SHA256, secret);
            let id = *hash.as_ref().first().ok_or(KeyError::Unusable)?;
            if keys.iter().any(|key| key.id == id) {
                return Err(KeyError::SameId { id });
            }
            let key = UnboundKey::new(&AES_256_GCM_SIV, secret).map_err(|_| KeyError::Unusable)?;
            keys.push(Key { id, aead: LessSafeKey::new(key) });
            all.update(hash.as_ref());
        }
        if keys.is_empty() {
            return Err(KeyError::Empty);
        }
        let all = all.finish();
        let fingerprint = all.as_ref().first_chunk().copied().map(u64::from_be_bytes);
        Ok(Self { keys: keys.into(), fingerprint: fingerprint.ok_or(KeyError::Unusable)? })
    }

    /// First byte of each key's SHA-256, the sealing one first.
    pub fn ids(&self) -> impl Iterator<Item = u8> {
        self.keys.iter().map(|key| key.id)
    }

    /// Tells one ring from another in memory; never leaves the process.
    pub(super) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    pub(super) fn sealing(&self) -> Option<&Key> {
        self.keys.first()
    }

    pub(super) fn with_id(&self, id: u8) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_first_byte_of_the_keys_hash() {
        // SHA-256 of 32 zero bytes is 66687aad…
        let ring = KeyRing::new(&[SecretKey([0; 32])]).unwrap();
        assert_eq!(ring.ids().collect::<Vec<_>>(), [0x66]);
    }

    #[test]
    fn no_key_and_two_alike_are_errors() {
        assert_eq!(KeyRing::new(&[]).unwrap_err(), KeyError::Empty);
        let twice = [SecretKey([0; 32]), SecretKey([0; 32])];
        assert_eq!(KeyRing::new(&twice).unwrap_err(), KeyError::SameId { id: 0x66 });
    }

    #[test]
    fn a_ring_shows_ids_and_no_secrets() {
        let ring = KeyRing::new(&[SecretKey([0; 32])]).unwrap();
        assert_eq!(format!("{ring:?}"), "KeyRing { ids: [102] }");
    }
}
