//! Hosts: what is accepted is what the `http` crate and a URL have for the same text, and its folded
//! form is its own.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ostler::route::{fold_host, parse_authority};

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(authority) = parse_authority(text) else { return };
    let spelled = &text[authority.host.len()..];
    match authority.port {
        None => assert_eq!(spelled, ""),
        Some(port) => {
            let digits = spelled.strip_prefix(':').expect("a colon");
            assert_eq!(digits.parse(), Ok(port));
            assert!(port > 0);
        }
    }
    let other: http::uri::Authority = text.parse().expect("a looser reader takes it too");
    assert_eq!(other.host(), authority.host);
    assert_eq!(other.port_u16(), authority.port);
    assert!(!text.contains(['@', '/', '\\', '?', '#', '%', ' ', ',']));

    let mut buffer = [0; 256];
    let folded = fold_host(authority.host, &mut buffer).to_owned();
    assert!(!folded.is_empty() && !folded.ends_with('.'));
    assert!(!folded.bytes().any(|byte| byte.is_ascii_uppercase()));
    let again = parse_authority(&folded).expect("its folded form is a host");
    assert_eq!((again.host, again.port), (&*folded, None));
    assert_eq!(fold_host(&folded, &mut [0; 256]), folded);
    // However it was written, it is the same host.
    let upper = authority.host.to_ascii_uppercase();
    assert_eq!(fold_host(&upper, &mut [0; 256]), folded);
});
