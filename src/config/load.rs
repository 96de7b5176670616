//! From a file to a model, or to the list of all its mistakes.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::defaults::MAX_FILE;
use super::document::{Value, Walk, decode, merge};
use super::expand::{Environment, Expander, ProcessEnvironment};
use super::keys;
use super::model::{Model, Place};
use super::report::{Lines, Mistake, Report};
use super::text::{ListenerText, PoolText, RouteText};
use super::unclosed::{self, Unclosed};
use super::validate::{self, Object, Pieces};

/// A configuration that holds.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it says.
    pub model: Model,
    /// The text it was read from.
    pub source: Source,
    /// What is legal but surely wrong, in the order of the file.
    pub warnings: Vec<Mistake>,
}

impl Loaded {
    /// A report that holds the warnings, for what later rooms (certificates, binding) find.
    pub fn report(&self) -> Report {
        let mut report = Report::new(self.source.path.display().to_string(), self.source.text());
        report.mistakes.clone_from(&self.warnings);
        report
    }
}

/// The text of a configuration.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file, as the operator named it.
    pub path: PathBuf,
    /// Its text.
    pub text: Arc<str>,
    /// XXH3 of the text, to tell whether the file on disk differs.
    pub hash: u64,
    /// Bytes of the text.
    pub len: usize,
}

impl Source {
    fn text(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }
}

/// Looks at the files that a model names and reports those that cannot be used.
pub type Look<'a> = &'a dyn Fn(&Model, &mut Report);

/// Reads and validates a file. Where it has mistakes, `look` adds those that a later room would
/// find, so that nobody mends one only to be told of the next; else they are left to that room.
///
/// # Errors
/// Where it cannot be read, or with all its mistakes.
pub fn load(path: &Path, environment: &dyn Environment, look: Look<'_>) -> Result<Loaded, Report> {
    let text = read(path).map_err(|message| {
        let mut report = Report::without_text(path);
        report.error(message, &Place::default());
        report
    })?;
    parse_and_look(&text, path, environment, look)
}

/// Validates a text; relative paths start at the folder of `path`, which need not exist.
///
/// # Errors
/// With all its mistakes, in the order of the text.
pub fn parse(text: &str, path: &Path, environment: &dyn Environment) -> Result<Loaded, Report> {
    parse_and_look(text, path, environment, &|_, _| {})
}

fn parse_and_look(
    text: &str,
    path: &Path,
    environment: &dyn Environment,
    look: Look<'_>,
) -> Result<Loaded, Report> {
    let text: Arc<str> = Arc::from(text);
    let mut report = Report::new(path.display().to_string(), Arc::clone(&text));
    if exceeds(text.len()) {
        report.error(format!("longer than {MAX_FILE} bytes"), &Place::default());
        return Err(report);
    }
    let base = folder(path);
    let (document, errors) = DeTable::parse_recoverable(&text);
    let open = if errors.is_empty() { None } else { unclosed::find(&text) };
    if open.is_none() && no_toml(&errors, &mut report) {
        return Err(report);
    }
    // What comes after an open bracket is another thing than was meant.
    let end = open.as_ref().map_or(usize::MAX, |open| open.place.start);
    let before = |span: Option<&Range<usize>>| span.is_none_or(|span| span.start < end);
    for error in errors.iter().filter(|error| before(error.span().as_ref())) {
        syntax(error.message(), error.span(), &mut report);
    }
    if let Some(open) = open {
        not_closed(open, &mut report);
    }
    let broken = report.mistakes.len();
    let expander = Expander { environment, base: &base };
    let pieces = pieces(document.into_inner(), &expander, &mut report);
    if !errors.is_empty() {
        // What stands beside broken syntax may only look wrong: keep what is far from it.
        forget_neighbours(broken, end, &mut report);
        tell_of_more(broken, &mut report);
        report.sort();
        return Err(report);
    }
    let model = validate::model(&pieces, &expander, &mut report);
    if report.has_errors() {
        look(&model, &mut report);
        report.sort();
        return Err(report);
    }
    report.sort();
    let hash = xxhash_rust::xxh3::xxh3_64(text.as_bytes());
    let source = Source { path: path.to_owned(), len: text.len(), text, hash };
    Ok(Loaded { model, source, warnings: report.mistakes })
}

/// What `[admin].socket` says in a text that may be broken elsewhere; nothing else is expanded.
/// A relative path is left to start at the file's folder.
pub fn peek_socket(text: &str) -> Option<PathBuf> {
    let (document, _) = DeTable::parse_recoverable(text);
    let socket = document.get_ref().get("admin")?.get_ref().get("socket")?.get_ref().as_str()?;
    let expander = Expander { environment: &ProcessEnvironment, base: Path::new("") };
    expander.expand(socket, false).ok().filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// The folder at which the relative paths of a file start.
pub(crate) fn folder(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.parent().map(Path::to_owned).unwrap_or_default()
}

fn read(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot be read: {error}"))?;
    if exceeds(bytes.len()) {
        return Err(format!("longer than {MAX_FILE} bytes"));
    }
    String::from_utf8(bytes)
        .map_err(|error| format!("not UTF-8 from byte {} on", error.utf8_error().valid_up_to()))
}

fn exceeds(length: usize) -> bool {
    u64::try_from(length).map_or(true, |length| length > MAX_FILE)
}

fn syntax(message: &str, span: Option<Range<usize>>, report: &mut Report) {
    // What is missing at the end of a line is shown there, not drawn into the next one.
    let at_end =
        |at: usize| report.text.get(at..).is_none_or(|rest| rest.starts_with(['\r', '\n']));
    // The one mistake of which the parser does not say where it is: a key of 80 parts.
    let deep = span.is_none().then(|| most_dotted(&report.text));
    let message = if message == "recursion limit" { "a key of too many parts" } else { message };
    let place = span.map(|span| if at_end(span.start) { span.start..span.start } else { span });
    let mistake = report.push(Mistake::error(message, place.or(deep)));
    if message.contains("duplicate key") {
        mistake.hint(
            "a table may be written in one place only: `sticky.by = …` in [pools.web] and a \
             header [pools.web.sticky] write the same table; put its keys under one of them",
        );
    }
}

/// The one mistake that many follow from.
fn not_closed(open: Unclosed, report: &mut Report) {
    let Unclosed { place, what, missing, before } = open;
    let line = |at: usize| report.line_column(&(at..at)).0;
    let (opened, next) = (line(place.start), line(before));
    let hint = if before < report.text.len() && opened < next {
        format!("write the missing `{missing}` before line {next}")
    } else {
        format!("write the missing `{missing}`")
    };
    report.error(format!("this {what} is not closed"), &Place { span: place }).hint(hint);
}

/// One mistake in place of many where most lines are none of TOML: it is another kind of file.
fn no_toml(errors: &[toml::de::Error], report: &mut Report) -> bool {
    let index = Lines::new(&report.text);
    let spans = || errors.iter().filter_map(toml::de::Error::span);
    let broken: HashSet<usize> =
        spans().map(|span| index.position(&report.text, span.start).0).collect();
    let says = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let lines = report.text.lines().filter(says).count();
    if broken.len() < 3 || broken.len().saturating_mul(2) <= lines {
        return false;
    }
    let first = spans().min_by_key(|span| span.start);
    let message = format!("this is no TOML: {} of its {lines} lines cannot be read", broken.len());
    report.push(Mistake::error(message, first)).hint(
        "it is made of tables and keys, as [listeners.web] and bind = [\"0.0.0.0:80\"]; `ostler \
         proxy ADDRESS --print` writes one to start from",
    );
    true
}

/// Of what follows from broken syntax nobody knows: whoever mends it is not to be surprised. The
/// first so many mistakes are those of the syntax.
fn tell_of_more(errors: usize, report: &mut Report) {
    let place = |mistake: &&mut Mistake| mistake.place.as_ref().map_or(0, |span| span.start);
    let Some(last) = report.mistakes.iter_mut().take(errors).max_by_key(place) else { return };
    let more = "when the syntax is right, other mistakes may show: most was not looked at";
    let hint = last.hint.take().map_or_else(|| more.to_owned(), |hint| format!("{hint}\n{more}"));
    last.hint(hint);
}

/// The line with the most dots.
fn most_dotted(text: &str) -> Range<usize> {
    let mut start = 0;
    let lines = text.split_inclusive('\n').map(|line| {
        let at = start;
        start += line.len();
        let dots = line.bytes().filter(|byte| *byte == b'.').count();
        (dots, at..at + line.trim_end().len())
    });
    lines.max_by_key(|(dots, _)| *dots).map(|(_, place)| place).unwrap_or_default()
}

/// The first so many mistakes are those of the syntax. Of the others those in the same lines go,
/// and those from `end` on.
fn forget_neighbours(broken: usize, end: usize, report: &mut Report) {
    let index = Lines::new(&report.text);
    let line = |span: &Range<usize>| index.position(&report.text, span.start).0;
    let (syntax, others) = report.mistakes.split_at(broken.min(report.mistakes.len()));
    let broken: HashSet<usize> =
        syntax.iter().filter_map(|mistake| mistake.place.as_ref()).map(line).collect();
    let far = |span: &Range<usize>| span.start < end && !broken.contains(&line(span));
    let far = others.iter().filter(|mistake| mistake.place.as_ref().is_some_and(far));
    report.mistakes = syntax.iter().chain(far).cloned().collect();
}

/// Checks keys, expands, merges the defaults and decodes each object.
fn pieces(mut root: DeTable<'_>, expander: &Expander<'_>, report: &mut Report) -> Pieces {
    let tree = keys::tree();
    let mut pieces = Pieces::default();
    // Objects are walked one by one, to know which of them are broken.
    let listeners = root.remove("listeners");
    let routes = root.remove("routes");
    let pools = root.remove("pools");
    Walk { expander, report }.table(tree, "", &mut root);
    let mut defaults = match root.remove("defaults").map(Spanned::into_inner) {
        Some(DeValue::Table(table)) => table,
        _ => DeTable::new(),
    };
    let mut of = |name: &str, report: &mut Report| {
        let found = defaults.remove(name)?;
        // Decoded by itself too, for there may be no object that takes it.
        match name {
            "listeners" => drop(decode::<ListenerText>(found.clone(), report)),
            "routes" => drop(decode::<RouteText>(found.clone(), report)),
            _ => drop(decode::<PoolText>(found.clone(), report)),
        }
        match found.into_inner() {
            DeValue::Table(table) => Some(table),
            _ => None,
        }
    };
    let mut objects = Objects { expander, report };
    let default = of("listeners", objects.report);
    pieces.listeners = objects.decode("listeners", listeners, default.as_ref());
    let default = of("routes", objects.report);
    pieces.routes = objects.decode("routes", routes, default.as_ref());
    let default = of("pools", objects.report);
    pieces.pools = objects.decode("pools", pools, default.as_ref());
    pieces.metrics = section(&mut root, "metrics", report);
    pieces.sessions = section(&mut root, "sessions", report);
    pieces.admin = section(&mut root, "admin", report);
    pieces.runtime = section(&mut root, "runtime", report);
    pieces.log = section(&mut root, "log", report);
    pieces
}

fn section<T: DeserializeOwned + Default>(
    root: &mut DeTable<'_>,
    name: &str,
    report: &mut Report,
) -> T {
    root.remove(name).map(|value| decode(value, report)).unwrap_or_default()
}

struct Objects<'a, 'r> {
    expander: &'a Expander<'a>,
    report: &'r mut Report,
}

impl Objects<'_, '_> {
    fn decode<T: DeserializeOwned + Default>(
        &mut self,
        kind: &str,
        value: Option<Value<'_>>,
        defaults: Option<&DeTable<'_>>,
    ) -> Vec<Object<T>> {
        let Some(value) = value else { return Vec::new() };
        let place = Place { span: value.span() };
        let mut named: Vec<(String, Range<usize>, Value<'_>)> = match value.into_inner() {
            DeValue::Table(table) if kind != "routes" => table
                .into_iter()
                .map(|(key, value)| (key.get_ref().to_string(), key.span(), value))
                .collect(),
            DeValue::Array(array) if kind == "routes" => {
                array.into_iter().map(|value| (String::new(), value.span(), value)).collect()
            }
            _ => {
                let (what, example) = match kind {
                    "routes" => ("an array of tables", "[[routes]]".to_owned()),
                    _ => ("a table of tables", format!("[{kind}.NAME]")),
                };
                self.report
                    .error(format!("`{kind}` must be {what}"), &place)
                    .hint(format!("write {example}"));
                return Vec::new();
            }
        };
        named.sort_by_key(|(_, span, _)| span.start);
        named.into_iter().map(|object| self.one(kind, object, defaults)).collect()
    }

    fn one<'i, T: DeserializeOwned + Default>(
        &mut self,
        kind: &str,
        (name, span, mut value): (String, Range<usize>, Value<'i>),
        defaults: Option<&DeTable<'i>>,
    ) -> Object<T> {
        let before = self.report.mistakes.len();
        let kinds = keys::tree().children.get("defaults").map(|node| &node.children);
        if let Some(node) = kinds.and_then(|kinds| kinds.get(kind)) {
            let mut walk = Walk { expander: self.expander, report: self.report };
            walk.value(node, "", &mut value);
        }
        if let (DeValue::Table(object), Some(defaults)) = (value.get_mut(), defaults) {
            merge(object, defaults);
        }
        let text = decode(value, self.report);
        let broken = self.report.mistakes.len() > before;
        Object { name, place: Place { span }, text, broken }
    }
}
