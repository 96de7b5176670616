//! Hashes of passwords, which are slow to try on purpose and never show themselves.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::alphabet::BCRYPT;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD, STANDARD_NO_PAD};

use crate::config::defaults::{MAX_ARGON2_MEMORY, MAX_ARGON2_WORK, MAX_BCRYPT_COST};

/// bcrypt's own base64. Some programs leave bits set that nobody reads.
const BCRYPT_BASE64: GeneralPurpose =
    GeneralPurpose::new(&BCRYPT, NO_PAD.with_decode_allow_trailing_bits(true));
/// Characters of a bcrypt salt.
const SALT: usize = 22;
/// Bytes of a password that bcrypt reads, the zero at its end included.
const BCRYPT_READS: usize = 72;

/// The hash of a password: bcrypt, or argon2id in PHC's form.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    text: Box<str>,
    kind: Kind,
}

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Bcrypt { cost: u32, salt: [u8; 16], hash: [u8; 23] },
    Argon2id { memory: u32, passes: u32, lanes: u32, salt: Box<[u8]>, hash: Box<[u8]> },
}

/// Why a text is no hash that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrongHash {
    /// Of a kind that is quick to try, or that nobody here knows: what it is.
    Kind(&'static str),
    /// Of a kind that is taken, and cannot be read.
    Damaged,
    /// It would take too long, or too much memory, to try.
    Costly,
}

impl PasswordHash {
    /// Reads a hash.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn read(text: &str) -> Result<Self, WrongHash> {
        let kind = if let Some(rest) =
            ["$2y$", "$2b$", "$2a$"].iter().find_map(|kind| text.strip_prefix(kind))
        {
            bcrypt(rest)?
        } else if let Some(rest) = text.strip_prefix("$argon2id$") {
            argon2id(rest)?
        } else {
            return Err(WrongHash::Kind(other(text)));
        };
        Ok(Self { text: text.into(), kind })
    }

    /// Whether this is the password. It takes as long as whoever made the hash has wanted.
    pub fn matches(&self, password: &[u8]) -> bool {
        match &self.kind {
            Kind::Bcrypt { cost, salt, hash } => {
                let mut read: Vec<u8> = password.iter().copied().take(BCRYPT_READS).collect();
                if read.len() < BCRYPT_READS {
                    read.push(0);
                }
                let tried = bcrypt::bcrypt(*cost, *salt, &read);
                tried.get(..hash.len()).is_some_and(|it| verify_slices_are_equal(it, hash).is_ok())
            }
            Kind::Argon2id { memory, passes, lanes, salt, hash } => {
                let mut tried = vec![0; hash.len()];
                let done = Params::new(*memory, *passes, *lanes, Some(hash.len())).and_then(|it| {
                    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, it);
                    argon2.hash_password_into(password, salt, &mut tried)
                });
                done.is_ok() && verify_slices_are_equal(&tried, hash).is_ok()
            }
        }
    }

    /// One that takes as long and is of no password that anybody knows.
    pub(super) fn of_nobody(&self) -> Self {
        let mut nobody = self.clone();
        let hash = match &mut nobody.kind {
            Kind::Bcrypt { hash, .. } => hash.as_mut_slice(),
            Kind::Argon2id { hash, .. } => hash,
        };
        for byte in hash {
            *byte = !*byte;
        }
        nobody
    }

    /// The hash as it was written, to tell it from others.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(redacted)")
    }
}

/// `12$`, and salt and hash in 53 characters.
fn bcrypt(rest: &str) -> Result<Kind, WrongHash> {
    let (cost, rest) = rest.split_once('$').ok_or(WrongHash::Damaged)?;
    let digits = cost.len() == 2 && cost.bytes().all(|byte| byte.is_ascii_digit());
    let cost: u32 = cost.parse().ok().filter(|_| digits).ok_or(WrongHash::Damaged)?;
    let (salt, hash) = rest.split_at_checked(SALT).ok_or(WrongHash::Damaged)?;
    let read = |text: &str| BCRYPT_BASE64.decode(text).map_err(|_| WrongHash::Damaged);
    let salt = read(salt)?.try_into().map_err(|_| WrongHash::Damaged)?;
    let hash = read(hash)?.try_into().map_err(|_| WrongHash::Damaged)?;
    match cost {
        4..=MAX_BCRYPT_COST => Ok(Kind::Bcrypt { cost, salt, hash }),
        ..4 => Err(WrongHash::Damaged),
        _ => Err(WrongHash::Costly),
    }
}

/// `v=19$m=65536,t=3,p=4$`, and salt and hash in base64.
fn argon2id(rest: &str) -> Result<Kind, WrongHash> {
    let mut parts = rest.split('$');
    let mut next = || parts.next().ok_or(WrongHash::Damaged);
    let (version, terms, salt, hash) = (next()?, next()?, next()?, next()?);
    if version != "v=19" {
        return Err(WrongHash::Kind("argon2id of a version before 1.3"));
    }
    let mut terms = terms.split(',');
    let mut number = |name: &str| -> Result<u32, WrongHash> {
        let value = terms.next().and_then(|term| term.strip_prefix(name)?.strip_prefix('='));
        let digits = value.filter(|it| it.bytes().all(|byte| byte.is_ascii_digit()));
        digits.and_then(|it| it.parse().ok()).ok_or(WrongHash::Damaged)
    };
    let (memory, passes, lanes) = (number("m")?, number("t")?, number("p")?);
    let read = |text: &str| STANDARD_NO_PAD.decode(text).map_err(|_| WrongHash::Damaged);
    let (salt, hash) = (read(salt)?, read(hash)?);
    // Lanes take their turns on one thread.
    let fits = (8..=64).contains(&salt.len()) && (16..=64).contains(&hash.len()) && lanes <= 64;
    if terms.next().is_some() || parts.next().is_some() || !fits {
        return Err(WrongHash::Damaged);
    }
    if memory > MAX_ARGON2_MEMORY || u64::from(memory) * u64::from(passes) > MAX_ARGON2_WORK {
        return Err(WrongHash::Costly);
    }
    Params::new(memory, passes, lanes, Some(hash.len())).map_err(|_| WrongHash::Damaged)?;
    Ok(Kind::Argon2id { memory, passes, lanes, salt: salt.into(), hash: hash.into() })
}

/// What a text is that begins otherwise.
fn other(text: &str) -> &'static str {
    let known = [
        ("$apr1$", "MD5 (apr1)"),
        ("$1$", "MD5 (crypt)"),
        ("{SHA}", "SHA-1"),
        ("{SSHA}", "SHA-1"),
        ("$5$", "SHA-256 (crypt)"),
        ("$6$", "SHA-512 (crypt)"),
        ("$2x$", "bcrypt of a version with a flaw"),
        ("$2$", "bcrypt of a version with a flaw"),
        ("$argon2", "an argon2 that is not argon2id"),
        ("$y$", "yescrypt"),
        ("$7$", "scrypt"),
        ("$scrypt$", "scrypt"),
    ];
    let found = known.iter().find(|(begins, _)| text.starts_with(begins));
    found.map_or("no hash that is known here, or a password as it is", |(_, what)| *what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Of `secret`, made with salts of ones.
    fn bcrypt_of(kind: &str, password: &[u8]) -> String {
        let salt = [1; 16];
        let hash = bcrypt::bcrypt(4, salt, &[password, &[0]].concat());
        let base64 = |bytes: &[u8]| BCRYPT_BASE64.encode(bytes);
        format!("${kind}$04${}{}", base64(&salt), base64(&hash[..23]))
    }

    fn argon2_of(password: &[u8]) -> String {
        let (salt, mut hash) = ([1; 16], [0; 32]);
        let params = Params::new(64, 2, 1, Some(32)).unwrap();
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password_into(password, &salt, &mut hash).unwrap();
        let base64 = |bytes: &[u8]| STANDARD_NO_PAD.encode(bytes);
        format!("$argon2id$v=19$m=64,t=2,p=1${}${}", base64(&salt), base64(&hash))
    }

    #[test]
    fn what_others_have_made_is_read() {
        for (hash, password) in [
            // jBCrypt's test vectors.
            ("$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe", "a"),
            ("$2a$06$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s.", ""),
            // The reference implementation's, of its `test.c`.
            (
                "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$\
                 nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
                "password",
            ),
            (
                "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$\
                 bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
                "password",
            ),
        ] {
            let read = PasswordHash::read(hash).unwrap();
            assert!(read.matches(password.as_bytes()), "{hash}");
            assert!(!read.matches(b"other"), "{hash}");
            assert_eq!(read.text(), hash);
            assert_eq!(format!("{read:?}"), "PasswordHash(redacted)");
        }
    }

    #[test]
    fn bcrypt_reads_72_bytes_and_no_more() {
        let long = [b'x'; 71];
        let read = PasswordHash::read(&bcrypt_of("2y", &long)).unwrap();
        assert!(read.matches(&long));
        assert!(!read.matches(&long[..70]));
        let longer = [b'x'; 100];
        assert!(!read.matches(&longer), "the 72nd byte is no zero");
    }

    #[test]
    fn nobody_has_the_password_of_nobody() {
        for hash in [bcrypt_of("2b", b"secret"), argon2_of(b"secret")] {
            let read = PasswordHash::read(&hash).unwrap();
            assert!(read.matches(b"secret"));
            assert!(!read.of_nobody().matches(b"secret"));
        }
    }

    #[test]
    fn what_is_not_taken_says_why() {
        let kind = |text: &str| match PasswordHash::read(text) {
            Err(WrongHash::Kind(kind)) => kind,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(kind("$apr1$HDPnpVh5$0pXkxvTdNIAeXQZTyYWzI."), "MD5 (apr1)");
        assert_eq!(kind("{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="), "SHA-1");
        assert_eq!(kind("$2x$04$x"), "bcrypt of a version with a flaw");
        assert_eq!(kind("$argon2d$v=19$m=64,t=2,p=1$a$b"), "an argon2 that is not argon2id");
        assert_eq!(kind("secret"), "no hash that is known here, or a password as it is");
        assert_eq!(kind(""), "no hash that is known here, or a password as it is");
        let (bcrypt, argon2) = (bcrypt_of("2y", b"secret"), argon2_of(b"secret"));
        for damaged in [
            &bcrypt[..59],
            &format!("{bcrypt}a"),
            &bcrypt.replace("$04$", "$03$"),
            &bcrypt.replace("$04$", "$4$"),
            &bcrypt.replace("$04$", "$+4$"),
            &argon2.replace("t=2", "t=0"),
            &argon2.replace("m=64", "m=+64"),
            &argon2.replace("p=1", "p=1,keyid=a"),
            &format!("{argon2}$"),
            "$argon2id$v=19$m=64,t=2,p=1$YWJj$YWJj",
            "$argon2id$v=19",
        ] {
            assert_eq!(PasswordHash::read(damaged), Err(WrongHash::Damaged), "{damaged}");
        }
        for costly in [
            &bcrypt.replace("$04$", "$17$"),
            &argon2.replace("m=64", "m=262145"),
            &argon2.replace("m=64,t=2", "m=262144,t=5"),
        ] {
            assert_eq!(PasswordHash::read(costly), Err(WrongHash::Costly), "{costly}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(\\$(2y|argon2id)\\$)?[ -~]{0,80}") {
            let _ = PasswordHash::read(&text);
        }
    }
}
