//! Name and password in `Authorization: Basic` (RFC 7617).

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD_INDIFFERENT};
use http::header::{AUTHORIZATION, HeaderValue};

use super::super::failure::Failure;
use super::super::header::forwarded::Client;
use super::super::{local, rate_limit};
use super::Granted;
use super::verifier::Verdict;
use crate::net::fields::Fields;
use crate::snapshot::Basic;
use crate::telemetry::reason::Reason;

/// Padded or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, NO_PAD_INDIFFERENT);
/// Bytes of name and password: more is nobody's.
const MOST: usize = 1024;

/// What the log is told of it. Never a name: some write their password there.
const NONE: &str = "no_credentials";
const MALFORMED: &str = "malformed_credentials";
const UNKNOWN: &str = "unknown_user";
const WRONG: &str = "wrong_password";
const WAITING: &str = "passwords of this client wait already";
const CROWDED: &str = "too many passwords wait";

/// Lets a user in.
///
/// # Errors
/// 401 for everybody else; 429 and 503 where too many passwords wait to be tried.
pub(super) async fn admit<'a>(
    basic: &'a Basic,
    headers: &Fields,
    client: Client,
) -> Result<Granted<'a>, Failure> {
    let refused = |cause| Failure::unauthorized(basic.challenge.clone(), cause);
    let pair = credentials(headers).map_err(refused)?;
    let (name, password) = split(&pair).ok_or_else(|| refused(MALFORMED))?;
    let known = std::str::from_utf8(name).ok().and_then(|name| basic.users.find(name));
    // Whoever is nobody waits as long as everybody.
    let hash = known.unwrap_or_else(|| basic.users.nobody());
    let verifier = local::verifier();
    let tag = verifier.tag(hash, name, password);
    if known.is_none() || !verifier.knows(tag) {
        let client = rate_limit::network(client.address);
        // Boxed: it is rare.
        let verdict = Box::pin(verifier.verify(tag, hash, password, client)).await;
        match verdict {
            Verdict::Right if known.is_some() => verifier.remember(tag),
            Verdict::Right | Verdict::Wrong => {
                return Err(refused(if known.is_some() { WRONG } else { UNKNOWN }));
            }
            Verdict::TooMany => {
                let mut failure = Failure::rate_limited(HeaderValue::from_static("1"));
                failure.cause = Some(WAITING.into());
                return Err(failure);
            }
            Verdict::Busy => return Err(Failure::because(Reason::OverloadedStreams, CROWDED)),
        }
    }
    let value = HeaderValue::from_bytes(name).ok();
    let field = basic.header.clone().zip(value);
    Ok(Granted {
        names: basic.header.as_slice(),
        fields: field.into_iter().collect(),
        secret: !basic.forward,
    })
}

/// Name and password with the colon between them.
fn credentials(headers: &Fields) -> Result<Vec<u8>, &'static str> {
    let mut fields = headers.get_all(AUTHORIZATION);
    let field = fields.next().ok_or(NONE)?.as_bytes();
    if fields.next().is_some() {
        return Err(MALFORMED);
    }
    let at = field.iter().position(|byte| *byte == b' ').unwrap_or(field.len());
    let (scheme, rest) = field.split_at_checked(at).ok_or(MALFORMED)?;
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return Err(NONE);
    }
    let rest = rest.trim_ascii();
    if rest.len() > MOST.div_ceil(3) * 4 {
        return Err(MALFORMED);
    }
    BASE64.decode(rest).map_err(|_| MALFORMED)
}

/// None where there is no colon, or a character that RFC 7617 §2 rules out.
fn split(pair: &[u8]) -> Option<(&[u8], &[u8])> {
    if pair.iter().any(u8::is_ascii_control) {
        return None;
    }
    let colon = memchr::memchr(b':', pair)?;
    let (name, rest) = pair.split_at_checked(colon)?;
    Some((name, rest.get(1..)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(fields: &[&str]) -> Result<(String, String), &'static str> {
        let mut headers = Fields::new();
        for field in fields {
            headers.append(AUTHORIZATION, HeaderValue::from_str(field).unwrap());
        }
        let pair = credentials(&headers)?;
        let (name, password) = split(&pair).ok_or(MALFORMED)?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Ok((text(name), text(password)))
    }

    #[test]
    fn name_and_password_are_read_as_rfc_7617_has_them() {
        let pair = |name: &str, password: &str| Ok((name.to_owned(), password.to_owned()));
        let aladdin = pair("Aladdin", "open sesame");
        assert_eq!(read(&["Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="]), aladdin);
        assert_eq!(read(&["bASIC   QWxhZGRpbjpvcGVuIHNlc2FtZQ"]), aladdin);
        assert_eq!(read(&["Basic dGVzdDoxMjPCow=="]), pair("test", "123£"));
        assert_eq!(read(&["Basic YTpiOmM="]), pair("a", "b:c"));
        assert_eq!(read(&["Basic Og=="]), pair("", ""));
        assert_eq!(read(&[]), Err(NONE));
        assert_eq!(read(&["Bearer x"]), Err(NONE));
        for malformed in ["Basic", "Basic ", "Basic !", "Basic YWJj", "Basic YQA6Yg=="] {
            assert_eq!(read(&[malformed]), Err(MALFORMED), "{malformed}");
        }
        assert_eq!(read(&["Basic YTpi", "Basic YTpi"]), Err(MALFORMED));
        assert_eq!(read(&[&format!("Basic {}", "YTpi".repeat(400))]), Err(MALFORMED));
    }

    proptest! {
        #[test]
        fn any_field_is_read_or_refused(field in "(Basic )?[ -~]{0,40}") {
            let _ = read(&[field.as_str()]);
        }
    }
}
