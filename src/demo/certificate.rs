//! A development certificate, made on the first run and used again while it holds.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

use crate::admin::socket;
use crate::tls::certificate;

const FOLDER: &str = "certs";
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// Days for which one is made.
const DAYS: i64 = 90;
/// Seconds of a day.
const DAY: i64 = 86_400;
/// One that ends within so many seconds is replaced.
const SPARE: i64 = DAY;

/// Where it lies.
#[derive(Debug)]
pub(super) struct Files {
    /// The certificate, and the authority that signed it.
    pub(super) cert: PathBuf,
    /// The certificate's key.
    pub(super) key: PathBuf,
    /// Whether it was made just now.
    pub(super) made: bool,
}

/// The certificate in `certs/` of the current folder, or where that cannot be made in a folder
/// of this user alone.
///
/// # Errors
/// Where it can be neither read nor made, or where files of that name are not the demo's.
pub(super) fn files() -> anyhow::Result<Files> {
    let here = Path::new(FOLDER);
    let usable = fs::create_dir_all(here).is_ok()
        && rustix::fs::access(here, rustix::fs::Access::WRITE_OK).is_ok();
    if usable { files_in(here) } else { files_in(&socket::own_folder()?) }
}

fn files_in(folder: &Path) -> anyhow::Result<Files> {
    let (cert, key) = (folder.join("dev.crt"), folder.join("dev.key"));
    let there = cert.exists() || key.exists();
    let made = !there || has_ended(&cert, &key)?;
    if made {
        make(&cert, &key)?;
    }
    Ok(Files { cert, key, made })
}

/// Whether the one that is there must be replaced. One that is not the demo's is never touched.
fn has_ended(cert: &Path, key: &Path) -> anyhow::Result<bool> {
    let (cert_name, key_name) = (cert.display(), key.display());
    let known = match certificate::load(cert, key) {
        Ok(known) => known,
        Err(unusable) => {
            let problems: Vec<String> = unusable.into_iter().map(|one| one.problem).collect();
            bail!(
                "{}; or delete {cert_name} and {key_name}, and the demo makes new ones",
                problems.join("; ")
            )
        }
    };
    if !NAMES.iter().all(|name| known.names.iter().any(|other| other == name)) {
        bail!("{cert_name} is not the demo's: move it and {key_name} away");
    }
    Ok(known.not_after < Timestamp::now().as_second().saturating_add(SPARE))
}

/// Makes an authority that signs this one certificate; its key is never written, so that whoever
/// trusts it trusts nothing else.
fn make(cert: &Path, key: &Path) -> anyhow::Result<()> {
    let now = Timestamp::now().as_second();
    let day = |days: i64| -> anyhow::Result<_> {
        let then = Timestamp::from_second(now.saturating_add(days.saturating_mul(DAY)))?;
        let date = TimeZone::UTC.to_datetime(then).date();
        let (month, day) = (u8::try_from(date.month())?, u8::try_from(date.day())?);
        Ok(rcgen::date_time_ymd(i32::from(date.year()), month, day))
    };
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.distinguished_name.push(DnType::CommonName, "Ostler demo authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    (authority.not_before, authority.not_after) = (day(-1)?, day(DAYS)?);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

    let mut own = CertificateParams::new(NAMES.map(str::to_owned))?;
    own.distinguished_name.push(DnType::CommonName, "localhost");
    own.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    own.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    own.use_authority_key_identifier_extension = true;
    (own.not_before, own.not_after) = (day(-1)?, day(DAYS)?);
    let secret = KeyPair::generate()?;
    let signed = own.signed_by(&secret, &authority)?;
    write(key, &secret.serialize_pem(), 0o600)?;
    write(cert, &format!("{}{}", signed.pem(), authority.pem()), 0o644)
}

/// Whole or not at all, with its mode from the first byte on.
fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let draft = path.with_extension(format!("{}", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&draft)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written.with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn one_is_made_once_and_its_key_is_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let first = files_in(folder.path()).unwrap();
        assert!(first.made);
        let mode = fs::metadata(&first.key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let content = fs::read(&first.cert).unwrap();
        let second = files_in(folder.path()).unwrap();
        assert!(!second.made);
        assert_eq!(fs::read(&second.cert).unwrap(), content);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_file_of_that_name_that_is_not_the_demos_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dev.crt");
        fs::write(&path, "mine").unwrap();
        assert!(files_in(folder.path()).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");

        let other = rcgen::generate_simple_self_signed(["other.example".to_owned()]).unwrap();
        fs::write(&path, other.cert.pem()).unwrap();
        let key = folder.path().join("dev.key");
        write(&key, &other.signing_key.serialize_pem(), 0o600).unwrap();
        let error = files_in(folder.path()).unwrap_err().to_string();
        assert!(error.contains("not the demo's"), "{error}");
    }
}
