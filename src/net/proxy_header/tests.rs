//! Headers as the specification has them, as others spoil them, and any bytes.

use proptest::prelude::*;

use super::*;

fn ends(source: &str, destination: &str) -> Ends {
    let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
    Ends { source, destination }
}

fn header(length: usize, ends: impl Into<Option<Ends>>) -> Beginning {
    Beginning::Header { length, ends: ends.into() }
}

/// A header of version 2 with these bytes behind its fixed part.
fn binary(command: u8, family: u8, behind: &[u8]) -> Vec<u8> {
    let length = u16::try_from(behind.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, behind].concat()
}

const TCP4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 1, 187];

#[test]
fn a_line_tells_both_ends() {
    let text = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\nGET / HTTP/1.1\r\n";
    assert_eq!(read(text), Ok(header(45, ends("192.0.2.1:56324", "198.51.100.2:443"))));
    let text = b"PROXY TCP6 2001:db8::1 ::1 1 0\r\n";
    assert_eq!(read(text), Ok(header(32, ends("[2001:db8::1]:1", "[::1]:0"))));
    let longest = [b"PROXY UNKNOWN ".as_slice(), &[b'f'; 91], b"\r\n"].concat();
    assert_eq!(longest.len(), MOST_V1);
    assert_eq!(read(&longest), Ok(header(MOST_V1, None)));
    assert_eq!(read(b"PROXY UNKNOWN\r\n"), Ok(header(15, None)));
}

#[test]
fn a_line_that_says_something_else_is_refused() {
    for wrong in [
        "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 1\r\n",
        "PROXY TCP4  192.0.2.1 198.51.100.2 56324 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 056324 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 +1 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n",
        "PROXY TCP4 192.0.2.1 ::1 1 443\r\n",
        "PROXY TCP6 192.0.2.1 ::1 1 443\r\n",
        "PROXY UDP4 192.0.2.1 198.51.100.2 1 443\r\n",
        "PROXY tcp4 192.0.2.1 198.51.100.2 1 443\r\n",
        "PROXY \r\n",
    ] {
        assert_eq!(read(wrong.as_bytes()), Err(Malformed), "{wrong}");
    }
    let endless = [LINE, &[b'x'; MOST_V1]].concat();
    assert_eq!(read(&endless), Err(Malformed));
    assert_eq!(read(&endless[..MOST_V1]), Err(Malformed));
    assert_eq!(read(&endless[..MOST_V1 - 1]), Ok(Beginning::Partial));
}

#[test]
fn a_binary_header_tells_both_ends_and_its_extensions_are_passed_over() {
    let told = ends("192.0.2.1:56324", "198.51.100.2:443");
    assert_eq!(read(&binary(0x21, 0x11, &TCP4)), Ok(header(28, told)));
    let extended = [TCP4.as_slice(), &[0x04, 0, 3, 1, 2, 3], &[0xee; 500]].concat();
    let bytes = binary(0x21, 0x11, &extended);
    assert_eq!(read(&bytes), Ok(header(16 + 518, told)));
    assert_eq!(read(&bytes[..28]), Ok(header(16 + 518, told)), "the extensions may come later");
    let mut six = [0; 36];
    (six[15], six[16], six[31], six[33]) = (1, 0xfe, 2, 80);
    assert_eq!(read(&binary(0x21, 0x21, &six)), Ok(header(52, ends("[::1]:80", "[fe00::2]:0"))));
}

#[test]
fn who_speaks_for_nobody_keeps_the_socket_s_ends() {
    for (command, family, behind) in
        [(0x20, 0x00, 0), (0x20, 0x11, 12), (0x21, 0x00, 7), (0x21, 0x31, 216), (0x21, 0x12, 12)]
    {
        let bytes = binary(command, family, &vec![0; behind]);
        assert_eq!(read(&bytes), Ok(header(16 + behind, None)), "{command:x} {family:x}");
    }
}

#[test]
fn a_binary_header_of_another_kind_is_refused() {
    for (command, family, behind) in
        [(0x11, 0x11, 12), (0x22, 0x11, 12), (0x21, 0x41, 12), (0x21, 0x13, 12), (0x21, 0x11, 11)]
    {
        let bytes = binary(command, family, &vec![0; behind]);
        assert_eq!(read(&bytes), Err(Malformed), "{command:x} {family:x} {behind}");
    }
    let long = u16::try_from(MOST_V2 - FIXED).unwrap();
    let of = |length: u16| [SIGNATURE, &[0x20, 0], &length.to_be_bytes()].concat();
    assert_eq!(read(&of(long)), Ok(header(MOST_V2, None)));
    assert_eq!(read(&of(long + 1)), Err(Malformed));
}

#[test]
fn what_http_or_tls_begins_with_is_no_header() {
    for other in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"PRI * HTTP/2.0",
        b"PROXYING",
        b"\x16\x03\x01",
        b"\r\n\r\nGET",
    ] {
        assert_eq!(read(other), Ok(Beginning::Other), "{other:?}");
    }
    for partial in [&b""[..], b"P", b"PR", b"PROXY", b"\r\n", b"\r\n\r\n\0\r\nQUIT"] {
        assert_eq!(read(partial), Ok(Beginning::Partial), "{partial:?}");
    }
}

#[test]
fn both_ends_are_told_in_one_family() {
    let told = |source: &str, destination: &str| {
        let line = write(Version::V1, Some(ends(source, destination)));
        String::from_utf8(line).unwrap()
    };
    let line = told("[::ffff:192.0.2.1]:9", "198.51.100.2:443");
    assert_eq!(line, "PROXY TCP4 192.0.2.1 198.51.100.2 9 443\r\n");
    let line = told("192.0.2.1:9", "[2001:db8::1]:443");
    assert_eq!(line, "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 9 443\r\n");
    assert_eq!(told("[2001:db8::1]:9", "0.0.0.0:0"), "PROXY TCP6 2001:db8::1 :: 9 0\r\n");
    for version in [Version::V1, Version::V2] {
        let header = write(version, None);
        assert_eq!(read(&header), Ok(self::header(header.len(), None)));
    }
}

fn end() -> impl Strategy<Value = SocketAddr> {
    let four = any::<[u8; 4]>().prop_map(IpAddr::from);
    let six = any::<[u8; 16]>().prop_map(IpAddr::from);
    (prop_oneof![four, six], any::<u16>()).prop_map(|(address, port)| (address, port).into())
}

fn anything() -> impl Strategy<Value = Vec<u8>> {
    let noise = || proptest::collection::vec(any::<u8>(), 0..300);
    prop_oneof![
        noise(),
        noise().prop_map(|rest| [SIGNATURE, &rest].concat()),
        (0_u8..0x40, 0_u8..0x40, noise()).prop_map(|(it, of, rest)| binary(it, of, &rest)),
        "PROXY (TCP4|TCP6|UNKNOWN)? ?[0-9a-f.:]{0,20} [0-9a-f.:]{0,20} [0-9]{0,6} [0-9]{0,6}\r\n"
            .prop_map(String::into_bytes),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(source in end(), destination in end()) {
        for version in [Version::V1, Version::V2] {
            let header = write(version, Some(Ends { source, destination }));
            let Ok(Beginning::Header { length, ends: Some(told) }) = read(&header) else {
                panic!("{header:?}");
            };
            prop_assert_eq!(length, header.len());
            prop_assert_eq!(told.source.ip().to_canonical(), source.ip().to_canonical());
            prop_assert_eq!(told.source.port(), source.port());
            prop_assert_eq!(told.destination.port(), destination.port());
        }
    }

    /// What is known of a part is true of the whole, and after `ENOUGH` bytes all is known.
    #[test]
    fn more_bytes_never_change_what_has_been_said(bytes in anything()) {
        let whole = read(&bytes);
        for cut in 0..bytes.len() {
            let part = read(&bytes[..cut]);
            if part != Ok(Beginning::Partial) {
                prop_assert_eq!(part, whole, "{} of {:?}", cut, &bytes);
                break;
            }
            prop_assert!(cut < ENOUGH);
        }
        if let Ok(Beginning::Header { length, .. }) = whole {
            prop_assert!(length <= MOST_V2);
        }
    }
}
