//! PROXY headers: what is said of a part holds of the whole, a second reader agrees, and what is told
//! can be written and read again.

#![no_main]

use std::net::{IpAddr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use ostler::net::proxy_header::{Beginning, ENOUGH, Ends, Version, read, write};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fuzz_target!(|bytes: &[u8]| {
    let whole = read(bytes);
    for cut in 0..bytes.len() {
        let part = read(&bytes[..cut]);
        if part != Ok(Beginning::Partial) {
            assert_eq!(part, whole, "{cut} bytes of {}", bytes.escape_ascii());
            break;
        }
        assert!(cut < ENOUGH, "{cut} bytes are not enough: {}", bytes.escape_ascii());
    }
    let Ok(Beginning::Header { length, ends }) = whole else { return };
    assert!((8..=16 * 1024).contains(&length));
    if bytes.starts_with(b"PROXY ") {
        assert!(bytes[..length].ends_with(b"\r\n") && length <= 107);
        assert_eq!(ends, of_line(&bytes[..length - 2]));
    } else {
        assert!(bytes.starts_with(SIGNATURE));
        let behind = usize::from(bytes[14]) << 8 | usize::from(bytes[15]);
        assert_eq!(length, 16 + behind);
        assert_eq!(ends, of_binary(bytes));
    }
    let Some(told) = ends else { return };
    for version in [Version::V1, Version::V2] {
        let header = write(version, Some(told));
        let Ok(Beginning::Header { length, ends: Some(again) }) = read(&header) else {
            panic!("not read again: {}", header.escape_ascii());
        };
        assert_eq!(length, header.len());
        for (one, other) in [(told.source, again.source), (told.destination, again.destination)] {
            assert_eq!(one.port(), other.port());
            let same = one.ip().to_canonical() == other.ip().to_canonical();
            // A header has no words for an unspecified address of the other family.
            let nowhere = one.ip().to_canonical().is_unspecified();
            assert!(same || nowhere, "{told:?} became {again:?}");
        }
    }
});

/// A line without its end, by its words.
fn of_line(line: &[u8]) -> Option<Ends> {
    let words: Vec<&str> = std::str::from_utf8(line).expect("text").split(' ').collect();
    if words[1] == "UNKNOWN" {
        return None;
    }
    let [_, family, source, destination, from, to] = words[..] else { panic!("{words:?}") };
    assert!(family == "TCP4" || family == "TCP6");
    let end = |address: &str, port: &str| {
        let address: IpAddr = address.parse().expect("an address");
        assert_eq!(address.is_ipv4(), family == "TCP4");
        let number: u16 = port.parse().expect("a port");
        assert_eq!(number.to_string(), port);
        SocketAddr::new(address, number)
    };
    Some(Ends { source: end(source, from), destination: end(destination, to) })
}

/// A header of version 2, by its offsets.
fn of_binary(bytes: &[u8]) -> Option<Ends> {
    let port = |at: usize| u16::from(bytes[at]) << 8 | u16::from(bytes[at + 1]);
    assert!(bytes[12] == 0x20 || bytes[12] == 0x21);
    match (bytes[12], bytes[13]) {
        (0x21, 0x11) => {
            let address = |at: usize| -> [u8; 4] { bytes[at..at + 4].try_into().expect("four") };
            let source = SocketAddr::from((address(16), port(24)));
            Some(Ends { source, destination: SocketAddr::from((address(20), port(26))) })
        }
        (0x21, 0x21) => {
            let address = |at: usize| -> [u8; 16] { bytes[at..at + 16].try_into().expect("16") };
            let source = SocketAddr::from((address(16), port(48)));
            Some(Ends { source, destination: SocketAddr::from((address(32), port(50))) })
        }
        _ => None,
    }
}
