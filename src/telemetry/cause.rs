//! An error in words, with all that it was caused by.

use std::error::Error;

/// Bytes of a text: the names in a certificate alone may be many times as long.
const MOST: usize = 1024;

/// Where a library refers programmers to.
const MANUAL: &str = ": https://docs.rs/";

/// An error with its whole chain of sources, outermost first, and nothing said twice: hyper's own
/// text hides the cause, and others repeat it. Cut off where it is longer than anybody reads.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = plain(error);
    let mut next = error.source();
    while let Some(source) = next {
        let said = plain(source);
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = source.source();
    }
    if text.len() > MOST {
        text.truncate(text.floor_char_boundary(MOST));
        text.push('…');
    }
    text
}

/// Without the address of a manual for programmers, which ends the text.
fn plain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    if let Some(at) = text.find(MANUAL) {
        text.truncate(at);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the handshake failed")]
    struct Silent(#[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("asked in vain: {0}")]
    struct Loud(#[source] Silent);

    #[test]
    fn every_source_is_said_once() {
        let error = Loud(Silent(io::Error::other("no certificate")));
        assert_eq!(chain(&error), "asked in vain: the handshake failed: no certificate");
        let bare = io::Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(chain(&bare), "connection reset");
    }

    #[test]
    fn what_is_for_programmers_is_left_out() {
        let said = "peer closed connection without sending TLS close_notify: \
                    https://docs.rs/rustls/latest/rustls/manual/index.html#unexpected-eof";
        let error = Silent(io::Error::other(said));
        let told = "the handshake failed: peer closed connection without sending TLS close_notify";
        assert_eq!(chain(&error), told);
    }

    #[test]
    fn a_long_text_is_cut_between_two_characters() {
        let text = chain(&io::Error::other("ä".repeat(MOST)));
        assert_eq!(text.chars().count(), MOST / 2 + 1);
        assert!(text.ends_with("ä…"));
    }
}
