//! Cookie fields: values are found as a plain reader finds them, ours are gone, and the others are
//! there byte for byte.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use ostler::sticky::cookie::{Stripped, is_ours, join, strip, values};

fuzz_target!(|input: &[u8]| {
    // The first line is the name that is looked for, each other line a field.
    let mut lines = input.split(|byte| *byte == b'\n');
    let name = lines.next().unwrap_or_default();
    let fields: Vec<&[u8]> = lines.collect();
    let configured = [Arc::from("mine"), Arc::from("SESSION")];
    let ours = |name: &[u8]| is_ours(name, &configured);
    for field in &fields {
        let found: Vec<&[u8]> = values(field, name).collect();
        assert_eq!(found, plain(field, name));
        let others: Vec<&[u8]> = pieces(field).filter(|piece| !ours(name_of(piece))).collect();
        let kept: Vec<&[u8]> = match strip(field, ours) {
            Stripped::Unchanged => {
                assert_eq!(others.len(), pieces(field).count());
                continue;
            }
            Stripped::Empty => {
                assert!(others.iter().all(|piece| piece.trim_ascii().is_empty()));
                continue;
            }
            Stripped::Rewritten(rest) => {
                assert_eq!(strip(&rest, ours), Stripped::Unchanged, "{}", rest.escape_ascii());
                let kept: Vec<Vec<u8>> = pieces(&rest).map(<[u8]>::to_vec).collect();
                assert_eq!(kept.len(), others.len());
                for (at, (one, other)) in kept.iter().zip(&others).enumerate() {
                    let other = if at == 0 { other.trim_ascii_start() } else { other };
                    assert_eq!(one, other);
                }
                others
            }
        };
        assert!(kept.len() < pieces(field).count());
    }
    // One field for all has the values of all.
    let whole = join(fields.iter().copied());
    let apart: Vec<&[u8]> = fields.iter().flat_map(|field| values(field, name)).collect();
    assert_eq!(values(&whole, name).collect::<Vec<_>>(), apart);
});

fn pieces(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    field.split(|byte| *byte == b';')
}

fn name_of(piece: &[u8]) -> &[u8] {
    piece.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii()
}

fn plain<'a>(field: &'a [u8], name: &[u8]) -> Vec<&'a [u8]> {
    let mut found = Vec::new();
    for piece in pieces(field) {
        if let Some(equals) = piece.iter().position(|byte| *byte == b'=')
            && piece[..equals].trim_ascii() == name
        {
            found.push(piece[equals + 1..].trim_ascii());
        }
    }
    found
}
