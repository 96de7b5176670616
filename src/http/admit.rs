//! Refuses what is malformed, ambiguous or too large, before anything is decided by it.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{CONTENT_LENGTH, EXPECT, HOST, HeaderValue, MAX_FORWARDS, UPGRADE, VIA};
use http::{Method, StatusCode, Version};

use crate::net::message::RequestHead;
use crate::route::host::{Authority, fold_host, parse_authority};
use crate::route::path::normalise;
use crate::snapshot::Listener;
use crate::telemetry::reason::Reason;

use super::failure::Failure;
use super::header::hop;
use super::header::seen::Seen;
use super::local;
use super::peer::Peer;
use super::recent;
use super::websocket;

/// What an admitted head asks for.
#[derive(Debug)]
pub struct Admitted {
    /// The one authority for route, log, `Host` and session; absent only in HTTP/1.0, where the
    /// target names none either.
    pub authority: Option<HeaderValue>,
    /// Its host, lower case, without port and final dot.
    pub host: Option<Arc<str>>,
    /// The path, normalised, for matching only; the original bytes are forwarded.
    pub path: Option<Box<str>>,
    /// A change to the WebSocket protocol is asked for.
    pub websocket: bool,
    /// `Max-Forwards: 0`: the answer is ours to give.
    pub last_hop: bool,
}

impl Admitted {
    /// The path that routes are matched with.
    pub fn path<'a>(&'a self, head: &'a RequestHead) -> &'a str {
        self.path.as_deref().unwrap_or_else(|| head.uri.path())
    }
}

/// Checks a head.
///
/// # Errors
/// What is wrong with it.
pub fn check(
    head: &mut RequestHead,
    seen: Seen,
    peer: &Peer,
    listener: &Listener,
) -> Result<Admitted, Failure> {
    // Over HTTP/1 the wire has counted them.
    if head.headers.len() > listener.limits.headers {
        return Err(Reason::HeaderTooLarge.into());
    }
    if head.version == Version::HTTP_2 {
        list_size(head, listener.limits.header_size)?;
    }
    method(head)?;
    if head.version == Version::HTTP_2 {
        framed(head, peer, listener)?;
    }
    let authority = authority(head, seen)?;
    let host = match &authority {
        None => None,
        // Nearly always one of a few.
        Some(value) => Some(recent::host(value, || parse(value).map(|it| fold(&it)))?),
    };
    if let (Some(tls), Some(listener_tls), Some(host)) = (&peer.tls, &listener.tls, &host)
        && let Some(server_name) = &tls.server_name
        && !listener_tls.server.store.same_certificate(server_name, host)
    {
        return Err(Reason::Misdirected.into());
    }
    let path = path(head)?;
    let websocket = seen.any(Seen::UPGRADE) && upgrade(head)?;
    if seen.any(Seen::EXPECT) {
        expectation(head)?;
    }
    if seen.any(Seen::CONTENT_LENGTH) {
        length(head)?;
    }
    if seen.any(Seen::VIA) {
        looped(head)?;
    }
    let last_hop = max_forwards(head)?;
    Ok(Admitted { authority, host, path, websocket, last_hop })
}

/// The size of a header list by RFC 9113 §6.5.2: `h2` lets through more than a head may have.
fn list_size(head: &RequestHead, limit: usize) -> Result<(), Failure> {
    /// What each field counts beside its name and value.
    const FIELD: usize = 32;
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target > limit {
        return Err(Reason::UriTooLong.into());
    }
    let entry = |name: &str, length: usize| name.len() + length + FIELD;
    let authority = head.uri.authority().map_or(0, |it| entry(":authority", it.as_str().len()));
    let scheme = head.uri.scheme_str().map_or(0, |it| entry(":scheme", it.len()));
    let first = entry(":method", head.method.as_str().len()) + entry(":path", target);
    let fields = head.headers.iter().map(|(name, value)| entry(name.as_str(), value.len()));
    if first + authority + scheme + fields.sum::<usize>() > limit {
        Err(Reason::HeaderTooLarge.into())
    } else {
        Ok(())
    }
}

/// CONNECT is for forward proxies; TRACE would show fields that only we and the backend know.
fn method(head: &RequestHead) -> Result<(), Failure> {
    if head.method == Method::CONNECT && websocket::is_extended(head) {
        // RFC 8441 §3: a protocol that we do not speak.
        return Err(Failure::not_supported(StatusCode::NOT_IMPLEMENTED, "protocol"));
    }
    if head.method == Method::CONNECT || head.method == Method::TRACE {
        return Err(Failure::not_supported(StatusCode::METHOD_NOT_ALLOWED, "method"));
    }
    Ok(())
}

/// RFC 9113 §8.2.1 and §8.3.1: what HTTP/2 calls malformed and h2 lets through. A trusted proxy may
/// pass on the scheme that its own client used.
fn framed(head: &RequestHead, peer: &Peer, listener: &Listener) -> Result<(), Failure> {
    let scheme = head.uri.scheme_str().unwrap_or("https");
    let fits = scheme == "https"
        || scheme == "http" && (peer.tls.is_none() || listener.trusted.contains(peer.address.ip()));
    if !fits {
        return Err(Failure::bad_request("scheme"));
    }
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let padded = |value: &[u8]| blank(value.first()) || blank(value.last());
    if head.headers.values().any(|value| padded(value.as_bytes())) {
        return Err(Failure::bad_request("field_value"));
    }
    Ok(())
}

/// RFC 9112 §3.2 and RFC 9113 §8.3.1: exactly one authority, and all who name one agree.
fn authority(head: &mut RequestHead, seen: Seen) -> Result<Option<HeaderValue>, Failure> {
    if seen.any(Seen::REPEATED) && head.headers.get_all(HOST).nth(1).is_some() {
        return Err(Failure::bad_request("host_repeated"));
    }
    let host = head.headers.get(HOST);
    let in_target = head.uri.authority();
    if head.version != Version::HTTP_2 && in_target.is_some() {
        // Absolute-form, or authority-form without CONNECT.
        match head.uri.scheme_str() {
            Some("http" | "https") => {}
            _ => return Err(Failure::bad_request("target_form")),
        }
    }
    match (in_target, host) {
        (Some(target), Some(host)) => {
            if !target.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes()) {
                return Err(Failure::bad_request("host_differs"));
            }
            // RFC 9112 §3.2.2: `Host` gives way, also where it is only spelled otherwise.
            of_target(target).map(Some)
        }
        (None, Some(host)) => Ok(Some(host.clone())),
        (Some(target), None) if head.version != Version::HTTP_11 => of_target(target).map(Some),
        (None, None) if head.version == Version::HTTP_10 => Ok(None),
        (_, None) => Err(Failure::bad_request("host_missing")),
    }
}

fn of_target(target: &http::uri::Authority) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(target.as_str()).map_err(|_| Failure::bad_request("authority"))
}

fn parse(value: &HeaderValue) -> Result<Authority<'_>, Failure> {
    let text = value.to_str().map_err(|_| Failure::bad_request("host"))?;
    parse_authority(text).map_err(|_| Failure::bad_request("host"))
}

fn fold(authority: &Authority<'_>) -> Arc<str> {
    let mut buffer = [0; 256];
    fold_host(authority.host, &mut buffer).into()
}

/// Matching is done on a normalised copy, which is rarely another one.
fn path(head: &RequestHead) -> Result<Option<Box<str>>, Failure> {
    let path = head.uri.path();
    if path == "*" {
        return if head.method == Method::OPTIONS {
            Ok(Some("/".into()))
        } else {
            Err(Failure::bad_request("target_form"))
        };
    }
    if path.is_empty() && head.uri.authority().is_some() && head.version != Version::HTTP_2 {
        // RFC 9112 §3.2.2: absolute-form without a path.
        return Ok(Some("/".into()));
    }
    match normalise(path) {
        Ok(Cow::Borrowed(same)) if same.len() == path.len() => Ok(None),
        Ok(other) => Ok(Some(other.into())),
        Err(_) => Err(Failure::bad_request("path")),
    }
}

/// RFC 9110 §7.8: only what we will carry is forwarded, everything else is no upgrade.
fn upgrade(head: &RequestHead) -> Result<bool, Failure> {
    let Some(upgrade) = head.headers.get(UPGRADE) else { return Ok(false) };
    if head.version == Version::HTTP_10 {
        return Err(Failure::bad_request("upgrade_in_http_1_0"));
    }
    let websocket = upgrade.as_bytes().eq_ignore_ascii_case(b"websocket");
    if !websocket {
        return Ok(false);
    }
    if head.method != Method::GET
        || !hop::has_token(&head.headers, http::header::CONNECTION, "upgrade")
    {
        return Err(Failure::bad_request("upgrade"));
    }
    Ok(true)
}

/// RFC 9110 §10.1.1. hyper answers 100 by itself once the body is wanted.
fn expectation(head: &mut RequestHead) -> Result<(), Failure> {
    let Some(expect) = head.headers.remove(EXPECT) else { return Ok(()) };
    if head.version == Version::HTTP_10 || expect.as_bytes().eq_ignore_ascii_case(b"100-continue") {
        Ok(())
    } else {
        Err(Failure::not_supported(StatusCode::EXPECTATION_FAILED, "expectation"))
    }
}

/// Over HTTP/1 the wire has seen to it already; over HTTP/2 nobody has.
fn length(head: &RequestHead) -> Result<(), Failure> {
    let mut lengths = head.headers.get_all(CONTENT_LENGTH);
    let Some(length) = lengths.next() else { return Ok(()) };
    let digits = !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit);
    let fits = length.to_str().is_ok_and(|length| length.parse::<u64>().is_ok());
    if digits && fits && lengths.next().is_none() {
        Ok(())
    } else {
        Err(Failure::bad_request("content_length"))
    }
}

/// Whether a declared length is beyond the limit of route and listener.
pub fn too_large(head: &RequestHead, limit: Option<u64>) -> bool {
    let length = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let length: Option<u64> = length.and_then(|length| length.parse().ok());
    matches!((length, limit), (Some(length), Some(limit)) if length > limit)
}

/// RFC 9110 §7.6.3: our own name in `Via` means that the request was here before.
fn looped(head: &RequestHead) -> Result<(), Failure> {
    let own = local::pseudonym();
    let own = own.to_str().unwrap_or_default();
    let seen = head.headers.get_all(VIA).any(|via| {
        let via = via.to_str().unwrap_or_default();
        via.split(',').any(|hop| hop.split_ascii_whitespace().nth(1) == Some(own))
    });
    if seen { Err(Reason::Loop.into()) } else { Ok(()) }
}

/// RFC 9110 §7.6.2; ignored on methods other than OPTIONS and TRACE.
fn max_forwards(head: &mut RequestHead) -> Result<bool, Failure> {
    if head.method != Method::OPTIONS {
        return Ok(false);
    }
    let Some(hops) = head.headers.get(MAX_FORWARDS) else { return Ok(false) };
    let hops: Option<u32> = hops.to_str().ok().and_then(|hops| hops.trim().parse().ok());
    match hops.ok_or_else(|| Failure::bad_request("max_forwards"))? {
        0 => Ok(true),
        hops => {
            head.headers.insert(MAX_FORWARDS, HeaderValue::from(hops - 1));
            Ok(false)
        }
    }
}
