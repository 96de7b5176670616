//! The beginning of a request for a pool: what its attempts are going to share.

use std::time::Duration;

use super::super::attempt::Waits;
use super::super::forward::{Outbound, Way};
use super::Asked;
use crate::snapshot::choice::Visitor;
use crate::snapshot::{Forward, Pool, Snapshot};
use crate::sticky::Stickiness;

impl<'a> Asked<'a> {
    /// Before its first attempt. `waits`: for the head of an answer, and in all. `alone`: the
    /// connection carries one client's requests only.
    #[inline]
    pub(in crate::http) fn new(
        snapshot: &'a Snapshot,
        (forward, pool): (&'a Forward, &'a Pool),
        sticky: Option<&'a Stickiness>,
        way: Way<'a>,
        (response_header, total): (Option<Duration>, Option<Duration>),
        (visitor, alone): (Visitor, bool),
        outbound: Outbound,
    ) -> Self {
        let Way { route, listener, peer, client, .. } = way;
        let write = route.timeouts.write.unwrap_or(listener.timeouts.write);
        Self {
            snapshot,
            forward,
            sticky,
            pool,
            route,
            listener,
            peer,
            client,
            alone,
            waits: Waits { response_header, total, write },
            limit: total,
            decides: false,
            left: None,
            offered: false,
            visitor,
            outbound,
        }
    }
}
