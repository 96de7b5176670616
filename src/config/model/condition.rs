//! What a route asks of a request beside host and path, and whom it lets in, as they hold.

use std::time::Duration;

use http::{HeaderName, Method};
use ipnet::IpNet;
use regex::bytes::Regex;

use super::HashOn;

/// All of these must hold.
#[derive(Debug, Clone, Default)]
pub struct Conditions {
    /// Empty: any. With GET always HEAD.
    pub methods: Vec<Method>,
    /// Fields of the head.
    pub fields: Vec<FieldCondition>,
    /// Networks of the client; empty: any.
    pub sources: Vec<IpNet>,
}

/// What one field must be like.
#[derive(Debug, Clone)]
pub struct FieldCondition {
    /// Which one.
    pub field: FieldName,
    /// What is asked of it.
    pub test: ValueTest,
}

/// A named thing in a request's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldName {
    /// A header field.
    Header(HeaderName),
    /// A parameter of the query, decoded.
    Query(Box<str>),
    /// A cookie.
    Cookie(Box<str>),
}

/// What a value must be like. Of several values one is enough.
#[derive(Debug, Clone)]
pub enum ValueTest {
    /// This text.
    Is(Box<str>),
    /// Matched as a whole (anchored by us).
    Matches(Regex),
    /// Whatever it is.
    Present,
    /// There is none.
    Absent,
}

/// Who may use a route.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// These are refused.
    pub deny: Vec<IpNet>,
    /// Of the others, these alone are let in; empty: all.
    pub allow: Vec<IpNet>,
}

/// How often a client may use a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// What tells clients apart; for who brings none of it, its address does.
    pub by: HashOn,
    /// So many requests, at least 1.
    pub count: u32,
    /// In such a time, not zero.
    pub per: Duration,
    /// So many at once, at least 1.
    pub burst: u32,
}

impl Conditions {
    /// How many there are: the more, the more specific is their route.
    pub fn count(&self) -> usize {
        let lists = usize::from(!self.methods.is_empty()) + usize::from(!self.sources.is_empty());
        lists + self.fields.len()
    }

    /// Whether what they say of one and the same thing tells any request that meets these from any
    /// that meets the others.
    pub fn exclude(&self, others: &Self) -> bool {
        let apart = |one: &FieldCondition, other: &FieldCondition| {
            one.field == other.field && one.test.excludes(&other.test)
        };
        differ(&self.methods, &others.methods, |one, other| one == other)
            || differ(&self.sources, &others.sources, overlap)
            || self.fields.iter().any(|one| others.fields.iter().any(|other| apart(one, other)))
    }
}

/// Whether both lists ask something, and have nothing in common.
fn differ<T>(one: &[T], other: &[T], alike: impl Fn(&T, &T) -> bool) -> bool {
    let meets = |it: &T| other.iter().any(|that| alike(it, that));
    !one.is_empty() && !other.is_empty() && !one.iter().any(meets)
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

impl ValueTest {
    fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Is(one), Self::Is(other)) => one != other,
            (Self::Is(text), Self::Matches(regex)) | (Self::Matches(regex), Self::Is(text)) => {
                !regex.is_match(text.as_bytes())
            }
            (Self::Absent, Self::Absent) => false,
            (Self::Absent, _) | (_, Self::Absent) => true,
            _ => false,
        }
    }
}
