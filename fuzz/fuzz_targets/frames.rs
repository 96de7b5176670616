//! HTTP/2 frames: what is unfinished is what a walk over all bytes finds, however they are cut.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ostler::net::wire::fuzzing::Frames;

fuzz_target!(|input: &[u8]| {
    let [cut, bytes @ ..] = input else { return };
    let preface = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let bytes = [&preface, bytes].concat();
    let mut at_once = Frames::default();
    at_once.advance(&bytes);
    assert_eq!(at_once.unfinished(), walk(&bytes));
    let mut pieces = Frames::default();
    let mut end = 0;
    for piece in bytes.chunks(usize::from(*cut).max(1)) {
        pieces.advance(piece);
        end += piece.len();
        assert_eq!(pieces.unfinished(), walk(&bytes[..end]), "after {end} bytes");
    }
    assert_eq!(at_once.unfinished(), pieces.unfinished());
});

/// RFC 9113 §4.1 by offsets: the number of what has begun and is not whole.
fn walk(bytes: &[u8]) -> Option<u64> {
    if bytes.len() < 24 {
        return Some(0);
    }
    let (mut at, mut whole, mut block) = (24, 1, false);
    while at < bytes.len() {
        let Some(head) = bytes.get(at..at + 9) else { return Some(whole) };
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        at += 9 + length;
        if matches!(head[3], 1 | 9) {
            block = head[4] & 4 == 0;
        }
        // Of a body only the heads of its frames are awaited.
        if head[3] != 0 && at > bytes.len() {
            return Some(whole);
        }
        whole += u64::from(!block);
    }
    block.then_some(whole)
}
