//! What the rooms of the file check alike: names, numbers, durations, paths, references, keys.

use std::collections::HashMap;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Object;
use crate::config::defaults::{MAX_KEYS, MAX_NAME};
use crate::config::distance::nearest;
use crate::config::expand::Expander;
use crate::config::model::{Located, Place, SecretKey};
use crate::config::report::{Mistake, Report};
use crate::config::secret::{key_id, read_key};
use crate::config::text::{At, List};
use crate::config::unit::{Size, Time};

/// The report, and the files that are read: secrets, relative to the file's own folder.
pub(super) struct Check<'a> {
    pub(super) report: &'a mut Report,
    pub(super) expander: &'a Expander<'a>,
}

impl Check<'_> {
    pub(super) fn error(&mut self, message: impl Into<String>, place: &Place) -> &mut Mistake {
        self.report.error(message, place)
    }

    pub(super) fn warning(&mut self, message: impl Into<String>, place: &Place) -> &mut Mistake {
        self.report.warning(message, place)
    }

    /// Something missing: said only of objects that were read in full.
    pub(super) fn missing<T>(&mut self, object: &Object<T>, message: &str, hint: &str) {
        if !object.broken {
            self.error(message, &object.place).hint(hint);
        }
    }

    /// Whether something in this range was found wrong and taken out, so that what is missing may
    /// have been there.
    pub(super) fn is_broken(&self, range: &Range<usize>) -> bool {
        let inside = |span: &Range<usize>| range.start <= span.start && span.end <= range.end;
        self.report.mistakes.iter().any(|mistake| mistake.place.as_ref().is_some_and(inside))
    }

    /// Names of listeners, routes, pools, backends and scopes.
    pub(super) fn name(&mut self, what: &str, name: &str, place: &Place) {
        if !is_name(name) {
            self.error(format!("`{name}` is no name for a {what}"), place).hint(format!(
                "1 to {MAX_NAME} of the characters A-Z a-z 0-9 . _ -, the first a letter or digit"
            ));
        }
    }

    /// A number within bounds, or its default.
    pub(super) fn number<N: TryFrom<i64> + Copy>(
        &mut self,
        key: &str,
        value: Option<&At<i64>>,
        range: RangeInclusive<i64>,
        default: N,
    ) -> N {
        let Some(at) = value else { return default };
        match N::try_from(at.value) {
            Ok(number) if range.contains(&at.value) => number,
            _ => {
                let (low, high) = range.into_inner();
                self.error(format!("{key} = {} is out of range", at.value), &at.place())
                    .hint(format!("from {low} to {high}"));
                default
            }
        }
    }

    /// A duration above zero, or none; zero is an error.
    pub(super) fn wait(
        &mut self,
        key: &str,
        value: Option<&At<Time>>,
        default: Option<Duration>,
    ) -> Option<Duration> {
        let Some(at) = value else { return default };
        if at.value.0 == Some(Duration::ZERO) {
            self.error(format!("{key} = \"0s\" leaves no time at all"), &at.place())
                .hint("write \"none\" to wait for ever, where that is allowed");
        }
        at.value.0
    }

    /// A duration that must end.
    pub(super) fn finite(
        &mut self,
        key: &str,
        value: Option<&At<Time>>,
        least: Duration,
        default: Duration,
    ) -> Duration {
        let Some(at) = value else { return default };
        match at.value.0 {
            None => {
                self.error(format!("{key} = \"none\": this must end"), &at.place())
                    .hint(format!("the default is \"{}\"", Time(Some(default))));
                default
            }
            Some(duration) if duration < least => {
                self.error(format!("{key} = \"{}\" is too short", at.value), &at.place())
                    .hint(format!("at least \"{}\"", Time(Some(least))));
                default
            }
            Some(duration) => duration,
        }
    }

    /// An error where a duration is longer than this.
    pub(super) fn at_most(&mut self, key: &str, value: Option<&At<Time>>, most: Duration) {
        if let Some(at) = value.filter(|at| at.value.0.is_some_and(|time| time > most)) {
            self.error(format!("{key} = \"{}\" is too long", at.value), &at.place())
                .hint(format!("at most \"{}\"", Time(Some(most))));
        }
    }

    /// A size within bounds that may not be none.
    pub(super) fn bytes(
        &mut self,
        key: &str,
        value: Option<&At<Size>>,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> u64 {
        let Some(at) = value else { return default };
        match at.value.0 {
            Some(bytes) if range.contains(&bytes) => bytes,
            _ => {
                let (low, high) = range.into_inner();
                let (low, high) = (Size(Some(low)), Size(Some(high)));
                self.error(format!("{key} = \"{}\" is out of range", at.value), &at.place())
                    .hint(format!("from \"{low}\" to \"{high}\""));
                default
            }
        }
    }

    /// A size that is not below this, or none.
    pub(super) fn at_least(&mut self, key: &str, at: &At<Size>, least: u64) -> Option<u64> {
        let bytes = at.value.0?;
        if bytes < least {
            self.error(format!("{key} = \"{}\" is too little", at.value), &at.place())
                .hint(format!("at least \"{}\"", Size(Some(least))));
        }
        Some(bytes)
    }

    /// An absolute path.
    pub(super) fn path(&mut self, key: &str, at: &At<String>) -> Located<PathBuf> {
        if at.value.is_empty() {
            self.error(format!("{key} is empty"), &at.place()).hint("name a file or folder");
        }
        Located { value: self.expander.base.join(&at.value), place: at.place() }
    }

    /// The index of the object that is named.
    pub(super) fn reference<T>(
        &mut self,
        what: &str,
        at: &At<String>,
        objects: &Names<'_, T>,
    ) -> Option<usize> {
        let found = objects.index.get(at.value.as_str()).copied();
        if found.is_none() {
            let known = objects.objects.iter().map(|object| object.name.as_str());
            let hint = match nearest(&at.value, known) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("define it by [{what}s.{}]", at.value),
            };
            self.error(format!("{what} \"{}\" is not defined", at.value), &at.place()).hint(hint);
        }
        found
    }

    /// Keys of session tickets.
    pub(super) fn ticket_keys(&mut self, list: &List<String>) -> Vec<SecretKey> {
        if list.value.len() > MAX_KEYS {
            self.error(format!("more than {MAX_KEYS} keys"), &list.place())
                .hint("drop those that were replaced more than half a day ago");
        }
        let mut keys: Vec<(SecretKey, Place)> = Vec::new();
        for at in &list.value {
            let Some(key) = read_key(at.value.trim()) else {
                self.error("this is no ticket key", &at.place()).hint(
                    "32 bytes in base64 or hex: make one with `ostler keygen > ticket.key`, and \
                     write \"${file:ticket.key}\"",
                );
                continue;
            };
            if let Some((_, first)) = keys.iter().find(|(known, _)| *known == key) {
                self.error("this key stands here twice", &at.place()).also(first, "the first");
            } else {
                keys.push((key, at.place()));
            }
        }
        keys.into_iter().map(|(key, _)| key).collect()
    }

    /// Session keys, of which no two may have one id.
    pub(super) fn keys(&mut self, list: &List<String>) -> Vec<SecretKey> {
        if list.value.len() > MAX_KEYS {
            self.error(format!("more than {MAX_KEYS} keys"), &list.place())
                .hint("drop those that sealed before the longest session began");
        }
        let mut keys: Vec<SecretKey> = Vec::new();
        let mut seen: HashMap<u8, Place> = HashMap::new();
        for at in &list.value {
            let Some(key) = read_key(at.value.trim()) else {
                self.error("this is no session key", &at.place()).hint(
                    "32 bytes in base64 or hex: make one with `ostler keygen > session.key`, and \
                     write \"${file:session.key}\"",
                );
                continue;
            };
            let id = key_id(&key);
            let same = keys.contains(&key);
            let Some(first) = seen.get(&id) else {
                seen.insert(id, at.place());
                keys.push(key);
                continue;
            };
            let what = if same {
                "this key stands here twice".to_owned()
            } else {
                format!("two keys with the id {id:02x}: tokens could not tell them apart")
            };
            self.error(what, &at.place())
                .also(first, "the first")
                .hint("make another with `ostler keygen`");
        }
        keys
    }
}

/// Objects by their names.
pub(super) struct Names<'a, T> {
    objects: &'a [Object<T>],
    index: HashMap<&'a str, usize>,
}

impl<'a, T> Names<'a, T> {
    pub(super) fn new(objects: &'a [Object<T>]) -> Self {
        let names = objects.iter().enumerate();
        Self { objects, index: names.map(|(at, object)| (object.name.as_str(), at)).collect() }
    }

    /// All their indexes.
    pub(super) fn all(&self) -> Vec<usize> {
        (0..self.objects.len()).collect()
    }
}

/// A regular expression that matches a whole text. `build` makes one of either kind.
pub(super) fn whole_regex<R>(
    at: &At<String>,
    what: &str,
    build: impl Fn(&str) -> Result<R, regex::Error>,
    check: &mut Check<'_>,
) -> Option<R> {
    // By itself first, so that `a)(b` cannot pass for what the anchors make of it.
    match build(&at.value).and_then(|_| build(&format!(r"\A(?:{})\z", at.value))) {
        Ok(regex) => Some(regex),
        Err(error) => {
            no_regex(at, &error, check).hint(format!(
                "it must match the whole {what}; look-around and back-references do not exist"
            ));
            None
        }
    }
}

/// The mistake of a text that is no regular expression.
pub(super) fn no_regex<'m>(
    at: &At<String>,
    error: &regex::Error,
    check: &'m mut Check<'_>,
) -> &'m mut Mistake {
    let text = error.to_string();
    let reason = text.lines().last().unwrap_or_default().trim();
    let reason = reason.strip_prefix("error: ").unwrap_or(reason);
    check.error(format!("`{}` is no regular expression: {reason}", at.value), &at.place())
}

/// Whether it is fit to name an object.
pub(super) fn is_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    name.len() <= MAX_NAME
        && name.bytes().all(legal)
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
}

/// Whether it is a token as RFC 9110 §5.6.2 (and RFC 6265 for cookie names) has it.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// A text with its place.
pub(super) fn located(at: &At<String>) -> Located<Arc<str>> {
    Located { value: Arc::from(at.value.as_str()), place: at.place() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_begin_with_a_letter_or_digit_and_are_short() {
        assert!(is_name("a.b_c-1"));
        for wrong in ["", "-a", ".a", "a/b", "ä", "a b", &"x".repeat(65)] {
            assert!(!is_name(wrong), "{wrong}");
        }
    }

    #[test]
    fn tokens_hold_no_separators() {
        assert!(is_token("__Host-ostler"));
        for wrong in ["", "a b", "a;b", "a=b", "a\"b"] {
            assert!(!is_token(wrong), "{wrong}");
        }
    }
}
