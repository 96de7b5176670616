//! The gate of HTTP/1: whatever it lets through a strict second reader takes too, with the same
//! bounds, and so does the parser behind it; and how bytes are cut makes no difference.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ostler::net::fields::Fields;
use ostler::net::wire::fuzzing::{Gate, read_at_once};
use ostler::net::wire::{HeadLimits, is_whole_answer, read_answer};
use ostler_fuzz::reader::{self, Unread};

const LIMITS: HeadLimits = HeadLimits { size: 2048, fields: 16, target: 512 };

fuzz_target!(|input: &[u8]| {
    let [flags, cut, bytes @ ..] = input else { return };
    let cut = usize::from(*cut).max(1);
    if flags & 1 == 0 {
        requests(bytes, flags & 2 != 0, cut);
    } else {
        responses(bytes, cut);
    }
});

/// What the gate did with some bytes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Passed {
    cleared: usize,
    heads: u64,
    refused: bool,
    /// How far it was when each head had passed.
    ends: Vec<usize>,
}

/// Bytes that come in pieces, as the wire hands them on.
fn pass(mut gate: Gate, bytes: &[u8], cut: usize, tunnel: bool) -> (Passed, Gate) {
    let mut passed = Passed::default();
    let mut come = 0;
    loop {
        let step = gate.advance(&bytes[passed.cleared..come]);
        passed.cleared += step.cleared;
        passed.heads += step.heads;
        assert!(passed.cleared <= come);
        passed.ends.extend((0..step.heads).map(|_| passed.cleared));
        if step.refused.is_some() {
            passed.refused = true;
            assert_eq!(gate.advance(&bytes[passed.cleared..]).cleared, 0, "refused for good");
            return (passed, gate);
        }
        if gate.held() {
            assert_eq!(gate.advance(&bytes[passed.cleared..come]).cleared, 0, "held");
            gate.release(tunnel);
            continue;
        }
        if come == bytes.len() {
            return (passed, gate);
        }
        come = (come + cut).min(bytes.len());
    }
}

fn requests(bytes: &[u8], tunnel: bool, cut: usize) {
    let gate = || Gate::of_requests(LIMITS);
    let (slowly, gate_then) = pass(gate(), bytes, 1, tunnel);
    for step in [cut, bytes.len().max(1)] {
        let (other, _) = pass(gate(), bytes, step, tunnel);
        assert_eq!((other.cleared, other.heads), (slowly.cleared, slowly.heads), "cut by {step}");
        // Of a head that is not whole, more may be known when it is looked at in one piece.
        assert!(other.refused || !slowly.refused, "cut by {step}");
    }
    let (found, why) = reader::requests(bytes);
    if let Some(length) = read_at_once(bytes, &LIMITS) {
        // What is read in one pass would have passed, and nothing belongs to it.
        assert_eq!(slowly.ends.first(), Some(&length));
        let body = found.first().and_then(|request| request.body.as_ref().ok());
        assert_eq!(body.map(|(_, end)| *end), Some(length));
    }
    let mut end = 0;
    for (place, head_end) in slowly.ends.iter().enumerate() {
        let Some(request) = found.get(place) else {
            // hyper sees that a chunk's data has no line end, and goes no further.
            assert_eq!(why, Unread::Wrong("chunk end"), "head {place} was let through");
            return;
        };
        assert_eq!(*head_end, request.head_end, "head {place}");
        let parsed = parsed(&bytes[request.start..], request.fields.len());
        assert_eq!(parsed.0, request.head_end - request.start);
        assert_eq!(parsed.1, (request.method.to_vec(), request.target.to_vec(), request.minor));
        let same = parsed.2.iter().map(|(name, value)| (name.as_bytes(), &**value));
        assert!(same.eq(request.fields.iter().copied()), "{:?}", parsed.2);
        assert!(request.fields.len() <= LIMITS.fields);
        assert!(request.head_end - request.start <= LIMITS.size);
        assert!(request.target.len() <= LIMITS.target);
        if request.websocket() && tunnel {
            assert!(gate_then.open() && slowly.cleared == bytes.len());
            return;
        }
        end = match &request.body {
            Ok((_, end)) => *end,
            Err(Unread::Wrong("chunk end")) => return,
            Err(Unread::Short) => {
                // A size line or trailer that has begun waits; a body's bytes do not.
                assert!(slowly.ends.len() == place + 1, "a head within a body");
                return;
            }
            Err(why) => {
                assert!(slowly.refused, "{why:?} in a body that went on");
                return;
            }
        };
    }
    if slowly.refused && slowly.cleared < end {
        // A limit within the last body that the reader has not: 15 digits of a size, say.
        return;
    }
    // Behind the last request only empty lines have passed.
    assert!(slowly.cleared >= end);
    let behind = &bytes[end..slowly.cleared];
    assert!(behind.chunks(2).all(|line| line == b"\r\n"), "{}", behind.escape_ascii());
}

type Parsed = (usize, (Vec<u8>, Vec<u8>, u8), Vec<(String, Vec<u8>)>);

/// As the parser behind the gate reads a head.
fn parsed(bytes: &[u8], fields: usize) -> Parsed {
    let mut fields = vec![httparse::EMPTY_HEADER; fields];
    let mut head = httparse::Request::new(&mut fields);
    let length = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        other => panic!("the parser behind the gate says {other:?}: {}", bytes.escape_ascii()),
    };
    let line = (
        head.method.expect("a method").into(),
        head.path.expect("a target").into(),
        head.version.expect("a version"),
    );
    let fields = head.headers.iter().map(|field| (field.name.to_owned(), field.value.to_vec()));
    (length, line, fields.collect())
}

fn responses(bytes: &[u8], cut: usize) {
    // Whether there is a head does not depend on how its bytes come.
    let mut searched = 0;
    let mut slowly = Ok(false);
    for come in (0..=bytes.len()).step_by(cut).chain([bytes.len()]) {
        slowly = is_whole_answer(&bytes[..come], searched, &LIMITS);
        if slowly != Ok(false) {
            break;
        }
        searched = come;
    }
    // What can be no answer is known before it is whole.
    let all = Bytes::copy_from_slice(bytes);
    let at_once = read_answer(&all, &LIMITS, &mut Fields::new());
    let Ok(Some((answer, end))) = at_once else { return };
    assert_eq!(slowly, Ok(true), "it was not whole in pieces");
    let read = reader::response(bytes, 0, true, false);
    let read = read.unwrap_or_else(|why| panic!("a head was let through: {why:?}"));
    assert_eq!(end, read.head_end);
    let mut fields = vec![httparse::EMPTY_HEADER; read.fields.len()];
    let mut parsed = httparse::Response::new(&mut fields);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => assert_eq!(length, end),
        other => panic!("another parser says {other:?}"),
    }
    assert_eq!(parsed.code, Some(answer.head.status.as_u16()));
    // What `Connection` usually says is taken out.
    let usual = |value: &[u8]| {
        value.eq_ignore_ascii_case(b"close") || value.eq_ignore_ascii_case(b"keep-alive")
    };
    let taken = |name: &str, value: &[u8]| name.eq_ignore_ascii_case("connection") && usual(value);
    let taken_out =
        parsed.headers.iter().filter(|field| taken(field.name, field.value.trim_ascii())).count();
    let fields = read.fields.len() - taken_out;
    assert_eq!((answer.head.status.as_u16(), answer.head.headers.len()), (read.status, fields));
    let left = parsed.headers.iter().filter(|field| !taken(field.name, field.value.trim_ascii()));
    for (field, (name, value)) in left.zip(&answer.head.headers) {
        assert!(name.as_str().eq_ignore_ascii_case(field.name), "{} for {name}", field.name);
        assert_eq!(value.as_bytes(), field.value, "{name}");
    }
}
