//! The whole configuration with its defaults, and where each value comes from.

use std::fmt::Write;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::document::{Value, merge};
use super::keys::{FREE, KEYS, Key, ONLY_WITH, OPTIONAL, SECRETS, UNLESS, Unset};
use super::load::Loaded;
use super::report::Lines;

/// The whole file as TOML, with every default, and after each value where it comes from:
/// `# default`, `# line 12`, `# [defaults.pools] line 4`. What an environment variable or another
/// file gave is shown as it was written, keys are shown as `"redacted"`.
pub fn effective(loaded: &Loaded) -> String {
    let text = &loaded.source.text;
    let (root, _) = DeTable::parse_recoverable(text);
    let root = root.into_inner();
    let nothing = DeTable::new();
    let mut page = Page { text, lines: Lines::new(text), out: String::new() };
    for section in ["metrics", "sessions", "admin", "runtime", "log"] {
        page.header(&format!("[{section}]"), None);
        let own = table(&root, section).unwrap_or(&nothing);
        page.object(section, own, None);
    }
    let defaults = table(&root, "defaults").unwrap_or(&nothing);
    for kind in ["listeners", "routes", "pools"] {
        let default = table(defaults, kind).map(|table| (kind, table));
        for (header, span, own) in objects(&root, kind) {
            page.header(&header, Some(span));
            let prefix = if kind == "routes" { "routes[]".into() } else { format!("{kind}.*") };
            page.object(&prefix, own, default);
        }
    }
    page.out
}

/// The objects of one kind in the order of the file, each with its header.
fn objects<'a, 'i>(
    root: &'a DeTable<'i>,
    kind: &str,
) -> Vec<(String, Range<usize>, &'a DeTable<'i>)> {
    let mut found: Vec<_> = match root.get(kind).map(Spanned::get_ref) {
        Some(DeValue::Table(named)) => named
            .iter()
            .filter_map(|(key, value)| {
                let header = format!("[{kind}.{}]", quoted(key.get_ref()));
                Some((header, key.span(), value.get_ref().as_table()?))
            })
            .collect(),
        Some(DeValue::Array(items)) => items
            .iter()
            .filter_map(|item| {
                Some((format!("[[{kind}]]"), item.span(), item.get_ref().as_table()?))
            })
            .collect(),
        _ => Vec::new(),
    };
    found.sort_by_key(|(_, span, _)| span.start);
    found
}

struct Page<'a> {
    text: &'a str,
    lines: Lines,
    out: String,
}

impl Page<'_> {
    fn header(&mut self, header: &str, span: Option<Range<usize>>) {
        let gap = if self.out.is_empty() { "" } else { "\n" };
        match span {
            Some(span) => self.line(&format!("{gap}{header}"), &self.place(&span)),
            None => self.line(&format!("{gap}{header}"), ""),
        }
    }

    /// All keys of one table.
    fn object(&mut self, prefix: &str, own: &DeTable<'_>, defaults: Option<(&str, &DeTable<'_>)>) {
        let mut merged = own.clone();
        if let Some((_, defaults)) = defaults {
            merge(&mut merged, defaults);
        }
        for key in KEYS {
            let path = key.path.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.'));
            let Some(path) = path.filter(|_| !is_inner(key.path)) else { continue };
            let inner = |path: &'static str| path.strip_prefix(prefix)?.strip_prefix('.');
            let is_set = |path| inner(path).is_some_and(|path| find(&merged, path).is_some());
            let below = |table: &str| {
                key.path.strip_prefix(table).is_some_and(|rest| rest.starts_with('.'))
            };
            let absent = OPTIONAL.iter().any(|table| below(table) && !is_set(table))
                || UNLESS.iter().any(|(other, keys)| keys.contains(&key.path) && is_set(other))
                || ONLY_WITH.iter().any(|(other, word, keys)| {
                    let said =
                        inner(other).and_then(|path| find(&merged, path)?.1.get_ref().as_str());
                    keys.contains(&key.path)
                        && !is_set(key.path)
                        && said.map_or_else(|| !is_default(other, word), |said| said != *word)
                });
            if absent {
                continue;
            }
            match (find(&merged, path), key.unset) {
                (Some((span, value)), _) => {
                    let origin = match defaults {
                        Some((kind, _)) if find(own, path).is_none() => {
                            format!("[defaults.{kind}] {}", self.place(&span))
                        }
                        _ => self.place(&span),
                    };
                    self.value(key, path, value, &origin);
                }
                (None, Unset::Value(value)) => self.line(&format!("{path} = {value}"), "default"),
                (None, Unset::Note(note)) => self.line("", &format!("{path}: {note}")),
            }
        }
    }

    fn value(&mut self, key: &Key, path: &str, value: &Value<'_>, origin: &str) {
        let secret = SECRETS.iter().any(|secret| secret.strip_suffix("[]") == Some(key.path));
        let items = match value.get_ref() {
            DeValue::Array(items) if secret => {
                let redacted = vec!["\"redacted\""; items.len()].join(", ");
                return self.line(&format!("{path} = [{redacted}]"), origin);
            }
            DeValue::Array(items) if items.iter().any(|item| item.get_ref().is_table()) => items,
            DeValue::Table(given) if !FREE.contains(&key.path) => {
                let (fields, silent) = fields(&format!("{}.", key.path), given);
                let origin = format!("{origin}{silent}");
                return self.line(&format!("{path} = {{ {} }}", fields.join(", ")), &origin);
            }
            plain => return self.line(&format!("{path} = {}", shown(plain)), origin),
        };
        self.line(&format!("{path} = ["), origin);
        for item in items {
            let Some(given) = item.get_ref().as_table() else { continue };
            let (fields, silent) = fields(&format!("{}[].", key.path), given);
            let origin = format!("{}{silent}", self.place(&item.span()));
            self.line(&format!("  {{ {} }},", fields.join(", ")), &origin);
        }
        self.line("]", "");
    }

    fn place(&self, span: &Range<usize>) -> String {
        format!("line {}", self.lines.position(self.text, span.start).0)
    }

    fn line(&mut self, text: &str, comment: &str) {
        let _ = match (text, comment) {
            (text, "") => writeln!(self.out, "{text}"),
            ("", comment) => writeln!(self.out, "# {comment}"),
            (text, comment) => writeln!(self.out, "{text}  # {comment}"),
        };
    }
}

/// Whether it is a key of an item of an array, or of a table that stands in place of a word: such
/// are shown with the whole.
fn is_inner(path: &str) -> bool {
    path.trim_start_matches("routes[]").contains("[]")
        || KEYS
            .iter()
            .any(|key| path.strip_prefix(key.path).is_some_and(|rest| rest.starts_with('.')))
}

/// Whether the key says this word where the file says nothing.
fn is_default(path: &str, word: &str) -> bool {
    let says = |unset| matches!(unset, Unset::Value(value) if value.trim_matches('"') == word);
    KEYS.iter().any(|key| key.path == path && says(key.unset))
}

/// The fields of a table written in one line, whose keys begin with this, and a note of those that
/// are defaults.
fn fields(prefix: &str, given: &DeTable<'_>) -> (Vec<String>, String) {
    let mut fields = Vec::new();
    let mut silent = Vec::new();
    for key in KEYS {
        let Some(name) = key.path.strip_prefix(prefix) else { continue };
        let is_set = |path: &str| find(given, path).is_some();
        // A table in the table shows its defaults only where it is.
        let absent = name.rsplit_once('.').is_some_and(|(table, _)| !is_set(table))
            || UNLESS.iter().any(|(other, keys)| {
                keys.contains(&key.path) && other.strip_prefix(prefix).is_some_and(is_set)
            });
        if absent {
            continue;
        }
        match (find(given, name), key.unset) {
            (Some((_, value)), _) => fields.push(format!("{name} = {}", shown(value.get_ref()))),
            (None, Unset::Value(value)) => {
                fields.push(format!("{name} = {value}"));
                silent.push(name);
            }
            (None, Unset::Note(_)) => silent.push(name),
        }
    }
    let note =
        if silent.is_empty() { String::new() } else { format!("; default: {}", silent.join(", ")) };
    (fields, note)
}

fn table<'a, 'i>(root: &'a DeTable<'i>, name: &str) -> Option<&'a DeTable<'i>> {
    root.get(name)?.get_ref().as_table()
}

/// The value at a dotted path, and where its key stands.
fn find<'a, 'i>(root: &'a DeTable<'i>, path: &str) -> Option<(Range<usize>, &'a Value<'i>)> {
    let (name, rest) = match path.split_once('.') {
        Some((name, rest)) => (name, Some(rest)),
        None => (path, None),
    };
    let (key, value) = root.get_key_value(name)?;
    match rest {
        Some(rest) => find(value.get_ref().as_table()?, rest),
        None => Some((key.span(), value)),
    }
}

fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => string(text),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| shown(item.get_ref())).collect();
            format!("[{}]", items.join(", "))
        }
        DeValue::Table(table) => {
            let pairs = table.iter().map(|(key, value)| {
                format!("{} = {}", quoted(key.get_ref()), shown(value.get_ref()))
            });
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
    }
}

fn string(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn quoted(name: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !name.is_empty() && name.bytes().all(bare) { name.to_owned() } else { string(name) }
}
