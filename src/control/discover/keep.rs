//! The book on the disk, so that a restart while DNS is silent finds its backends.

use serde::{Deserialize, Serialize};

use super::book::{Book, Known, Source};
use crate::control::state::StateDir;

const FILE: &str = "discovered.json";

/// Reads and writes it.
#[derive(Debug)]
pub(in crate::control) struct Keep(StateDir);

#[derive(Serialize, Deserialize)]
struct Page {
    source: Source,
    backends: Known,
}

impl Keep {
    /// In this folder.
    pub(in crate::control) fn new(state: StateDir) -> Self {
        Self(state)
    }

    /// What the state folder has. A file that cannot be read is set aside and told of.
    pub(in crate::control) fn load(&self) -> Book {
        let parsed = self.0.read(FILE).and_then(|text| match text {
            Some(text) => serde_json::from_str::<Vec<Page>>(&text).map_err(std::io::Error::from),
            None => Ok(Vec::new()),
        });
        let pages = parsed.unwrap_or_else(|error| {
            let aside = self.0.set_aside(FILE).is_ok();
            tracing::error!(%error, aside, "discovered.json cannot be used: DNS is asked anew");
            Vec::new()
        });
        Book(pages.into_iter().map(|page| (page.source, page.backends)).collect())
    }

    /// Writes it.
    pub(in crate::control) fn save(&self, book: &Book) {
        let page = |(source, known): (&Source, &Known)| Page {
            source: source.clone(),
            backends: known.clone(),
        };
        let pages: Vec<Page> = book.0.iter().map(page).collect();
        let written = serde_json::to_vec_pretty(&pages).map_err(std::io::Error::from);
        if let Err(error) = written.and_then(|text| self.0.replace(FILE, &text, false)) {
            tracing::warn!(%error, "discovered backends cannot be kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer::{Answer, Target};
    use super::*;
    use crate::control::state::tests::at;
    use crate::control::tests::loaded;

    #[test]
    fn a_book_is_read_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let keep = Keep::new(at(folder.path()));
        assert!(keep.load().is_empty());
        let model = loaded(
            "[pools.shop]\nbackends = [{ address = \"app.internal:80\", discover = \"dns\" }]\n",
        )
        .model;
        let mut book = Book::default();
        book.follow(&model, 1);
        let source = Source::all(&model).remove(0);
        for last in [1, 2] {
            let address = ([10, 0, 0, last], 80).into();
            let target = Target { address, host: "app.internal".into(), weight: 1 };
            book.take(&source, &Answer::new([target].into_iter()).unwrap(), &model, 5);
        }
        keep.save(&book);
        assert_eq!(keep.load(), book);
        std::fs::write(folder.path().join(FILE), "nonsense").unwrap();
        assert!(keep.load().is_empty());
        assert!(folder.path().join("discovered.json.broken").exists());
    }
}
