//! Session tickets sealed by keys of the file, so that every node opens those of the others.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use aws_lc_rs::rand;
use rustls::server::ProducesTickets;

use crate::config::model::SecretKey;

/// Seconds after which a ticket is of no use, whatever key has sealed it.
const LIFETIME: u64 = 12 * 60 * 60;
/// Seconds by which the clocks of nodes may differ.
const SKEW: u64 = 5 * 60;
const NAME: usize = 16;
const NONCE: usize = 12;
const TIME: usize = 8;

/// The first key seals, all open.
pub(super) struct SharedTickets(Vec<Key>);

struct Key {
    /// Stands before each ticket that it has sealed.
    name: [u8; NAME],
    aead: LessSafeKey,
}

impl std::fmt::Debug for SharedTickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedTickets").field("keys", &self.0.len()).finish()
    }
}

impl SharedTickets {
    /// Prepares keys for AES-256-GCM-SIV (RFC 8452), which nodes may use without agreeing on
    /// nonces. What seals and what names is derived: neither tells of the other, nor of another use
    /// that the same secret is put to. None: the library takes no key.
    pub(super) fn new(secrets: &[SecretKey]) -> Option<Self> {
        let key = |SecretKey(secret): &SecretKey| {
            let secret = hmac::Key::new(HMAC_SHA256, secret);
            let name = hmac::sign(&secret, b"ostler: name of a ticket key");
            let seals = hmac::sign(&secret, b"ostler: seals tickets of TLS");
            let aead = UnboundKey::new(&AES_256_GCM_SIV, seals.as_ref()).ok()?;
            Some(Key { name: *name.as_ref().first_chunk()?, aead: LessSafeKey::new(aead) })
        };
        secrets.iter().map(key).collect::<Option<_>>().map(Self)
    }

    /// Name, nonce, and sealed: the time and what is to be kept.
    fn seal(&self, plain: &[u8], now: u64, nonce: [u8; NONCE]) -> Option<Vec<u8>> {
        let key = self.0.first()?;
        let mut body = Vec::with_capacity(TIME + plain.len() + AES_256_GCM_SIV.tag_len());
        body.extend_from_slice(&now.to_be_bytes());
        body.extend_from_slice(plain);
        let unique = Nonce::assume_unique_for_key(nonce);
        key.aead.seal_in_place_append_tag(unique, Aad::from(&key.name), &mut body).ok()?;
        Some([&key.name[..], &nonce, &body].concat())
    }

    fn open(&self, ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE>()?;
        // A name is no secret: it stands in every ticket.
        let key = self.0.iter().find(|key| key.name == *name)?;
        let mut body = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let body = key.aead.open_in_place(nonce, Aad::from(name), &mut body).ok()?;
        let (time, plain) = body.split_first_chunk::<TIME>()?;
        let time = u64::from_be_bytes(*time);
        let holds = time <= now.saturating_add(SKEW) && now.saturating_sub(time) < LIFETIME;
        holds.then(|| plain.to_vec())
    }
}

impl ProducesTickets for SharedTickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(LIFETIME).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE];
        rand::fill(&mut nonce).ok()?;
        self.seal(plain, unix()?, nonce)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher, unix()?)
    }
}

/// None: this clock is of no use, so no session is resumed.
fn unix() -> Option<u64> {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn tickets(keys: &[u8]) -> SharedTickets {
        let secrets: Vec<_> = keys.iter().map(|byte| SecretKey([*byte; 32])).collect();
        SharedTickets::new(&secrets).unwrap()
    }

    #[test]
    fn the_first_key_seals_and_all_open() {
        let ticket = tickets(&[1, 2]).seal(b"state", NOW, [7; NONCE]).unwrap();
        for (keys, opens) in [(&[1][..], true), (&[2, 1], true), (&[2], false), (&[], false)] {
            let opened = tickets(keys).open(&ticket, NOW);
            assert_eq!(opened.as_deref(), opens.then_some(&b"state"[..]), "{keys:?}");
        }
        assert!(tickets(&[]).seal(b"state", NOW, [7; NONCE]).is_none());
        assert!(!ticket.windows(5).any(|bytes| bytes == b"state"));
    }

    #[test]
    fn a_ticket_holds_for_its_time_and_for_clocks_that_differ_a_little() {
        let tickets = tickets(&[1]);
        let ticket = tickets.seal(b"state", NOW, [7; NONCE]).unwrap();
        for (now, holds) in [
            (NOW - SKEW, true),
            (NOW - SKEW - 1, false),
            (NOW + LIFETIME - 1, true),
            (NOW + LIFETIME, false),
        ] {
            assert_eq!(tickets.open(&ticket, now).is_some(), holds, "{now}");
        }
    }

    #[test]
    fn what_a_ticket_shows_is_not_the_key() {
        let tickets = tickets(&[1]);
        assert_eq!(format!("{tickets:?}"), "SharedTickets { keys: 1 }");
        let again = tickets.encrypt(b"state").unwrap();
        assert_ne!(tickets.encrypt(b"state").unwrap(), again, "a nonce of its own");
        assert_eq!(tickets.decrypt(&again).as_deref(), Some(&b"state"[..]));
    }

    proptest! {
        #[test]
        fn nothing_that_was_changed_or_made_up_opens(
            plain in proptest::collection::vec(any::<u8>(), 0..200),
            garbage in proptest::collection::vec(any::<u8>(), 0..100),
            at in any::<prop::sample::Index>(),
            change in 1_u8..,
        ) {
            let tickets = tickets(&[1, 2]);
            let mut ticket = tickets.seal(&plain, NOW, [3; NONCE]).unwrap();
            prop_assert_eq!(tickets.open(&ticket, NOW), Some(plain));
            for length in 0..ticket.len() {
                prop_assert!(tickets.open(&ticket[..length], NOW).is_none());
            }
            let at = at.index(ticket.len());
            ticket[at] ^= change;
            prop_assert!(tickets.open(&ticket, NOW).is_none());
            prop_assert!(tickets.open(&garbage, NOW).is_none());
        }
    }
}
