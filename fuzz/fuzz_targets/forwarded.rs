//! What is said about a client: strangers say nothing, the trusted are read from right to left, and
//! what is for this hop alone goes no further.

#![no_main]

use std::net::{IpAddr, SocketAddr};

use http::header::{CONNECTION, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use ostler::http::header::forwarded::{client, write};
use ostler::http::header::hop;
use ostler::http::header::seen::Seen;
use ostler::net::fields::Fields;
use ostler::net::trust::TrustSet;

fuzz_target!(|input: &[u8]| {
    let [flags, text @ ..] = input else { return };
    let (trusting, https, named) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0);
    let headers = fields(text);
    let peer: IpAddr = [10, 0, 0, 1].into();
    let network = if trusting { "10.0.0.0/8" } else { "192.0.2.0/24" };
    let trusted =
        TrustSet::new(&[network.parse().expect("a network"), "fd00::/8".parse().expect("one")]);

    let told = client(&headers, peer, https, &trusted);
    if trusting {
        assert_eq!(told.address, walked(&headers, peer, &trusted));
    } else {
        assert_eq!((told.address, told.https), (peer, https));
    }

    let value = HeaderValue::from_static("10.0.0.1");
    let host = named.then(|| HeaderValue::from_static("shop.example"));
    let mut sent = headers.clone();
    let seen = Seen::of(&headers);
    hop::strip(&mut sent, seen);
    stripped(&headers, &sent);
    let before = sent.clone();
    write(&mut sent, &value, https, host.as_ref(), (trusting, seen));
    let scheme = if https { "https" } else { "http" };
    if trusting {
        let chain = values(&sent, "x-forwarded-for").first().copied().expect("a chain");
        let mut all: Vec<&[u8]> = values(&before, "x-forwarded-for");
        all.push(b"10.0.0.1");
        assert_eq!(chain, all.join(&b", "[..]));
        assert!(!values(&sent, "x-forwarded-proto").is_empty());
        assert!(!named || !values(&sent, "x-forwarded-host").is_empty());
    } else {
        assert_eq!(values(&sent, "x-forwarded-for"), [b"10.0.0.1"]);
        assert_eq!(values(&sent, "x-forwarded-proto"), [scheme.as_bytes()]);
        assert_eq!(values(&sent, "x-forwarded-host").len(), usize::from(named));
    }
    for (name, value) in &sent {
        let ours =
            matches!(name.as_str(), "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host");
        assert!(trusting || ours || !tells(name.as_str()), "{name}: {value:?}");
    }
    // What tells of nobody is there as it was.
    for name in before.keys().filter(|name| !tells(name.as_str())) {
        assert_eq!(values(&before, name.as_str()), values(&sent, name.as_str()));
    }
});

fn fields(text: &[u8]) -> Fields {
    let mut headers = Fields::new();
    for line in text.split(|byte| *byte == b'\n').take(32) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

fn values<'a>(headers: &'a Fields, name: &str) -> Vec<&'a [u8]> {
    let of = headers.iter().filter(|(there, _)| *there == name);
    of.map(|(_, value)| value.as_bytes()).collect()
}

/// Whether a name tells of a client, in any spelling that some backend reads as one that does.
fn tells(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    name.starts_with("x-forwarded-") || name == "x-real-ip" || name == "forwarded"
}

/// All hops as one list, from the right to the first that is not trusted.
fn walked(headers: &Fields, peer: IpAddr, trusted: &TrustSet) -> IpAddr {
    let mut address = peer;
    for field in values(headers, "x-forwarded-for").into_iter().rev() {
        if !field.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) {
            return address;
        }
        for hop in field.rsplit(|byte| *byte == b',') {
            let hop = std::str::from_utf8(hop).expect("ASCII").trim();
            let Some(found) = hop_of(hop) else { return address };
            address = found;
            if !trusted.contains(address) {
                return address;
            }
        }
    }
    address
}

fn hop_of(hop: &str) -> Option<IpAddr> {
    let plain = hop.parse().ok();
    let with_port = hop.parse::<SocketAddr>().ok().map(|it| it.ip());
    let inner = hop.strip_prefix('[').and_then(|hop| hop.strip_suffix(']'));
    plain.or(with_port).or(inner.and_then(|inner| inner.parse().ok()))
}

fn stripped(before: &Fields, after: &Fields) {
    let hops = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
        "te",
        "http2-settings",
        "proxy-authenticate",
    ];
    for name in hops {
        assert!(values(after, name).is_empty(), "{name}");
    }
    let named: Vec<String> = before
        .get_all(CONNECTION)
        .flat_map(|value| value.to_str().unwrap_or_default().split(','))
        .map(|token| token.trim().to_ascii_lowercase())
        .collect();
    for name in before.keys() {
        let text = name.as_str();
        let gone = !after.contains_key(name);
        let relied_on = ["host", "cookie", "content-length", "authorization", "via", "forwarded"];
        assert!(!(gone && relied_on.contains(&text)), "{text} was taken away");
        assert!(!(gone && text.starts_with("x-forwarded-")), "{text} was taken away");
        assert!(!gone || hops.contains(&text) || named.iter().any(|it| it == text), "{text}");
        if !gone {
            assert_eq!(values(before, text), values(after, text));
        }
    }
    let mut again = after.clone();
    hop::strip(&mut again, Seen::of(after));
    assert_eq!(&again, after);
}
