//! The document between TOML and the mirror: keys checked, strings expanded, defaults merged.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, ValueDeserializer};

use super::defaults::MAX_MISTAKES_PER_OBJECT;
use super::distance::nearest;
use super::expand::Expander;
use super::keys::{Node, ONLY_WITH};
use super::model::Place;
use super::report::Report;

/// A value of the document with its place.
pub(crate) type Value<'i> = Spanned<DeValue<'i>>;

/// Keys of which an object may have one: where it has one, the others are not taken from the
/// defaults.
const EXCLUSIVE: &[&[&str]] = &[
    &["http", "tcp", "tls", "grpc"],
    &["path", "path_exact", "path_regex"],
    &["pool", "split", "redirect", "respond"],
    &["cookie", "cookie_hash"],
    &["basic_auth", "forward_auth"],
];

/// Checks keys against the tree and expands strings; what is wrong is reported and taken out.
pub(crate) struct Walk<'a> {
    /// Expands strings.
    pub(crate) expander: &'a Expander<'a>,
    /// Takes the mistakes.
    pub(crate) report: &'a mut Report,
}

impl Walk<'_> {
    /// Walks one value; `path` is how the operator would write the key.
    pub(crate) fn value(&mut self, node: &Node, path: &str, value: &mut Value<'_>) -> bool {
        let span = value.span();
        match value.get_mut() {
            DeValue::Table(table) => {
                self.table(node, path, table);
                true
            }
            DeValue::Array(array) => {
                // Items without a node of their own are plain values.
                let plain = Node::default();
                let item = node.items.as_deref().unwrap_or(&plain);
                for mut each in std::mem::replace(array, DeArray::new()) {
                    if self.value(item, path, &mut each) {
                        array.push(each);
                    }
                }
                true
            }
            DeValue::String(text) => {
                let place = Place { span };
                if let Some(later) =
                    node.later_values.iter().find(|later| text.starts_with(later.begins))
                {
                    self.report
                        .error(format!("{path} = \"{text}\": not in this version"), &place)
                        .hint(later.hint);
                    return false;
                }
                if !text.contains("${") {
                    return true;
                }
                match self.expander.expand(text, node.secret) {
                    Ok(expanded) => *text = expanded.into(),
                    Err(error) => {
                        self.report.error(error.message, &place).hint(error.hint);
                        return false;
                    }
                }
                true
            }
            _ => true,
        }
    }

    /// Walks one table.
    pub(crate) fn table(&mut self, node: &Node, path: &str, table: &mut DeTable<'_>) {
        if node.children.is_empty() && node.named.is_none() {
            return;
        }
        let mut wrong = Vec::new();
        for (key, value) in table.iter_mut() {
            let name = key.get_ref().as_ref();
            let inner = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            let place = Place { span: key.span() };
            let keep = match node.children.get(name).or(node.named.as_deref()) {
                Some(Node { later: Some(hint), .. }) => {
                    self.report.error(format!("{inner}: not in this version"), &place).hint(*hint);
                    false
                }
                Some(child) => self.value(child, &inner, value),
                None => {
                    let hint = nearest(name, node.known())
                        .map_or_else(|| known(node), |near| format!("did you mean `{near}`?"));
                    self.report.error(format!("unknown key `{name}`"), &place).hint(hint);
                    false
                }
            };
            if !keep {
                wrong.push(name.to_owned());
            }
        }
        for name in wrong {
            table.remove(name.as_str());
        }
    }
}

fn known(node: &Node) -> String {
    let known: Vec<_> = node.known().collect();
    format!("known here: {}", known.join(", "))
}

/// Lays the object over the defaults: deep for tables, the object wins.
pub(crate) fn merge<'i>(object: &mut DeTable<'i>, defaults: &DeTable<'i>) {
    let meaningless = meaningless(object);
    for (key, default) in defaults {
        let name = key.get_ref().as_ref();
        if let Some(own) = object.get_mut(name) {
            if let (DeValue::Table(own), DeValue::Table(default)) =
                (own.get_mut(), default.get_ref())
            {
                merge(own, default);
            }
        } else if !shut_out(object, name) && !meaningless.contains(&name) {
            object.insert(key.clone(), default.clone());
        }
    }
}

/// Keys that would mean nothing beside what the object says, as those of our cookie where it binds
/// its visitors otherwise.
fn meaningless(object: &DeTable<'_>) -> Vec<&'static str> {
    let mut names = Vec::new();
    for (path, word, keys) in ONLY_WITH {
        let (table, name) = path.rsplit_once('.').unwrap_or_default();
        let said = object.get(name).and_then(|value| value.get_ref().as_str());
        if said.is_some_and(|said| said != *word && !said.contains("${")) {
            let below = keys.iter().filter_map(|key| key.strip_prefix(table)?.strip_prefix('.'));
            names.extend(below.filter_map(|key| key.split('.').next()));
        }
    }
    names
}

fn shut_out(object: &DeTable<'_>, name: &str) -> bool {
    EXCLUSIVE
        .iter()
        .filter(|group| group.contains(&name))
        .any(|group| group.iter().any(|other| object.contains_key(*other)))
}

/// Decodes one object. A mistake is reported, what is wrong is taken out, and the rest is tried
/// again, so that no mistake hides another.
pub(crate) fn decode<T: DeserializeOwned + Default>(
    mut value: Value<'_>,
    report: &mut Report,
) -> T {
    for _ in 0..MAX_MISTAKES_PER_OBJECT {
        let error = match T::deserialize(ValueDeserializer::from(value.clone())) {
            Ok(decoded) => return decoded,
            Err(error) => error,
        };
        let span = error.span().unwrap_or_else(|| value.span());
        explain(error.message(), &span, report);
        if !take_out(value.get_mut(), &span) {
            break;
        }
    }
    T::default()
}

/// Says a decoding error in the words of the operator.
fn explain(message: &str, span: &Range<usize>, report: &mut Report) {
    let place = Place { span: span.clone() };
    let (message, hint) = match message.split_once('\n') {
        Some((message, hint)) => (message.to_owned(), Some(hint.to_owned())),
        None => (message.to_owned(), None),
    };
    let words: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    if message.starts_with("unknown variant")
        && let Some((word, known)) = words.split_first()
    {
        let hint = match nearest(word, known.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("one of: \"{}\"", known.join("\", \"")),
        };
        report.error(format!("unknown value \"{word}\""), &place).hint(hint);
        return;
    }
    let written = report.text.get(span.clone()).filter(|text| !text.contains('\n'));
    let hint = hint.or_else(|| instead(&message, written?));
    let mistake = report.error(in_toml(&message), &place);
    if let Some(hint) = hint {
        mistake.hint(hint);
    }
}

/// How that would be written of which the wrong type stands there.
fn instead(message: &str, written: &str) -> Option<String> {
    let (found, expected) = message.split_once(", expected ")?;
    let text = found.starts_with("invalid type: string");
    match expected {
        "a sequence" if !found.ends_with("map") => Some(format!("write [{written}]")),
        "struct BackendText" if text => Some(format!(
            "write {{ address = {written} }}, best with a name of its own: {{ id = \"a\", \
             address = {written} }}"
        )),
        "struct CertificateText" if text => {
            Some("write { cert = \"site.crt\", key = \"site.key\" }".to_owned())
        }
        _ => None,
    }
}

/// Types as TOML calls them, where the message tells what was expected.
fn in_toml(message: &str) -> String {
    let Some((found, expected)) = message.split_once(", expected ") else {
        return message.to_owned();
    };
    let expected = match expected {
        "i64" => "a whole number",
        "a sequence" => "an array",
        _ if expected.starts_with("struct ") => "a table",
        _ => expected,
    };
    format!("{found}, expected {expected}")
}

/// Takes the innermost entry out whose key or value holds the span. Spans of tables say nothing
/// of what is in them (a header may stand anywhere), so every entry is looked at.
fn take_out(value: &mut DeValue<'_>, span: &Range<usize>) -> bool {
    let holds = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    match value {
        DeValue::Table(table) => {
            if table.iter_mut().any(|(_, inner)| take_out(inner.get_mut(), span)) {
                return true;
            }
            let wrong = table
                .iter()
                .find(|(key, inner)| holds(key.span()) || holds(inner.span()))
                .map(|(key, _)| key.get_ref().to_string());
            wrong.is_some_and(|name| table.remove(name.as_str()).is_some())
        }
        DeValue::Array(array) => {
            if array.iter_mut().any(|inner| take_out(inner.get_mut(), span)) {
                return true;
            }
            let before = array.len();
            let kept = std::mem::replace(array, DeArray::new())
                .into_iter()
                .filter(|inner| !holds(inner.span()));
            for inner in kept {
                array.push(inner);
            }
            array.len() < before
        }
        _ => false,
    }
}
