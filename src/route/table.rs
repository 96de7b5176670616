//! `Table::find`: the most specific rule for a host and a path, without allocating.

use std::borrow::Cow;
use std::collections::HashMap;

use foldhash::fast::FixedState;
use regex::Regex;

use super::condition::Conditions;
use super::path::normalise;
use super::rule::{Rule, Tie};
use crate::config::model::{self, HostPattern, PathPattern};

/// The hash needs no random seed: its keys come from the file, and a request can only look up.
type Map<V> = HashMap<Box<str>, V, FixedState>;

/// The routes of one listener, compiled.
///
/// Hosts: exact, then the longest wildcard suffix, then any. Within a host: exact path, regex in
/// file order, longest prefix. Within a path: most conditions. A host that has no rule for the path
/// leaves it to the next wider one, and so does a path whose conditions are not met.
#[derive(Debug, Clone)]
pub struct Table<T> {
    exact: Map<Paths>,
    wildcard: Map<Paths>,
    wildcard_lengths: Lengths,
    any: Paths,
    values: Vec<T>,
    /// Beside `values`; empty where no rule has any.
    conditions: Vec<Option<Conditions>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            exact: Map::default(),
            wildcard: Map::default(),
            wildcard_lengths: Lengths::default(),
            any: Paths::default(),
            values: Vec::new(),
            conditions: Vec::new(),
        }
    }
}

impl<T> Table<T> {
    /// Compiles rules in file order, or names every pair that ties, each pair once, each later
    /// rule against the first that holds its place.
    pub fn build(rules: Vec<Rule<T>>) -> Result<Self, Vec<Tie>> {
        let mut table = Self { values: Vec::with_capacity(rules.len()), ..Self::default() };
        let mut ties = Vec::new();
        let mut conditions = Vec::with_capacity(rules.len());
        for (index, rule) in rules.into_iter().enumerate() {
            let path = Key::of(&rule.path);
            conditions.push(rule.conditions);
            if rule.hosts.is_empty() {
                table.any.insert(&path, index, &conditions, &mut ties);
            }
            for host in &rule.hosts {
                table.paths_of(host).insert(&path, index, &conditions, &mut ties);
            }
            table.values.push(rule.value);
        }
        if conditions.iter().any(Option::is_some) {
            table.conditions = conditions;
        }
        if ties.is_empty() { Ok(table) } else { Err(ties) }
    }

    /// The value of the most specific rule whose conditions are met. The host is lower case,
    /// without port and final dot; none (HTTP/1.0) reaches rules for any host only. The path is
    /// normalised and has no query.
    pub fn find(
        &self,
        host: Option<&str>,
        path: &str,
        met: impl Fn(&Conditions) -> bool,
    ) -> Option<&T> {
        let fits = |index: &usize| self.conditions_of(*index).is_none_or(&met);
        let index = self.find_index(host, path, &mut |slot: &Slot| match slot {
            Slot::One(index) => fits(index).then_some(*index),
            Slot::Several(indexes) => indexes.iter().copied().find(fits),
        });
        self.values.get(index?)
    }

    /// The conditions of every rule for this host and path.
    pub fn conditions(&self, host: Option<&str>, path: &str) -> Vec<&Conditions> {
        let mut found = Vec::new();
        if !self.conditions.is_empty() {
            self.find_index(host, path, &mut |slot: &Slot| {
                found.extend(slot.indexes().iter().filter_map(|at| self.conditions_of(*at)));
                None
            });
        }
        found
    }

    fn conditions_of(&self, index: usize) -> Option<&Conditions> {
        self.conditions.get(index)?.as_ref()
    }

    /// Number of rules.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    fn find_index(
        &self,
        host: Option<&str>,
        path: &str,
        pick: &mut impl FnMut(&Slot) -> Option<usize>,
    ) -> Option<usize> {
        if let Some(host) = host {
            let found = self.exact.get(host).and_then(|paths| paths.find(path, pick));
            if found.is_some() {
                return found;
            }
            if !self.wildcard.is_empty() {
                let found = self.find_wildcard(host, path, pick);
                if found.is_some() {
                    return found;
                }
            }
        }
        self.any.find(path, pick)
    }

    fn find_wildcard(
        &self,
        host: &str,
        path: &str,
        pick: &mut impl FnMut(&Slot) -> Option<usize>,
    ) -> Option<usize> {
        let mut rest = host;
        while let Some((_, suffix)) = rest.split_once('.') {
            rest = suffix;
            if !self.wildcard_lengths.may_hold(suffix.len()) {
                continue;
            }
            let found = self.wildcard.get(suffix).and_then(|paths| paths.find(path, pick));
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
    exact: Map<Slot>,
    regexes: Vec<(Regex, Slot)>,
    /// Where in `regexes` a pattern is.
    patterns: Map<usize>,
    /// Keys without trailing slash; the empty one matches every path.
    prefixes: Map<Slot>,
    prefix_lengths: Lengths,
    every: Option<Slot>,
}

/// The rules of one host and path, the one with the most conditions first.
#[derive(Debug, Clone)]
enum Slot {
    One(usize),
    Several(Vec<usize>),
}

impl Slot {
    fn indexes(&self) -> &[usize] {
        match self {
            Self::One(index) => std::slice::from_ref(index),
            Self::Several(indexes) => indexes,
        }
    }

    /// Adds a rule, or says with which one it ties.
    fn add(&mut self, index: usize, conditions: &[Option<Conditions>]) -> Option<usize> {
        let of =
            |index: usize| conditions.get(index).and_then(Option::as_ref).map(Conditions::written);
        let count = |index: usize| of(index).map_or(0, model::Conditions::count);
        let tie = |other: &&usize| {
            let apart = of(index).zip(of(**other)).is_some_and(|(one, that)| one.exclude(that));
            count(index) == count(**other) && !apart
        };
        if let Some(other) = self.indexes().iter().find(tie) {
            return Some(*other);
        }
        let mut indexes = self.indexes().to_vec();
        let place = indexes.partition_point(|other| count(*other) >= count(index));
        indexes.insert(place, index);
        *self = Self::Several(indexes);
        None
    }
}

impl Paths {
    fn find(&self, path: &str, pick: &mut impl FnMut(&Slot) -> Option<usize>) -> Option<usize> {
        if let Some(index) = self.exact.get(path).and_then(&mut *pick) {
            return Some(index);
        }
        for (regex, slot) in &self.regexes {
            if regex.is_match(path)
                && let Some(index) = pick(slot)
            {
                return Some(index);
            }
        }
        self.find_prefix(path, pick).or_else(|| self.every.as_ref().and_then(pick))
    }

    /// Probes segment boundaries from the longest prefix in the table down, so that a path of
    /// thousands of slashes costs no more than the longest prefix has bytes.
    fn find_prefix(
        &self,
        path: &str,
        pick: &mut impl FnMut(&Slot) -> Option<usize>,
    ) -> Option<usize> {
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
                && let Some(index) = self.prefixes.get(candidate).and_then(&mut *pick)
            {
                return Some(index);
            }
            candidate = candidate.rsplit_once('/')?.0;
        }
    }

    fn insert(
        &mut self,
        key: &Key<'_>,
        index: usize,
        conditions: &[Option<Conditions>],
        ties: &mut Vec<Tie>,
    ) {
        let slot = match key {
            Key::Exact(path) => self.exact.entry(Box::from(&**path)).or_insert(Slot::One(index)),
            Key::Prefix(path) if path.is_empty() => self.every.get_or_insert(Slot::One(index)),
            Key::Prefix(path) => {
                self.prefix_lengths.add(path.len());
                self.prefixes.entry(Box::from(&**path)).or_insert(Slot::One(index))
            }
            Key::Regex(regex) => {
                let pattern = Box::from(regex.as_str());
                let place = *self.patterns.entry(pattern).or_insert(self.regexes.len());
                if place == self.regexes.len() {
                    self.regexes.push(((*regex).clone(), Slot::One(index)));
                }
                let Some((_, slot)) = self.regexes.get_mut(place) else { return };
                slot
            }
        };
        if slot.indexes().contains(&index) {
            return;
        }
        let Some(holder) = slot.add(index, conditions) else { return };
        let tie = Tie { first: holder, second: index };
        // A rule that names one host twice does not tie with itself; two rules that share many
        // hosts tie once.
        let mut own = ties.iter().rev().take_while(|known| known.second == index);
        if own.all(|known| known.first != holder) {
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
