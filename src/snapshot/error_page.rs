//! Pages in place of our own answers to what fails: read with the configuration, sent as they are.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use crate::config::Report;
use crate::config::defaults::MAX_ERROR_PAGE;
use crate::config::model::{ErrorPage, PageKind, Statuses};

/// The pages of a listener or a route.
#[derive(Debug, Default)]
pub struct ErrorPages(Box<[(Statuses, Arc<Page>)]>);

impl ErrorPages {
    /// The page for this status; one of its own goes before that of its class.
    pub fn find(&self, status: StatusCode) -> Option<&Page> {
        let fits = |(statuses, _): &&(Statuses, _)| statuses.contain(status.as_u16());
        self.0.iter().find(fits).map(|(_, page)| &**page)
    }
}

/// A page, ready to be sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// What goes into `Content-Type`.
    pub content_type: HeaderValue,
    /// Whether it is HTML, which programs that prefer JSON have no use for.
    pub html: bool,
    pieces: Box<[Piece]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// As it stands.
    Literal(Bytes),
    /// `{status}`: as `503`.
    Status,
    /// `{title}`: as `Service Unavailable`.
    Title,
    /// `{request_id}`: what the access log has.
    RequestId,
}

/// What is filled in, wherever it stands. Other braces are the page's own: scripts and style
/// sheets are full of them.
const NAMES: [(&str, Piece); 3] =
    [("{status}", Piece::Status), ("{title}", Piece::Title), ("{request_id}", Piece::RequestId)];

impl Page {
    /// A page of this text.
    pub fn new(kind: PageKind, text: &str) -> Self {
        let content_type = HeaderValue::from_static(match kind {
            PageKind::Html => "text/html; charset=utf-8",
            PageKind::Json => "application/json",
            PageKind::Text => "text/plain; charset=utf-8",
        });
        Self { content_type, html: kind == PageKind::Html, pieces: pieces(text) }
    }

    /// What is sent. Nothing is copied where nothing is filled in. The id is one that is safe in
    /// any text (`telemetry::trace_context::valid_request_id`).
    pub fn body(&self, status: StatusCode, request_id: &[u8]) -> Bytes {
        if let [Piece::Literal(whole)] = &*self.pieces {
            return whole.clone();
        }
        let mut body = Vec::new();
        for piece in &self.pieces {
            body.extend_from_slice(match piece {
                Piece::Literal(text) => text,
                Piece::Status => status.as_str().as_bytes(),
                Piece::Title => status.canonical_reason().unwrap_or("Error").as_bytes(),
                Piece::RequestId => request_id,
            });
        }
        body.into()
    }
}

fn pieces(text: &str) -> Box<[Piece]> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let first = |rest: &str| {
        let found = |(name, piece): &(&'static str, Piece)| {
            rest.find(name).map(|at| (at, name.len(), piece.clone()))
        };
        NAMES.iter().filter_map(found).min_by_key(|(at, ..)| *at)
    };
    while let Some((at, length, piece)) = first(rest) {
        let (before, after) = rest.split_at(at);
        if !before.is_empty() {
            pieces.push(Piece::Literal(Bytes::copy_from_slice(before.as_bytes())));
        }
        pieces.push(piece);
        rest = after.get(length..).unwrap_or_default();
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(Bytes::copy_from_slice(rest.as_bytes())));
    }
    pieces.into()
}

/// The files that were read for a snapshot: each once, however many routes name it.
#[derive(Debug, Default)]
pub(super) struct Shelf(HashMap<PathBuf, Option<Arc<Page>>>);

impl Shelf {
    /// Reads the pages of a listener or a route; each file that cannot be used is one mistake.
    pub(super) fn pages(&mut self, given: &[ErrorPage], report: &mut Report) -> ErrorPages {
        let mut pages = Vec::with_capacity(given.len());
        for one in given {
            let path = &one.path;
            let read = self.0.entry(path.value.clone()).or_insert_with(|| {
                let text = read(path).map_err(|problem| {
                    let message = format!("the error page {}: {problem}", path.display());
                    report.error(message, &path.place);
                });
                text.ok().map(|text| Arc::new(Page::new(one.kind, &text)))
            });
            pages.extend(read.clone().map(|page| (one.statuses, page)));
        }
        pages.sort_by_key(|(statuses, _)| *statuses);
        ErrorPages(pages.into())
    }
}

fn read(path: &Path) -> Result<String, String> {
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    // What is no file may have no end, or wait for somebody who writes it.
    if !metadata.is_file() {
        return Err("this is no file".to_owned());
    }
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(MAX_ERROR_PAGE + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_ERROR_PAGE) {
        return Err(format!("more than {} KiB; it is kept in memory", MAX_ERROR_PAGE >> 10));
    }
    String::from_utf8(bytes).map_err(|_| "its text is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Located;

    fn filled(text: &str) -> String {
        let page = Page::new(PageKind::Html, text);
        let body = page.body(StatusCode::SERVICE_UNAVAILABLE, b"id-1");
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[test]
    fn names_are_filled_in_and_other_braces_stay() {
        assert_eq!(
            filled("<style>p{color:red}</style>{status} {title}: {request_id}{status}"),
            "<style>p{color:red}</style>503 Service Unavailable: id-1503"
        );
        assert_eq!(filled("{reason} {{status}}"), "{reason} {503}");
        assert_eq!(filled(""), "");
    }

    #[test]
    fn a_page_without_names_is_not_copied() {
        let page = Page::new(PageKind::Text, "come back later");
        let status = StatusCode::BAD_GATEWAY;
        assert_eq!(page.body(status, b"").as_ptr(), page.body(status, b"").as_ptr());
    }

    #[test]
    fn a_file_is_read_once_and_a_status_goes_before_its_class() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (any, busy) = (file("any.txt", b"any"), file("busy.txt", b"busy"));
        let page = |statuses, path: &PathBuf| ErrorPage {
            statuses,
            path: Located::nowhere(path.clone()),
            kind: PageKind::Text,
        };
        let (mut shelf, mut report) = (Shelf::default(), Report::new("x", "".into()));
        let given = [page(Statuses::Class(5), &any), page(Statuses::One(503), &busy)];
        let pages = shelf.pages(&given, &mut report);
        let body = |status| pages.find(status).map(|page| page.body(status, b""));
        assert_eq!(body(StatusCode::SERVICE_UNAVAILABLE).unwrap(), "busy");
        assert_eq!(body(StatusCode::BAD_GATEWAY).unwrap(), "any");
        assert_eq!(body(StatusCode::NOT_FOUND), None);
        std::fs::remove_file(&busy).unwrap();
        let again = shelf.pages(&given[1..], &mut report);
        assert!(again.find(StatusCode::SERVICE_UNAVAILABLE).is_some(), "it was read before");
        assert!(!report.has_errors());
        let large = vec![b'x'; usize::try_from(MAX_ERROR_PAGE).unwrap() + 1];
        for path in
            [file("large.txt", &large), file("latin.txt", b"caf\xe9"), busy, folder.path().into()]
        {
            let wrong = [page(Statuses::One(500), &path), page(Statuses::One(502), &path)];
            let mut report = Report::new("x", "".into());
            shelf = Shelf::default();
            shelf.pages(&wrong, &mut report);
            assert_eq!(report.mistakes.len(), 1, "{}", path.display());
        }
    }

    proptest! {
        #[test]
        fn what_has_no_name_in_it_is_sent_as_it_stands(text in "[{}a-z]{0,30}") {
            prop_assume!(NAMES.iter().all(|(name, _)| !text.contains(name)));
            prop_assert_eq!(filled(&text), text);
        }
    }
}
