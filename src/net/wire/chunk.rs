//! Lines of a chunked body (RFC 9112 §7.1), the same for both directions.

use super::head::{Refusal, field_line};

/// Bytes of a chunk's size and extensions, at most; the extensions are dropped.
pub const LINE: usize = 1024;
/// Bytes of the extensions of one message's chunks in all. hyper ends a body with twice as much,
/// without a word on why.
const EXTENSIONS: usize = 8 * 1024;
/// Bytes of one message's trailers in all.
pub const TRAILERS: usize = 8 * 1024;

/// What a chunk's line says: size in hex, extensions, CR LF. `extensions`: bytes of those before,
/// which this one's are added to.
///
/// # Errors
/// For a line that is not well formed, or too much of extensions.
pub fn size(line: &[u8], extensions: &mut usize) -> Result<u64, Refusal> {
    let line = line.strip_suffix(b"\r\n").ok_or(Refusal::ChunkSize)?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, extension) = line.split_at_checked(digits).ok_or(Refusal::ChunkSize)?;
    let clean = matches!(extension.trim_ascii_start(), [] | [b';', ..])
        && !extension.contains(&b'\r')
        && !extension.iter().any(|byte| *byte < 0x20 && *byte != b'\t');
    *extensions += extension.len();
    if digits == 0 || digits > 15 || !clean || *extensions > EXTENSIONS {
        return Err(Refusal::ChunkSize);
    }
    let size = std::str::from_utf8(size).ok().and_then(|hex| u64::from_str_radix(hex, 16).ok());
    size.ok_or(Refusal::ChunkSize)
}

/// Name and value of a trailer's line, its end included.
///
/// # Errors
/// For a line that is none.
pub fn trailer(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    match field_line(line) {
        Ok(Some((name, value, []))) => Ok((name, value.get().trim_ascii())),
        Ok(_) | Err(_) => Err(Refusal::Trailers),
    }
}
