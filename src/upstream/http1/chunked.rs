//! The chunks of an answer, taken out of the bytes that come (pure).

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::net::wire::{Refusal, chunk};

/// The end of a body right behind a chunk's data: it need not be asked for once more.
const END: &[u8] = b"\r\n0\r\n\r\n";

/// Where in a chunked body (RFC 9112 §7.1) its reader stands.
#[derive(Debug, Default)]
pub(super) struct Chunked {
    at: At,
    /// Bytes at the front that are known to hold no line's end.
    searched: usize,
    /// Bytes of extensions and of trailers so far.
    extensions: usize,
    trailers: usize,
    fields: HeaderMap,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum At {
    #[default]
    Size,
    /// So many bytes of a chunk are left.
    Data(u64),
    /// Its line end.
    DataEnd,
    Trailers,
    End,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Bytes of the body.
    Data(Bytes),
    /// Nothing before more has come.
    More,
    /// Nothing before more has come, of which so many bytes belong to the body.
    MoreData(u64),
    /// The fields behind the body, which end it.
    Trailers(HeaderMap),
    /// Its end.
    End,
}

impl Chunked {
    /// Takes the next part from the front of `bytes`.
    pub(super) fn next(&mut self, bytes: &mut BytesMut) -> Result<Part, Refusal> {
        loop {
            match self.at {
                At::Size => {
                    let Some(line) = self.line(bytes, chunk::LINE, Refusal::ChunkSize)? else {
                        return Ok(Part::More);
                    };
                    self.at = match chunk::size(&line, &mut self.extensions)? {
                        0 => At::Trailers,
                        size => At::Data(size),
                    };
                }
                At::Data(left) => {
                    if bytes.is_empty() {
                        return Ok(Part::MoreData(left));
                    }
                    let most = usize::try_from(left).unwrap_or(usize::MAX);
                    let data = bytes.split_to(most.min(bytes.len())).freeze();
                    self.took(&data);
                    if self.at == At::DataEnd && &bytes[..] == END {
                        bytes.clear();
                        self.at = At::End;
                    }
                    return Ok(Part::Data(data));
                }
                At::DataEnd => match &bytes[..] {
                    [b'\r', b'\n', ..] => {
                        bytes.advance(2);
                        self.at = At::Size;
                    }
                    [] | [b'\r'] => return Ok(Part::More),
                    _ => return Err(Refusal::ChunkSize),
                },
                At::Trailers => {
                    let room = chunk::TRAILERS.saturating_sub(self.trailers);
                    let Some(line) = self.line(bytes, room, Refusal::Trailers)? else {
                        return Ok(Part::More);
                    };
                    self.trailers += line.len();
                    if &line[..] != b"\r\n" {
                        self.trailer(&line)?;
                        continue;
                    }
                    self.at = At::End;
                    if !self.fields.is_empty() {
                        return Ok(Part::Trailers(std::mem::take(&mut self.fields)));
                    }
                }
                At::End => return Ok(Part::End),
            }
        }
    }

    /// Data that [`Part::MoreData`] has asked for was read.
    pub(super) fn took(&mut self, data: &Bytes) {
        if let At::Data(left) = &mut self.at {
            *left = left.saturating_sub(u64::try_from(data.len()).unwrap_or(u64::MAX));
            if *left == 0 {
                self.at = At::DataEnd;
            }
        }
    }

    /// Whether there is nothing more to come.
    pub(super) fn has_ended(&self) -> bool {
        self.at == At::End
    }

    fn trailer(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let (name, value) = chunk::trailer(line)?;
        let name = HeaderName::from_bytes(name).map_err(|_| Refusal::Trailers)?;
        let value = HeaderValue::from_bytes(value).map_err(|_| Refusal::Trailers)?;
        self.fields.append(name, value);
        Ok(())
    }

    /// Takes a line, its end included.
    fn line(
        &mut self,
        bytes: &mut BytesMut,
        limit: usize,
        refusal: Refusal,
    ) -> Result<Option<BytesMut>, Refusal> {
        match memchr::memchr(b'\n', bytes.get(self.searched..).unwrap_or_default()) {
            Some(offset) if self.searched + offset < limit => {
                let line = bytes.split_to(self.searched + offset + 1);
                self.searched = 0;
                Ok(Some(line))
            }
            None if bytes.len() < limit => {
                self.searched = bytes.len();
                Ok(None)
            }
            _ => Err(refusal),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// All that is read of a body that comes in pieces, and what is left behind it.
    fn read(bytes: &[u8], cut: usize) -> Result<(Vec<u8>, HeaderMap, Vec<u8>), Refusal> {
        let (mut chunked, mut there) = (Chunked::default(), BytesMut::new());
        let (mut body, mut trailers) = (Vec::new(), HeaderMap::new());
        let mut pieces = bytes.chunks(cut);
        loop {
            match chunked.next(&mut there)? {
                Part::Data(data) => body.extend_from_slice(&data),
                Part::Trailers(fields) => trailers = fields,
                Part::End => {
                    assert!(chunked.has_ended());
                    there.extend(pieces.flatten());
                    return Ok((body, trailers, there.to_vec()));
                }
                Part::More | Part::MoreData(_) => match pieces.next() {
                    Some(piece) => there.extend_from_slice(piece),
                    None => return Err(Refusal::Truncated),
                },
            }
        }
    }

    #[test]
    fn chunks_and_trailers_are_read_however_they_are_cut() {
        let bytes = b"5\r\nhello\r\n6;x=1\r\n world\r\n0\r\nA: b\r\nC:  d \r\n\r\nHTTP/1.1";
        for cut in 1..bytes.len() {
            let (body, trailers, left) = read(bytes, cut).unwrap();
            assert_eq!((&body[..], &left[..]), (&b"hello world"[..], &b"HTTP/1.1"[..]));
            assert_eq!((trailers.len(), &trailers["c"]), (2, &HeaderValue::from_static("d")));
        }
    }

    #[test]
    fn the_end_that_comes_with_the_last_chunk_is_seen_with_it() {
        let mut bytes = BytesMut::from(&b"2\r\nab\r\n0\r\n\r\n"[..]);
        let mut chunked = Chunked::default();
        assert_eq!(chunked.next(&mut bytes), Ok(Part::Data(Bytes::from_static(b"ab"))));
        assert!(chunked.has_ended() && bytes.is_empty());
    }

    #[test]
    fn bad_chunks_are_refused() {
        for text in ["x\r\n", "+1\r\n", "1\n", "1 x\r\n", "ffffffffffffffff1\r\n", "1\r\nab\r\n"] {
            assert_eq!(read(text.as_bytes(), 99), Err(Refusal::ChunkSize), "{text:?}");
        }
        assert_eq!(read(b"0\r\nA b\r\n\r\n", 99), Err(Refusal::Trailers));
        assert_eq!(read(&[b'1'; 1024], 99), Err(Refusal::ChunkSize));
        let long = format!("0\r\n{}\r\n", "A: bcdefgh\r\n".repeat(1000));
        assert_eq!(read(long.as_bytes(), 99), Err(Refusal::Trailers));
        let extensions = format!("{}0\r\n\r\n", "1;x=0123456\r\nz\r\n".repeat(1000));
        assert_eq!(read(extensions.as_bytes(), 99), Err(Refusal::ChunkSize));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>(), cut in 1..20_usize) {
            let _ = read(&bytes, cut);
        }

        #[test]
        fn every_body_is_read_as_it_was_written(
            pieces in vec(vec(any::<u8>(), 1..40), 0..9),
            cut in 1..60_usize,
        ) {
            let mut bytes = Vec::new();
            for piece in &pieces {
                bytes.extend_from_slice(format!("{:X}\r\n", piece.len()).as_bytes());
                bytes.extend_from_slice(piece);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
            let (body, trailers, left) = read(&bytes, cut).unwrap();
            prop_assert_eq!(body, pieces.concat());
            prop_assert!(trailers.is_empty() && left.is_empty());
        }
    }
}
