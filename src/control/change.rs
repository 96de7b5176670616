//! What a new configuration changes, told to whoever asked for it.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use crate::config::model::{
    Action, Admin, Auth, ErrorPage, ForwardAuth, Listener, ListenerTls, Model, Pool, Route, Share,
    WhenAllDown,
};

/// The objects of a configuration by name, each with a hash of what it says, wherever in the file
/// it says so. Certificates and error pages count with their content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shapes {
    /// Content of each listener's certificates, where it has some.
    certificates: Named,
    listeners: Named,
    routes: Named,
    pools: Named,
    backends: Named,
    sections: Named,
}

pub(super) type Named = BTreeMap<String, u64>;

/// What came, what went, and what is not as it was, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    pub(super) added: Vec<String>,
    pub(super) removed: Vec<String>,
    pub(super) changed: Vec<String>,
}

/// All differences of two configurations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Change {
    listeners: Difference,
    routes: Difference,
    pools: Difference,
    /// By `POOL/ID`.
    backends: Difference,
    /// Tables such as `runtime`.
    sections: Vec<String>,
    /// Keys that take effect at the next start only.
    pub(super) at_next_start: Vec<String>,
}

impl Shapes {
    /// Reads the files of certificates and error pages. To be made before they are loaded: what
    /// is replaced in between is then found to differ, and not taken for what is in force.
    pub(super) fn of(model: &Model) -> Self {
        let mut shapes = Self::default();
        for listener in &model.listeners {
            let content = certificates(listener);
            if listener.tls.is_some() {
                shapes.certificates.insert(listener.name.to_string(), content);
            }
            let hash = shape(listener) ^ content ^ pages(&listener.error_pages);
            let hash = hash ^ ticket_keys(listener);
            shapes.listeners.insert(listener.name.to_string(), hash);
        }
        for route in &model.routes {
            shapes.routes.insert(route.name.to_string(), route_shape(route, model));
        }
        for pool in &model.pools {
            shapes.pools.insert(pool.name.to_string(), pool_shape(pool, model));
            for backend in &pool.backends {
                let name = format!("{}/{}", &*pool.name.value, &*backend.id.value);
                shapes.backends.insert(name, shape(backend));
            }
        }
        let keys: Vec<u64> = model.sessions.keys.iter().map(|key| xxh3_64(&key.0)).collect();
        let required: Vec<_> =
            model.metrics.ready_requires.iter().map(|index| pool_name(model, *index)).collect();
        shapes.sections = [
            ("metrics", shape(&(&model.metrics.bind, required))),
            ("sessions", shape(&keys)),
            ("admin", shape(&(&model.admin, secrets(&model.admin)))),
            ("runtime", shape(&model.runtime)),
            ("log", shape(&model.log)),
        ]
        .map(|(name, hash)| (name.to_owned(), hash))
        .into();
        shapes
    }
}

impl Shapes {
    /// A listener's certificates have gone into force without a new generation.
    pub(super) fn renew(&mut self, listener: &str, new: u64) {
        let known = (self.certificates.get_mut(listener), self.listeners.get_mut(listener));
        if let (Some(content), Some(hash)) = known {
            *hash ^= *content ^ new;
            *content = new;
        }
    }

    /// Content of the certificates that each listener has in force.
    pub(super) fn certificates(&self) -> &Named {
        &self.certificates
    }
}

/// The files of a listener's TLS as they are on disk.
pub(super) fn certificates(listener: &Listener) -> u64 {
    listener.tls.iter().flat_map(ListenerTls::files).fold(0, |all, path| {
        let content = std::fs::read(path).unwrap_or_default();
        xxh3_64(format!("{all} {}", xxh3_64(&content)).as_bytes())
    })
}

/// Keys show nothing of themselves in a shape.
fn ticket_keys(listener: &Listener) -> u64 {
    let keys = listener.tls.iter().flat_map(|tls| &tls.ticket_keys);
    shape(&keys.map(|key| xxh3_64(&key.0)).collect::<Vec<_>>())
}

/// Error pages as they are on disk.
fn pages(pages: &[ErrorPage]) -> u64 {
    let content = |page: &ErrorPage| xxh3_64(&std::fs::read(&page.path.value).unwrap_or_default());
    if pages.is_empty() { 0 } else { shape(&pages.iter().map(content).collect::<Vec<_>>()) }
}

impl Change {
    /// `models`: the one that the process has started with, and the new one.
    pub(super) fn between(old: &Shapes, new: &Shapes, models: (&Model, &Model)) -> Self {
        Self {
            listeners: difference(&old.listeners, &new.listeners),
            routes: difference(&old.routes, &new.routes),
            pools: difference(&old.pools, &new.pools),
            backends: difference(&old.backends, &new.backends),
            sections: difference(&old.sections, &new.sections).changed,
            at_next_start: at_next_start(models.0, models.1),
        }
    }

    /// For people: one line an object.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let kinds = [
            ("listener", &self.listeners),
            ("route", &self.routes),
            ("pool", &self.pools),
            ("backend", &self.backends),
        ];
        for (kind, difference) in kinds {
            for (sign, names) in
                [('+', &difference.added), ('-', &difference.removed), ('~', &difference.changed)]
            {
                lines.extend(names.iter().map(|name| format!("{sign} {kind} {name}")));
            }
        }
        lines.extend(self.sections.iter().map(|name| format!("~ [{name}]")));
        let later = |key: &String| format!("! {key} takes effect at the next start");
        lines.extend(self.at_next_start.iter().map(later));
        lines
    }

    /// Counts, for one line of the log.
    pub(super) fn summary(&self) -> String {
        let mut text = String::new();
        for (kind, d) in [
            ("listeners", &self.listeners),
            ("routes", &self.routes),
            ("pools", &self.pools),
            ("backends", &self.backends),
        ] {
            let (added, removed, changed) = (d.added.len(), d.removed.len(), d.changed.len());
            if added + removed + changed > 0 {
                let gap = if text.is_empty() { "" } else { ", " };
                // Writing into a text cannot fail.
                let _ = write!(text, "{gap}{kind} +{added} -{removed} ~{changed}");
            }
        }
        text
    }
}

fn difference(old: &Named, new: &Named) -> Difference {
    let mut difference = Difference::default();
    for (name, hash) in new {
        match old.get(name) {
            None => difference.added.push(name.clone()),
            Some(other) if other != hash => difference.changed.push(name.clone()),
            Some(_) => {}
        }
    }
    difference.removed = old.keys().filter(|name| !new.contains_key(*name)).cloned().collect();
    difference
}

fn route_shape(route: &Route, model: &Model) -> u64 {
    let listener = |index: &usize| model.listeners.get(*index).map(|l| &l.name.value);
    let named: Vec<_> = route.listeners.iter().map(listener).collect();
    let listeners = (!route.on_all).then_some(named);
    let action = match &route.action {
        Action::Pool(index) => format!("{:?}", pool_name(model, *index)),
        Action::Split(shares) => {
            let name = |share: &Share| (pool_name(model, share.pool), share.weight);
            format!("{:?}", shares.iter().map(name).collect::<Vec<_>>())
        }
        Action::Redirect(redirect) => format!("{redirect:?}"),
        Action::Respond(respond) => format!("{respond:?}"),
    };
    let rule = (listeners, &route.hosts, &route.path, action);
    let scope = route.sticky.as_ref().map(|sticky| &sticky.scope);
    let pages = (&route.error_pages, pages(&route.error_pages));
    let auth = match &route.auth {
        Some(Auth::Forward(asked)) => {
            let name = pool_name(model, asked.pool);
            format!("{:?}", (name, ForwardAuth { pool: 0, ..asked.clone() }))
        }
        other => format!("{other:?}"),
    };
    let let_in = (&route.conditions, &route.access, &route.rate_limit, auth);
    shape(&(rule, let_in, scope, pages, (route.body_size, route.timeouts, route.retry)))
}

/// A pool without its backends, which are told of one by one.
fn pool_shape(pool: &Pool, model: &Model) -> u64 {
    let Pool { policy, tls, connections, health, sticky, queue, drain_deadline, .. } = pool;
    let Pool { hash_on, slow_start, ejection, concurrency, when_all_down, .. } = pool;
    let Pool { failback, quorum, http2, .. } = pool;
    let all_down = match when_all_down {
        WhenAllDown::Pool(index) => format!("{:?}", pool_name(model, *index)),
        other => format!("{other:?}"),
    };
    let quorum = quorum.map(|it| (it.min, it.again, pool_name(model, it.pool)));
    let outage = (slow_start, ejection, concurrency, all_down, failback, quorum);
    let keys = sticky.iter().flat_map(|sticky| sticky.keys.iter().flatten());
    let keys: Vec<u64> = keys.map(|key| xxh3_64(&key.0)).collect();
    let placed = (policy, hash_on, queue, drain_deadline);
    shape(&(placed, (tls, http2), connections, health, sticky, keys, outage))
}

/// Hashes of tokens, so that another token in the same file is a change.
fn secrets(admin: &Admin) -> Vec<u64> {
    let tokens = admin.tokens.iter().map(|token| &token.secret);
    let all = tokens.chain(admin.peers.iter().map(|peer| &peer.token));
    all.map(|secret| xxh3_64(secret.reveal().as_bytes())).collect()
}

fn pool_name(model: &Model, index: usize) -> Option<&str> {
    model.pools.get(index).map(|pool| &*pool.name.value)
}

/// Hash of what something says, without where it stands in the file.
fn shape(value: &dyn Debug) -> u64 {
    let text = format!("{value:?}");
    let mut pieces = text.split("Place { span: ");
    let mut said = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        said.push_str(piece.split_once('}').map_or(piece, |(_, rest)| rest));
    }
    xxh3_64(said.as_bytes())
}

/// What cannot be changed in a running process: `old` is what it has started with.
fn at_next_start(old: &Model, new: &Model) -> Vec<String> {
    let (runtime, admin, log) = (&old.runtime, &old.admin, &old.log);
    let path = |path: &Option<crate::config::Located<std::path::PathBuf>>| {
        path.as_ref().map(|path| path.value.clone())
    };
    let address = |bind: &Option<crate::config::Located<std::net::SocketAddr>>| {
        bind.as_ref().map(|bind| bind.value)
    };
    [
        ("runtime.workers", runtime.workers != new.runtime.workers),
        ("runtime.state_dir", path(&runtime.state_dir) != path(&new.runtime.state_dir)),
        ("runtime.max_connections", runtime.max_connections != new.runtime.max_connections),
        ("admin.socket", path(&admin.socket) != path(&new.admin.socket)),
        ("admin.socket_mode", admin.socket_mode != new.admin.socket_mode),
        ("admin.socket_group", admin.socket_group != new.admin.socket_group),
        ("admin.bind", address(&old.admin.bind) != address(&new.admin.bind)),
        ("metrics.bind", address(&old.metrics.bind) != address(&new.metrics.bind)),
        ("log.level", log.level != new.log.level),
        ("log.access", log.access != new.log.access),
        ("log.to", log.to != new.log.to),
        ("log.query", log.query != new.log.query),
    ]
    .into_iter()
    .filter(|(_, differs)| *differs)
    .map(|(key, _)| key.to_owned())
    .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{FileContent, FixedEnvironment, parse};
    use crate::control::tests::loaded;

    const OLD: &str = r#"
        [pools.shop]
        backends = [{ id = "a", address = "10.0.0.1:80" }, { id = "b", address = "10.0.0.2:80" }]
        [pools.api]
        backends = [{ address = "10.0.0.3:80" }]
    "#;

    fn between(old: &str, new: &str) -> Change {
        let (old, new) = (loaded(old).model, loaded(new).model);
        Change::between(&Shapes::of(&old), &Shapes::of(&new), (&old, &new))
    }

    #[test]
    fn another_order_and_a_comment_change_nothing() {
        let moved = r#"
            # The same.
            [pools.api]
            backends = [{ address = "10.0.0.3:80" }]
            [pools.shop]
            backends = [
                { address = "10.0.0.1:80", id = "a" },
                { id = "b", address = "10.0.0.2:80" },
            ]
        "#;
        assert!(between(OLD, moved).lines().is_empty(), "{:?}", between(OLD, moved));
    }

    #[test]
    fn each_object_that_differs_has_a_line() {
        let new = r#"
            [runtime]
            workers = 7
            [pools.shop]
            policy = "random"
            backends = [{ id = "a", address = "10.0.0.1:80", weight = 3 },
                { address = "10.0.0.9:80" }]
        "#;
        let change = between(OLD, new);
        assert_eq!(
            change.lines(),
            [
                "- pool api",
                "~ pool shop",
                "+ backend shop/10.0.0.9-80",
                "- backend api/10.0.0.3-80",
                "- backend shop/b",
                "~ backend shop/a",
                "~ [runtime]",
                "! runtime.workers takes effect at the next start",
            ]
        );
        assert_eq!(change.summary(), "pools +0 -1 ~1, backends +1 -2 ~1");
    }

    #[test]
    fn a_new_listener_changes_no_route_that_names_none() {
        let more = format!("{OLD}[listeners.more]\nbind = [\"127.0.0.1:81\"]\n");
        assert_eq!(between(OLD, &more).lines(), ["+ listener more"]);
    }

    #[test]
    fn a_pool_that_stands_in_another_place_is_no_other_fallback() {
        let pools = |before: &str, spare: &str| {
            format!(
                "{before}[pools.shop]\nwhen_all_down = {{ pool = \"{spare}\" }}\n\
                 [pools.one]\n[pools.two]\n"
            )
        };
        let old = pools("", "one");
        assert_eq!(between(&old, &pools("[pools.new]\n", "one")).lines(), ["+ pool new"]);
        assert_eq!(between(&old, &pools("", "two")).lines(), ["~ pool shop"]);
    }

    #[test]
    fn another_token_in_the_same_file_is_a_change_of_admin() {
        let with = |token: &str| {
            let mut environment = FixedEnvironment::default();
            let content = FileContent { text: token.to_owned(), mode: 0o600 };
            environment.files.insert("/x/a.token".into(), content);
            let text = "[admin]\nbind = \"127.0.0.1:9901\"\n\
                        tokens = [{ name = \"a\", file = \"a.token\", role = \"read\" }]\n\
                        [listeners.web]\nbind = [\"127.0.0.1:80\"]\nredirect_https = 443\n";
            parse(text, Path::new("/x/ostler.toml"), &environment).unwrap().model
        };
        let (old, new) = (with("the-first-of-two"), with("the-other-of-two"));
        let change = Change::between(&Shapes::of(&old), &Shapes::of(&new), (&old, &new));
        assert_eq!(change.lines(), ["~ [admin]"]);
    }
}
