//! Every mistake of a configuration, each with its place, a picture and a hint.

use std::fmt::{self, Write as _};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use super::defaults::MAX_RENDERED_MISTAKES;
use super::model::Place;

/// How bad a mistake is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// Legal, but surely wrong.
    Warning,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub message: String,
    /// Byte range in the file's text; none: of the file as a whole.
    pub place: Option<Range<usize>>,
    /// What to do.
    pub hint: Option<String>,
    /// Other places that belong to it, each with a label.
    pub also: Vec<(Range<usize>, String)>,
}

impl Mistake {
    /// An error at a byte range.
    pub fn error(message: impl Into<String>, place: Option<Range<usize>>) -> Self {
        let message = message.into();
        Self { severity: Severity::Error, message, place, hint: None, also: Vec::new() }
    }

    /// A warning at a byte range.
    pub fn warning(message: impl Into<String>, place: Option<Range<usize>>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(message, place) }
    }

    /// Adds what to do.
    pub fn hint(&mut self, hint: impl Into<String>) -> &mut Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds another place, unless nobody wrote it.
    pub fn also(&mut self, place: &Place, label: impl Into<String>) -> &mut Self {
        if !place.span.is_empty() {
            self.also.push((place.span.clone(), label.into()));
        }
        self
    }
}

/// The mistakes of one file.
#[derive(Debug, Clone)]
pub struct Report {
    /// The file's name as the operator gave it.
    pub name: String,
    /// Its text; empty where it could not be read.
    pub text: Arc<str>,
    /// In the order found; `sort` puts them in the order of the file.
    pub mistakes: Vec<Mistake>,
}

impl Report {
    /// A report without mistakes over this text.
    pub fn new(name: impl Into<String>, text: Arc<str>) -> Self {
        Self { name: name.into(), text, mistakes: Vec::new() }
    }

    /// A report without mistakes about a file whose text is not at hand.
    pub fn without_text(path: &Path) -> Self {
        Self::new(path.display().to_string(), Arc::from(""))
    }

    /// Adds an error; what it returns takes the hint.
    pub fn error(&mut self, message: impl Into<String>, place: &Place) -> &mut Mistake {
        self.push(Mistake::error(message, span_of(place)))
    }

    /// Adds a warning; what it returns takes the hint.
    pub fn warning(&mut self, message: impl Into<String>, place: &Place) -> &mut Mistake {
        self.push(Mistake::warning(message, span_of(place)))
    }

    /// Adds a mistake.
    pub fn push(&mut self, mistake: Mistake) -> &mut Mistake {
        self.mistakes.push(mistake);
        let last = self.mistakes.len() - 1;
        #[expect(clippy::indexing_slicing, reason = "pushed one line above")]
        &mut self.mistakes[last]
    }

    /// Whether the file cannot be used.
    pub fn has_errors(&self) -> bool {
        self.mistakes.iter().any(|mistake| mistake.severity == Severity::Error)
    }

    /// Sorts by place and removes what was said twice, as of a default that many objects share.
    pub fn sort(&mut self) {
        let start = |mistake: &Mistake| {
            mistake.place.as_ref().map_or((usize::MAX, usize::MAX), |span| (span.start, span.end))
        };
        self.mistakes.sort_by_key(start);
        let mut seen = std::collections::HashSet::new();
        self.mistakes
            .retain(|mistake| seen.insert((mistake.place.clone(), mistake.message.clone())));
    }

    /// Line and column of the first character of a byte range, counted from one; columns count
    /// characters.
    pub fn line_column(&self, span: &Range<usize>) -> (usize, usize) {
        Lines::new(&self.text).position(&self.text, span.start)
    }

    /// All mistakes as text, in the way of rustc; with ANSI colours where asked for.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for mistake in self.mistakes.iter().take(MAX_RENDERED_MISTAKES) {
            out.push_str(&self.render_one(mistake, &renderer));
            out.push_str("\n\n");
        }
        if let more @ 1.. = self.mistakes.len().saturating_sub(MAX_RENDERED_MISTAKES) {
            let _ = write!(out, "and {more} more\n\n");
        }
        out.pop();
        out
    }

    /// All mistakes as an array of objects with severity, message, hint, file, line, column,
    /// `end_line` and `end_column`; the last four are null where there is no place.
    pub fn to_json(&self) -> serde_json::Value {
        let lines = Lines::new(&self.text);
        let one = |mistake: &Mistake| {
            let place = mistake.place.as_ref();
            let start = place.map(|span| lines.position(&self.text, span.start));
            let end = place.map(|span| lines.position(&self.text, span.end));
            serde_json::json!({
                "severity": mistake.severity,
                "message": mistake.message,
                "hint": mistake.hint,
                "file": self.name,
                "line": start.map(|(line, _)| line),
                "column": start.map(|(_, column)| column),
                "end_line": end.map(|(line, _)| line),
                "end_column": end.map(|(_, column)| column),
            })
        };
        self.mistakes.iter().map(one).collect()
    }

    fn render_one(&self, mistake: &Mistake, renderer: &Renderer) -> String {
        let level = match mistake.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(mistake.message.as_str());
        let mut group = match &mistake.place {
            Some(place) => title.element(self.picture(mistake, place)),
            None => title.element(Level::NOTE.message(format!("in {}", self.name))),
        };
        if let Some(hint) = &mistake.hint {
            group = group.element(Level::HELP.message(hint.as_str()));
        }
        renderer.render(&[group])
    }

    /// Only the lines that are shown go to the renderer: it walks all that it is given.
    fn picture<'a>(
        &'a self,
        mistake: &'a Mistake,
        place: &Range<usize>,
    ) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
        let spans = || std::iter::once(place).chain(mistake.also.iter().map(|(span, _)| span));
        let low = spans().map(|span| span.start).min().unwrap_or(0).min(self.text.len());
        let high = spans().map(|span| span.end).max().unwrap_or(0).min(self.text.len());
        let before = self.text.get(..low).unwrap_or_default();
        let from = before.rfind('\n').map_or(0, |at| at + 1);
        let rest = self.text.get(high..).unwrap_or_default();
        let to = rest.find('\n').map_or(self.text.len(), |at| high + at);
        let shift = |span: &Range<usize>| {
            let clamp = |at: usize| at.clamp(from, to) - from;
            clamp(span.start)..clamp(span.end)
        };
        let mut snippet = Snippet::source(self.text.get(from..to).unwrap_or_default())
            .line_start(before.matches('\n').count() + 1)
            .path(self.name.as_str())
            .annotation(AnnotationKind::Primary.span(shift(place)));
        for (span, label) in &mistake.also {
            let other = AnnotationKind::Context.span(shift(span)).label(label.as_str());
            snippet = snippet.annotation(other);
        }
        snippet
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Report {}

fn span_of(place: &Place) -> Option<Range<usize>> {
    (!place.span.is_empty()).then(|| place.span.clone())
}

/// Where each line of a text begins, for those who ask often.
pub(crate) struct Lines(Vec<usize>);

impl Lines {
    pub(crate) fn new(text: &str) -> Self {
        let after = text.match_indices('\n').map(|(at, _)| at + 1);
        Self(std::iter::once(0).chain(after).collect())
    }

    /// Line and column of a byte, counted from one; columns count characters.
    pub(crate) fn position(&self, text: &str, at: usize) -> (usize, usize) {
        let at = text.floor_char_boundary(at);
        let line = self.0.partition_point(|start| *start <= at);
        let start = line.checked_sub(1).and_then(|line| self.0.get(line)).copied().unwrap_or(0);
        (line, text.get(start..at).unwrap_or_default().chars().count() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::new("ostler.toml", Arc::from("a = 1\nü = wieght\nb = 2\n"));
        let place = Place { span: 11..17 };
        report.error("unknown key", &place).hint("did you mean `weight`?");
        report
    }

    #[test]
    fn a_mistake_is_drawn_with_place_caret_and_hint() {
        let text = report().render(false);
        assert!(text.contains("error: unknown key"), "{text}");
        assert!(text.contains("--> ostler.toml:2:5"), "{text}");
        assert!(text.contains("^^^^^^"), "{text}");
        assert!(text.contains("help: did you mean `weight`?"), "{text}");
    }

    #[test]
    fn json_counts_columns_in_characters() {
        let json = report().to_json();
        assert_eq!(json[0]["line"], 2);
        assert_eq!(json[0]["column"], 5);
        assert_eq!(json[0]["end_column"], 11);
        assert_eq!(json[0]["file"], "ostler.toml");
    }

    #[test]
    fn mistakes_are_sorted_and_said_once() {
        let mut report = report();
        report.warning("whole file", &Place::default());
        report.error("first", &Place { span: 0..1 });
        report.error("first", &Place { span: 0..1 });
        report.sort();
        let messages: Vec<_> = report.mistakes.iter().map(|one| one.message.as_str()).collect();
        assert_eq!(messages, ["first", "unknown key", "whole file"]);
        assert!(report.render(false).contains("in ostler.toml"));
    }

    #[test]
    fn a_place_beyond_the_text_does_not_panic() {
        let mut report = Report::without_text(Path::new("x"));
        report.error("gone", &Place { span: 4..9 });
        assert!(report.render(false).contains("gone"));
    }
}
