//! The configuration of a demo as text.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;

use super::{HTTP, HTTPS, backends};
use crate::admin::view::Status;
use crate::config::defaults::METRICS_BIND;

/// Name of the demo's pool, by which a running demo is known.
const POOL: &str = "demo";

/// Where everything is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) https: SocketAddr,
    pub(super) http: SocketAddr,
    pub(super) metrics: SocketAddr,
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
    /// Names and addresses.
    pub(super) backends: Vec<(String, SocketAddr)>,
}

impl Plan {
    /// That of a demo with so many backends, with ports that are usual for development.
    pub(super) fn imagined(count: u16) -> anyhow::Result<Self> {
        let at = |text: &str| text.parse::<SocketAddr>().with_context(|| text.to_owned());
        let address = |number: u16| SocketAddr::from(([127, 0, 0, 1], 3_000 + number));
        Ok(Self {
            https: at(HTTPS)?,
            http: at(HTTP)?,
            metrics: at(METRICS_BIND)?,
            cert: PathBuf::from("certs/dev.crt"),
            key: PathBuf::from("certs/dev.key"),
            backends: (1..=count).map(|n| (backends::name(n), address(n))).collect(),
        })
    }

    /// That of a running demo; `None` where something else runs.
    pub(super) fn of(status: &Status) -> Option<Self> {
        let pool = status.pools.iter().find(|pool| pool.name == POOL)?;
        let bound = |name: &str| {
            let listener = status.listeners.iter().find(|listener| listener.name == name)?;
            listener.bound.first().copied()
        };
        let backends = pool
            .backends
            .iter()
            .map(|backend| Some((backend.id.clone(), backend.address.parse().ok()?)));
        let count = u16::try_from(pool.backends.len()).ok()?;
        let plan = Self {
            https: bound("https")?,
            http: bound("http")?,
            metrics: status.metrics.bound?,
            backends: backends.collect::<Option<_>>()?,
            ..Self::imagined(count).ok()?
        };
        status.file.is_none().then_some(plan)
    }

    /// As a file would have it.
    pub(super) fn text(&self) -> String {
        let Self { https, http, metrics, cert, key, backends } = self;
        let path = |path: &PathBuf| toml::Value::from(path.display().to_string()).to_string();
        let (cert, key) = (path(cert), path(key));
        let backends: Vec<String> = backends
            .iter()
            .map(|(id, address)| format!("  {{ id = \"{id}\", address = \"{address}\" }},\n"))
            .collect();
        let backends = backends.concat();
        format!(
            "[metrics]\nbind = \"{metrics}\"\n\n\
             [log]\nlevel = \"warn\"\naccess = \"off\"\n\n\
             [listeners.https]\nbind = [\"{https}\"]\n\
             tls.certificates = [{{ cert = {cert}, key = {key} }}]\n\n\
             [listeners.http]\nbind = [\"{http}\"]\n\n\
             [[routes]]\npool = \"{POOL}\"\n\n\
             [pools.{POOL}]\nbackends = [\n{backends}]\n\
             policy = \"round-robin\"\n\
             health.http = \"/healthz\"\n\
             sticky.by = \"cookie\"\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::config::{self, FixedEnvironment};

    #[test]
    fn the_text_is_a_file_without_mistakes_or_warnings() {
        let mut plan = Plan::imagined(3).unwrap();
        plan.cert = PathBuf::from("/tmp/a \"quoted\" folder/dev.crt");
        let environment = FixedEnvironment::default();
        let loaded = config::parse(&plan.text(), Path::new("/x/demo.toml"), &environment);
        let loaded = loaded.unwrap_or_else(|report| panic!("{report}"));
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        let tls = loaded.model.listeners.iter().find_map(|listener| listener.tls.as_ref());
        assert_eq!(tls.unwrap().certificates[0].cert.value, plan.cert);
        assert_eq!(loaded.model.pools[0].backends.len(), 3);
    }

    #[test]
    fn a_running_demo_is_known_by_what_it_has() {
        let backend = json!({"id": "one", "address": "127.0.0.1:41001", "state": "up",
            "state_in_file": "up", "weight": 1, "weight_in_file": 1, "mark": null,
            "verdict": "up", "last_check": null, "in_flight": 0, "requests": 0});
        let listener = |name: &str, port: u16| {
            json!({"name": name, "bound": [format!("127.0.0.1:{port}")], "tls": false,
                "protocols": []})
        };
        let mut status: Status = serde_json::from_value(json!({
            "version": "0", "node": "n", "pid": 1, "uptime_seconds": 1, "phase": "serving",
            "generation": 1, "loaded_at": "2026-11-24T10:00:00Z", "loaded_by": "start",
            "file": null, "file_differs": false, "last_reload_ok": true, "problems": [],
            "marks": [], "listeners": [listener("https", 8444), listener("http", 8080)],
            "metrics": {"bound": "127.0.0.1:9901"}, "routes": [], "certificates": [],
            "pools": [{"name": "demo", "policy": "round-robin", "usable": 1,
                "backends": [backend]}]}))
        .unwrap();
        let plan = Plan::of(&status).unwrap();
        assert_eq!((plan.https.port(), plan.metrics.port()), (8444, 9901));
        assert!(plan.text().contains("127.0.0.1:41001"));
        status.file = Some("ostler.toml".to_owned());
        assert_eq!(Plan::of(&status), None, "a file with a pool of that name is no demo");
    }
}
