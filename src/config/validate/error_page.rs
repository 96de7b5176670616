//! Files in place of our own answers: for which statuses, and what kind of text they are.

use std::collections::BTreeMap;
use std::path::Path;

use super::check::Check;
use crate::config::model::{ErrorPage, PageKind, Statuses};
use crate::config::text::At;

/// The pages of a listener or a route. Their files are read when the snapshot is compiled.
pub(super) fn error_pages(
    given: &BTreeMap<String, At<String>>,
    check: &mut Check<'_>,
) -> Vec<ErrorPage> {
    let mut pages = Vec::with_capacity(given.len());
    for (key, at) in given {
        let statuses = statuses(key);
        if statuses.is_none() {
            check
                .error(format!("`{key}` is no status of an error"), &at.place())
                .hint("from \"400\" to \"599\", or a class: \"4xx\" or \"5xx\"");
        }
        let path = check.path("error_pages", at);
        let kind = kind(&path);
        if kind.is_none() && !at.value.is_empty() {
            check
                .error(format!("`{}`: what kind of page is this?", at.value), &at.place())
                .hint("its name must end in .html, .htm, .json or .txt");
        }
        if let (Some(statuses), Some(kind)) = (statuses, kind) {
            pages.push(ErrorPage { statuses, path, kind });
        }
    }
    pages
}

fn statuses(key: &str) -> Option<Statuses> {
    match key {
        "4xx" => Some(Statuses::Class(4)),
        "5xx" => Some(Statuses::Class(5)),
        _ => {
            let digits = key.len() == 3 && key.bytes().all(|byte| byte.is_ascii_digit());
            let status = key.parse().ok().filter(|status| (400..600).contains(status));
            status.filter(|_| digits).map(Statuses::One)
        }
    }
}

fn kind(path: &Path) -> Option<PageKind> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "html" | "htm" => Some(PageKind::Html),
        "json" => Some(PageKind::Json),
        "txt" => Some(PageKind::Text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_of_an_error_or_its_class_is_told_from_anything_else() {
        assert_eq!(statuses("503"), Some(Statuses::One(503)));
        assert_eq!(statuses("4xx"), Some(Statuses::Class(4)));
        for wrong in ["200", "399", "600", "5XX", "3xx", "+503", "0503", "503 ", ""] {
            assert_eq!(statuses(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_file_is_what_its_name_ends_in() {
        assert_eq!(kind(Path::new("/x/sorry.HTML")), Some(PageKind::Html));
        assert_eq!(kind(Path::new("/x/sorry.json")), Some(PageKind::Json));
        for wrong in ["/x/sorry", "/x/.html", "/x/sorry.php"] {
            assert_eq!(kind(Path::new(wrong)), None, "{wrong}");
        }
    }
}
