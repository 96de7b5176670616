//! The token: who is bound where since when, sealed so that only a holder of the key can read it.

use aws_lc_rs::aead::{Aad, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::keys::KeyRing;

/// The only version so far.
const VERSION: u8 = 1;
/// Version and key id, authenticated with the scope.
const HEAD: usize = 2;
const NONCE: usize = 12;
const PLAIN: usize = 41;
const TAG: usize = 16;
const RAW: usize = HEAD + NONCE + PLAIN + TAG;

/// Bytes of a sealed token in a cookie.
pub const SEALED_LENGTH: usize = (RAW * 8).div_ceil(6);

/// Scopes up to this length are authenticated without an allocation; names have at most 64 bytes.
const SHORT_SCOPE: usize = 254;

/// What the session cookie says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// 64 random bits, kept for as long as the session lives.
    pub session: u64,
    /// `backend::name_hash` of the pool.
    pub pool: u64,
    /// `backend::name_hash` of the backend's id.
    pub backend: u64,
    /// The backend the session began on, or was last bound to by policy.
    pub home: u64,
    /// Unix seconds.
    pub first_seen: u32,
    /// Unix seconds, as of the last refresh.
    pub last_seen: u32,
    /// `LOOK`, or 0; others are carried along.
    pub flags: u8,
}

/// Flag of a token for a look at one backend: `last_seen` is then its end.
const LOOK: u8 = 1;

impl Token {
    /// A new session, at home on its first backend.
    pub fn begin(session: u64, pool: u64, backend: u64, now: u32) -> Self {
        Self { session, pool, backend, home: backend, first_seen: now, last_seen: now, flags: 0 }
    }

    /// The same binding, used now.
    #[must_use]
    pub fn touched(self, now: u32) -> Self {
        Self { last_seen: now, ..self }
    }

    /// The same session on another backend; its home stays.
    #[must_use]
    pub fn moved(self, pool: u64, backend: u64, now: u32) -> Self {
        Self { pool, backend, last_seen: now, ..self }
    }

    /// For a look at a backend until this time (Unix seconds), whatever holds for visitors.
    pub fn look(session: u64, pool: u64, backend: u64, now: u32, until: u32) -> Self {
        Self { last_seen: until, flags: LOOK, ..Self::begin(session, pool, backend, now) }
    }

    /// Whether it is for a look.
    pub fn is_look(&self) -> bool {
        self.flags & LOOK != 0
    }

    /// The same session on another backend, which is its home from now on.
    #[must_use]
    pub fn settled(self, pool: u64, backend: u64, now: u32) -> Self {
        Self { home: backend, ..self.moved(pool, backend, now) }
    }

    fn write(&self) -> [u8; PLAIN] {
        let mut plain = [0; PLAIN];
        let mut rest = plain.as_mut_slice();
        let mut put = |bytes: &[u8]| {
            if let Some((field, after)) =
                std::mem::take(&mut rest).split_at_mut_checked(bytes.len())
            {
                field.copy_from_slice(bytes);
                rest = after;
            }
        };
        for number in [self.session, self.pool, self.backend, self.home] {
            put(&number.to_be_bytes());
        }
        put(&self.first_seen.to_be_bytes());
        put(&self.last_seen.to_be_bytes());
        put(&[self.flags]);
        plain
    }

    fn read(plain: &[u8]) -> Option<Self> {
        let (session, rest) = plain.split_first_chunk()?;
        let (pool, rest) = rest.split_first_chunk()?;
        let (backend, rest) = rest.split_first_chunk()?;
        let (home, rest) = rest.split_first_chunk()?;
        let (first_seen, rest) = rest.split_first_chunk()?;
        let (last_seen, rest) = rest.split_first_chunk()?;
        let &[flags] = rest else { return None };
        Some(Self {
            session: u64::from_be_bytes(*session),
            pool: u64::from_be_bytes(*pool),
            backend: u64::from_be_bytes(*backend),
            home: u64::from_be_bytes(*home),
            first_seen: u32::from_be_bytes(*first_seen),
            last_seen: u32::from_be_bytes(*last_seen),
            flags,
        })
    }
}

/// A sealed token: the value of the cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed([u8; SEALED_LENGTH]);

impl Sealed {
    /// base64url, without padding.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// base64url, without padding.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Why a value is no token of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not so many bytes of base64url. Costs no AEAD.
    #[error("not a token")]
    Shape,
    /// Of a version that we do not know. Costs no AEAD.
    #[error("a token of an unknown version")]
    Version,
    /// Sealed by a key that we do not have. Costs no AEAD.
    #[error("a token of an unknown key")]
    UnknownKey,
    /// Changed, made without the key, or made for another scope.
    #[error("a token that was changed or belongs to another scope")]
    Forged,
}

impl KeyRing {
    /// Seals with the first key: base64url of version, key id, nonce, ciphertext and tag. Version,
    /// key id and scope are authenticated. The nonce is random.
    pub fn seal(&self, scope: &[u8], token: &Token, nonce: [u8; NONCE]) -> Sealed {
        let key = self.sealing().expect("KeyRing::new refuses an empty ring");
        let head = [VERSION, key.id];
        let mut body = token.write();
        let tag = with_aad(head, scope, |aad| {
            let nonce = Nonce::assume_unique_for_key(nonce);
            key.aead.seal_in_place_separate_tag(nonce, Aad::from(aad), &mut body)
        })
        .expect("AES-GCM-SIV seals every plaintext of 41 bytes");
        let mut raw = [0; RAW];
        let parts = head.iter().chain(&nonce).chain(&body).chain(tag.as_ref());
        raw.iter_mut().zip(parts).for_each(|(to, from)| *to = *from);
        let mut sealed = [0; SEALED_LENGTH];
        let written = URL_SAFE_NO_PAD.encode_slice(raw, &mut sealed);
        debug_assert_eq!(written, Ok(SEALED_LENGTH), "the length is that of 71 bytes in base64");
        Sealed(sealed)
    }

    /// Whether a value has the form, the version and a key id of ours: a cheap look before `open`.
    pub(super) fn knows(&self, value: &[u8]) -> bool {
        let mut raw = [0; 3];
        let start = value.first_chunk::<4>().filter(|_| value.len() == SEALED_LENGTH);
        let decoded = start.map(|start| URL_SAFE_NO_PAD.decode_slice(start, &mut raw));
        let [version, id, _] = raw;
        matches!(decoded, Some(Ok(3))) && version == VERSION && self.with_id(id).is_some()
    }

    /// Opens a cookie's value in the scope it was sealed for.
    pub fn open(&self, scope: &[u8], value: &[u8]) -> Result<Token, OpenError> {
        if value.len() != SEALED_LENGTH {
            return Err(OpenError::Shape);
        }
        let mut raw = [0; RAW];
        match URL_SAFE_NO_PAD.decode_slice(value, &mut raw) {
            Ok(RAW) => {}
            _ => return Err(OpenError::Shape),
        }
        let (head, rest) = raw.split_first_chunk_mut::<HEAD>().ok_or(OpenError::Shape)?;
        let (nonce, body) = rest.split_first_chunk_mut::<NONCE>().ok_or(OpenError::Shape)?;
        let [version, id] = *head;
        if version != VERSION {
            return Err(OpenError::Version);
        }
        let key = self.with_id(id).ok_or(OpenError::UnknownKey)?;
        let plain = with_aad(*head, scope, |aad| {
            let nonce = Nonce::assume_unique_for_key(*nonce);
            key.aead.open_in_place(nonce, Aad::from(aad), body)
        });
        let plain = plain.map_err(|_| OpenError::Forged)?;
        Token::read(plain).ok_or(OpenError::Forged)
    }
}

/// Calls with head and scope in one piece.
fn with_aad<R>(head: [u8; HEAD], scope: &[u8], call: impl FnOnce(&[u8]) -> R) -> R {
    let mut short = [0; HEAD + SHORT_SCOPE];
    let length = HEAD + scope.len();
    match short.get_mut(..length) {
        Some(aad) => {
            let parts = head.iter().chain(scope);
            aad.iter_mut().zip(parts).for_each(|(to, from)| *to = *from);
            call(aad)
        }
        None => call(&[head.as_slice(), scope].concat()),
    }
}

#[cfg(test)]
mod tests;
