//! What is left of a drain, added up over nodes and backends.

use jiff::Timestamp;

use crate::admin::view::{BackendSessions, Nodes, Sessions};

/// Pool and id of a backend.
pub(in crate::cli) type Target = (String, String);

/// Since when each backend drains, by node, as it was seen first.
pub(super) type Begun = Vec<Timestamp>;

/// Why there is no drain to wait for any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// The backend is not there any more.
    Left { pool: String, backend: String, node: String },
    /// It does not drain any more, or not since the same time.
    Lifted { pool: String, backend: String, node: String },
}

/// What is left.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, with a name")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) sessions: u64,
    /// Whether that is a count on every node.
    pub(super) exact: bool,
    /// Where the counts of a node are incomplete: for how many seconds they have gone on, and until
    /// they are complete.
    pub(super) incomplete: Option<(u64, u64)>,
    pub(super) exchanges: u64,
    pub(super) tunnels: u64,
    /// The last one; none where one of them has none.
    pub(super) deadline: Option<Timestamp>,
    /// Whether every deadline has passed.
    pub(super) over: bool,
    pub(super) quiet: bool,
    pub(super) moved: u64,
    /// Those to which somebody is, or may be, bound.
    pub(super) waiting: Vec<Target>,
    /// Nobody is bound to any of them, for sure.
    pub(super) empty: bool,
    /// Of the node that started last: counts begin anew with it.
    pub(super) uptime: u64,
}

impl Left {
    /// Adds up. The first look notes when each drain began; from then on each must be the same.
    ///
    /// # Errors
    /// Where one of them is no drain any more.
    pub(super) fn of(
        nodes: &Nodes,
        targets: &[Target],
        begun: &mut Option<Begun>,
    ) -> Result<Self, Ended> {
        let mut left = Self {
            sessions: 0,
            exact: true,
            incomplete: None,
            exchanges: 0,
            tunnels: 0,
            deadline: Some(Timestamp::MIN),
            over: true,
            quiet: false,
            moved: 0,
            waiting: Vec::new(),
            empty: true,
            uptime: u64::MAX,
        };
        let mut since = Begun::new();
        for (node, (pool, id)) in
            nodes.nodes.iter().flat_map(|node| targets.iter().map(move |it| (node, it)))
        {
            let named = || (pool.clone(), id.clone(), node.node.clone());
            let Some(backend) = find(node, pool, id) else {
                let (pool, backend, node) = named();
                return Err(Ended::Left { pool, backend, node });
            };
            let Some(drain) = &backend.drain else {
                let (pool, backend, node) = named();
                return Err(Ended::Lifted { pool, backend, node });
            };
            let place = since.len();
            if begun.as_ref().is_some_and(|begun| begun.get(place) != Some(&drain.since)) {
                let (pool, backend, node) = named();
                return Err(Ended::Lifted { pool, backend, node });
            }
            since.push(drain.since);
            left.add(node, pool, backend);
            left.deadline = left.deadline.zip(drain.deadline).map(|(one, other)| one.max(other));
            left.over &= drain.over;
            left.quiet |= drain.quiet_seconds.is_some();
            left.moved = left.moved.saturating_add(drain.moved);
            let target = (pool.clone(), id.clone());
            if !backend.empty && !left.waiting.contains(&target) {
                left.waiting.push(target);
            }
        }
        begun.get_or_insert(since);
        Ok(left)
    }

    fn add(&mut self, node: &Sessions, pool: &str, backend: &BackendSessions) {
        self.sessions = self.sessions.saturating_add(backend.sessions);
        self.exact &= backend.exact;
        self.exchanges += u64::from(backend.exchanges);
        self.tunnels += u64::from(backend.tunnels);
        self.empty &= backend.empty;
        self.uptime = self.uptime.min(node.uptime_seconds);
        let pool = node.pools.iter().find(|it| it.name == pool);
        if let Some(pool) = pool.filter(|pool| !pool.complete) {
            let (since, until) = self.incomplete.unwrap_or((u64::MAX, 0));
            let until = until.max(pool.complete_in_seconds);
            self.incomplete = Some((since.min(node.counted(pool)), until));
        }
        // An empty one with counts that are not complete is a contradiction; be on the safe side.
        self.empty &= self.incomplete.is_none();
    }

    /// Whether every deadline has passed, and what was under way has ended.
    pub(super) fn is_past(&self) -> bool {
        self.over && self.exchanges == 0 && self.tunnels == 0
    }

    /// Who was bound at the deadline and has not come back since.
    pub(super) fn absent_line(&self) -> String {
        let sessions = super::out::counted(self.sessions, "session");
        match (self.sessions, self.incomplete) {
            (0, _) => {
                "visitors whom the counts have not seen move when they come back\n".to_owned()
            }
            (_, None) => format!("{sessions} still bound: each moves at its next request\n"),
            (_, Some(_)) => {
                format!("≥ {sessions} still bound: each moves at its next request\n")
            }
        }
    }

    /// How many had to be moved, and why.
    pub(super) fn moved_line(&self) -> String {
        let number = super::out::grouped(self.moved);
        match (self.over, self.quiet) {
            (true, false) => format!("moved {number} at the deadline"),
            (true, true) => format!("moved {number} at the deadline or for having been quiet"),
            (false, _) => format!("moved {number} for having been quiet"),
        }
    }
}

/// A backend of a node.
pub(in crate::cli) fn find<'a>(
    node: &'a Sessions,
    pool: &str,
    id: &str,
) -> Option<&'a BackendSessions> {
    let pool = node.pools.iter().find(|it| it.name == pool)?;
    pool.backends.iter().find(|it| it.id == id)
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// A node whose backend shop/a drains with so many sessions.
    pub(in crate::cli::drain) fn node(name: &str, sessions: u64, complete: bool) -> Sessions {
        serde_json::from_value(json!({"node": name, "kept": true, "uptime_seconds": 240,
            "pools": [{"name": "shop", "by": "cookie", "sessions": sessions, "exact": true,
            "complete": complete, "complete_in_seconds": if complete { 0 } else { 1560 },
            "issued": 9, "backends": [{
            "id": "a", "state": "drain", "sessions": sessions, "exact": true, "exchanges": 3,
            "tunnels": 1, "empty": sessions == 0 && complete,
            "drain": {"since": "2026-11-24T10:00:00Z",
            "deadline": "2026-11-24T11:00:00Z", "over": false, "quiet_seconds": null,
            "then": "move", "tunnels": "keep", "moved": 2}}]}]}))
        .unwrap()
    }

    fn of(nodes: &[Sessions], begun: &mut Option<Begun>) -> Result<Left, Ended> {
        let targets = [("shop".to_owned(), "a".to_owned())];
        Left::of(&Nodes { nodes: nodes.to_vec() }, &targets, begun)
    }

    #[test]
    fn what_is_left_is_added_up_and_the_last_deadline_counts() {
        let mut begun = None;
        let mut other = node("lb2", 0, true);
        let left = of(&[node("lb1", 5, true), other.clone()], &mut begun).unwrap();
        assert_eq!((left.sessions, left.exchanges, left.tunnels, left.moved), (5, 6, 2, 4));
        assert!(!left.empty && left.incomplete.is_none() && !left.over);
        assert_eq!(left.deadline.unwrap().to_string(), "2026-11-24T11:00:00Z");
        other.pools[0].backends[0].drain.as_mut().unwrap().deadline = None;
        assert_eq!(of(&[node("lb1", 5, true), other], &mut begun).unwrap().deadline, None);
    }

    #[test]
    fn counts_that_are_not_complete_are_never_empty() {
        let left = of(&[node("lb1", 0, true), node("lb2", 0, false)], &mut None).unwrap();
        assert_eq!((left.empty, left.incomplete), (false, Some((240, 1560))));
        assert!(of(&[node("lb1", 0, true)], &mut None).unwrap().empty);
    }

    #[test]
    fn past_the_deadline_those_who_have_not_come_back_are_told_of() {
        let left = of(&[node("lb1", 5, true)], &mut None).unwrap();
        assert!(!left.is_past() && !Left { over: true, ..left.clone() }.is_past());
        let past = Left { over: true, exchanges: 0, tunnels: 0, ..left };
        assert!(past.is_past() && !Left { over: false, ..past.clone() }.is_past());
        assert!(past.absent_line().starts_with("5 sessions still bound: each moves"));
        let unseen = Left { sessions: 0, incomplete: Some((1, 2)), ..past };
        assert!(unseen.absent_line().starts_with("visitors whom the counts have not seen"));
    }

    #[test]
    fn a_drain_that_is_lifted_or_begun_anew_is_no_more_what_was_waited_for() {
        let mut begun = None;
        let mut nodes = [node("lb1", 5, true), node("lb2", 5, true)];
        of(&nodes, &mut begun).unwrap();
        let lifted = |node: &str| Ended::Lifted {
            pool: "shop".to_owned(),
            backend: "a".to_owned(),
            node: node.to_owned(),
        };
        let drain = nodes[1].pools[0].backends[0].drain.take();
        assert_eq!(of(&nodes, &mut begun), Err(lifted("lb2")));
        let anew = drain.map(|drain| crate::admin::view::Drain { since: Timestamp::MAX, ..drain });
        nodes[1].pools[0].backends[0].drain = anew;
        assert_eq!(of(&nodes, &mut begun), Err(lifted("lb2")));
        nodes[0].pools[0].backends.clear();
        assert!(matches!(of(&nodes, &mut begun), Err(Ended::Left { .. })));
    }
}
