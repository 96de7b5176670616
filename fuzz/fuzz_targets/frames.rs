//! HTTP/2 frames: what is unfinished, and how many heads were whole, is what a walk over all bytes
//! finds, however they are cut.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ostler::net::wire::fuzzing::Frames;

fuzz_target!(|input: &[u8]| {
    let [cut, bytes @ ..] = input else { return };
    let preface = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let bytes = [&preface, bytes].concat();
    let mut at_once = Frames::default();
    at_once.advance(&bytes);
    assert_eq!((at_once.unfinished(), at_once.heads()), walk(&bytes));
    let mut pieces = Frames::default();
    let mut end = 0;
    for piece in bytes.chunks(usize::from(*cut).max(1)) {
        pieces.advance(piece);
        end += piece.len();
        let found = (pieces.unfinished(), pieces.heads());
        assert_eq!(found, walk(&bytes[..end]), "after {end} bytes");
    }
    assert_eq!(at_once.unfinished(), pieces.unfinished());
});

/// RFC 9113 §4.1 by offsets: the number of what has begun and is not whole; whole header blocks of
/// streams that are higher than all before (§5.1.1).
fn walk(bytes: &[u8]) -> (Option<u64>, u64) {
    if bytes.len() < 24 {
        return (Some(0), 0);
    }
    let (mut at, mut whole, mut block) = (24, 1, false);
    let (mut heads, mut highest, mut opens) = (0, 0, false);
    while at < bytes.len() {
        let Some(head) = bytes.get(at..at + 9) else { return (Some(whole), heads) };
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        at += 9 + length;
        if matches!(head[3], 1 | 9) {
            block = head[4] & 4 == 0;
        }
        if head[3] == 1 {
            let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
            opens = stream > highest;
            highest = highest.max(stream);
        }
        // Of a body only the heads of its frames are awaited.
        if head[3] != 0 && at > bytes.len() {
            return (Some(whole), heads);
        }
        whole += u64::from(!block);
        if matches!(head[3], 1 | 9) && !block {
            heads += u64::from(opens);
            opens = false;
        }
    }
    (block.then_some(whole), heads)
}
