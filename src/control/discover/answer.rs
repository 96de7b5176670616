//! A good answer: who is behind a name now.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::defaults::MAX_DISCOVERED;

/// A backend that DNS tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::control) struct Target {
    pub(in crate::control) address: SocketAddr,
    /// The host that has the address.
    pub(in crate::control) host: Arc<str>,
    pub(in crate::control) weight: u32,
}

/// At least one target, sorted by address, each once, and not more than are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::control) struct Answer {
    targets: Vec<Target>,
    /// How many more there were.
    left_out: usize,
}

impl Answer {
    /// None where there is nobody: an empty answer is no good one. Of more than are taken those
    /// with the lowest addresses are, so that every answer takes the same. Where an address comes
    /// twice, its weights add up.
    pub(in crate::control) fn new(targets: impl Iterator<Item = Target>) -> Option<Self> {
        let mut all: Vec<Target> = targets.collect();
        all.sort_by(|a, b| (a.address, &a.host).cmp(&(b.address, &b.host)));
        all.dedup_by(|again, first| {
            let same = again.address == first.address;
            if same && again.host != first.host {
                first.weight = first.weight.saturating_add(again.weight).min(MOST_WEIGHT);
            }
            same
        });
        let left_out = all.len().saturating_sub(MAX_DISCOVERED);
        all.truncate(MAX_DISCOVERED);
        (!all.is_empty()).then_some(Self { targets: all, left_out })
    }

    /// Who is there.
    pub(in crate::control) fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// How many more there were than are taken.
    pub(super) fn left_out(&self) -> usize {
        self.left_out
    }

    pub(super) fn has(&self, address: SocketAddr) -> bool {
        self.targets.binary_search_by_key(&address, |target| target.address).is_ok()
    }

    /// Whether it has IPv6 addresses, or IPv4 ones.
    pub(in crate::control) fn has_family(&self, six: bool) -> bool {
        self.targets.iter().any(|target| target.address.is_ipv6() == six)
    }
}

/// As much as a record may have, and a file.
const MOST_WEIGHT: u32 = 65_535;
