//! `Table::find`: the most specific rule for a host and a path, without allocating.

use std::borrow::Cow;
use std::collections::HashMap;

use foldhash::fast::FixedState;
use regex::Regex;

use super::path::normalise;
use super::rule::{Rule, Tie};
use crate::config::model::{HostPattern, PathPattern};

/// The hash needs no random seed: its keys come from the file, and a request can only look up.
type Map<V> = HashMap<Box<str>, V, FixedState>;

/// The routes of one listener, compiled.
///
/// Hosts: exact, then the longest wildcard suffix, then any. Within a host: exact path, regex in
/// file order, longest prefix. A host that has no rule for the path leaves it to the next wider
/// one.
#[derive(Debug, Clone)]
pub struct Table<T> {
    exact: Map<Paths>,
    wildcard: Map<Paths>,
    wildcard_lengths: Lengths,
    any: Paths,
    values: Vec<T>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            exact: Map::default(),
            wildcard: Map::default(),
            wildcard_lengths: Lengths::default(),
            any: Paths::default(),
            values: Vec::new(),
        }
    }
}

impl<T> Table<T> {
    /// Compiles rules in file order, or names every pair that ties, each pair once, each later
    /// rule against the first that holds its place.
    pub fn build(rules: Vec<Rule<T>>) -> Result<Self, Vec<Tie>> {
        let mut table = Self { values: Vec::with_capacity(rules.len()), ..Self::default() };
        let mut ties = Vec::new();
        for (index, rule) in rules.into_iter().enumerate() {
            let path = Key::of(&rule.path);
            if rule.hosts.is_empty() {
                table.any.insert(&path, index, &mut ties);
            }
            for host in &rule.hosts {
                table.paths_of(host).insert(&path, index, &mut ties);
            }
            table.values.push(rule.value);
        }
        if ties.is_empty() { Ok(table) } else { Err(ties) }
    }

    /// The most specific rule's value. The host is lower case, without port and final dot; none
    /// (HTTP/1.0) reaches rules for any host only. The path is normalised and has no query.
    pub fn find(&self, host: Option<&str>, path: &str) -> Option<&T> {
        self.values.get(self.find_index(host, path)?)
    }

    /// Number of rules.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    fn find_index(&self, host: Option<&str>, path: &str) -> Option<usize> {
        if let Some(host) = host {
            let found = self.exact.get(host).and_then(|paths| paths.find(path));
            if found.is_some() {
                return found;
            }
            if !self.wildcard.is_empty() {
                let found = self.find_wildcard(host, path);
                if found.is_some() {
                    return found;
                }
            }
        }
        self.any.find(path)
    }

    fn find_wildcard(&self, host: &str, path: &str) -> Option<usize> {
        let mut rest = host;
        while let Some((_, suffix)) = rest.split_once('.') {
            rest = suffix;
            if !self.wildcard_lengths.may_hold(suffix.len()) {
                continue;
            }
            let found = self.wildcard.get(suffix).and_then(|paths| paths.find(path));
            if found.is_some() {
                return found;
            }
        }
        None
    }

    fn paths_of(&mut self, host: &HostPattern) -> &mut Paths {
        match host {
            HostPattern::Exact(name) => self.exact.entry(Box::from(&**name)).or_default(),
            HostPattern::Wildcard(suffix) => {
                self.wildcard_lengths.add(suffix.len());
                self.wildcard.entry(Box::from(&**suffix)).or_default()
            }
        }
    }
}

/// The rules of one host pattern, by index.
#[derive(Debug, Clone, Default)]
struct Paths {
    exact: Map<usize>,
    regexes: Vec<(Regex, usize)>,
    /// Who has which regex, to find ties.
    patterns: Map<usize>,
    /// Keys without trailing slash; the empty one matches every path.
    prefixes: Map<usize>,
    prefix_lengths: Lengths,
    every: Option<usize>,
}

impl Paths {
    fn find(&self, path: &str) -> Option<usize> {
        if let Some(index) = self.exact.get(path) {
            return Some(*index);
        }
        if let Some((_, index)) = self.regexes.iter().find(|(regex, _)| regex.is_match(path)) {
            return Some(*index);
        }
        self.find_prefix(path).or(self.every)
    }

    /// Probes segment boundaries from the longest prefix in the table down, so that a path of
    /// thousands of slashes costs no more than the longest prefix has bytes.
    fn find_prefix(&self, path: &str) -> Option<usize> {
        if self.prefixes.is_empty() {
            return None;
        }
        let longest = self.prefix_lengths.longest;
        let mut candidate = if path.len() <= longest {
            path
        } else {
            // A boundary is at a '/', so what is before the last one up to there is a candidate.
            let head = path.as_bytes().get(..=longest)?;
            let slash = head.iter().rposition(|byte| *byte == b'/')?;
            path.get(..slash)?
        };
        loop {
            if self.prefix_lengths.may_hold(candidate.len())
                && let Some(index) = self.prefixes.get(candidate)
            {
                return Some(*index);
            }
            candidate = candidate.rsplit_once('/')?.0;
        }
    }

    fn insert(&mut self, key: &Key<'_>, index: usize, ties: &mut Vec<Tie>) {
        let holder = match key {
            Key::Exact(path) => *self.exact.entry(Box::from(&**path)).or_insert(index),
            Key::Prefix(path) if path.is_empty() => *self.every.get_or_insert(index),
            Key::Prefix(path) => {
                self.prefix_lengths.add(path.len());
                *self.prefixes.entry(Box::from(&**path)).or_insert(index)
            }
            Key::Regex(regex) => {
                let holder = *self.patterns.entry(Box::from(regex.as_str())).or_insert(index);
                if holder == index {
                    self.regexes.push(((*regex).clone(), index));
                }
                holder
            }
        };
        let tie = Tie { first: holder, second: index };
        // A rule that names one host twice does not tie with itself; two rules that share many
        // hosts tie once.
        let mut own = ties.iter().rev().take_while(|known| known.second == index);
        if holder != index && own.all(|known| known.first != holder) {
            ties.push(tie);
        }
    }
}

/// A path pattern in the form that is compared with normalised paths.
enum Key<'a> {
    Exact(Cow<'a, str>),
    Prefix(Cow<'a, str>),
    Regex(&'a Regex),
}

impl<'a> Key<'a> {
    fn of(pattern: &'a PathPattern) -> Self {
        // What does not normalise matches no request; validation has said so to the operator.
        let normal = |path: &'a str| normalise(path).unwrap_or(Cow::Borrowed(path));
        match pattern {
            PathPattern::Any => Self::Prefix(Cow::Borrowed("")),
            PathPattern::Exact(path) => Self::Exact(normal(path)),
            PathPattern::Prefix(path) => Self::Prefix(without_final_slash(normal(path))),
            PathPattern::Regex(regex) => Self::Regex(regex),
        }
    }
}

fn without_final_slash(path: Cow<'_, str>) -> Cow<'_, str> {
    match path {
        Cow::Borrowed(path) => Cow::Borrowed(path.strip_suffix('/').unwrap_or(path)),
        Cow::Owned(mut path) => {
            if path.ends_with('/') {
                path.pop();
            }
            Cow::Owned(path)
        }
    }
}

/// Which key lengths a map has, to spare most probes their hash.
#[derive(Debug, Clone, Copy, Default)]
struct Lengths {
    /// One bit a length; the last bit stands for all from 63 up.
    bits: u64,
    longest: usize,
}

impl Lengths {
    fn add(&mut self, length: usize) {
        self.bits |= 1 << length.min(63);
        self.longest = self.longest.max(length);
    }

    fn may_hold(self, length: usize) -> bool {
        self.bits & (1 << length.min(63)) != 0
    }
}

#[cfg(test)]
mod tests;
