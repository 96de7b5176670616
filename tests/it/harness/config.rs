//! The file a story is told with: its own tables below a preamble that keeps it in its folder.

use std::path::Path;

use super::Origin;

/// A listener without TLS.
pub(crate) const PLAIN: &str = "[listeners.http]\nbind = [\"127.0.0.1:0\"]\n";

/// A listener with TLS for `localhost`.
pub(crate) const SECURE: &str = "[listeners.web]\nbind = [\"127.0.0.1:0\"]\n\
     tls.certificates = [{ cert = \"site.crt\", key = \"site.key\" }]\n";

/// What a story may set besides its own tables.
#[derive(Debug, Clone, Default)]
pub(crate) struct Config {
    body: String,
    runtime: String,
    admin: String,
    preamble: String,
}

impl Config {
    /// Listeners, routes and pools.
    pub(crate) fn new(body: impl Into<String>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// Further lines of `[runtime]`.
    pub(crate) fn runtime(mut self, lines: &str) -> Self {
        self.runtime = format!("{}{lines}\n", self.runtime);
        self
    }

    /// Further lines of `[admin]`.
    pub(crate) fn admin(mut self, lines: &str) -> Self {
        self.admin = format!("{}{lines}\n", self.admin);
        self
    }

    /// Further tables ahead of the body, such as `[sessions]` or `[log]`.
    pub(crate) fn table(mut self, lines: &str) -> Self {
        self.preamble = format!("{}{lines}\n", self.preamble);
        self
    }

    /// Other listeners, routes and pools under the same preamble.
    pub(crate) fn body(&self, body: impl Into<String>) -> Self {
        Self { body: body.into(), ..self.clone() }
    }

    /// The text of the file for a folder.
    pub(crate) fn render(&self, directory: &Path) -> String {
        let directory = directory.display();
        format!(
            "[admin]\nsocket = \"{directory}/admin.sock\"\n{}\n[metrics]\n\
             bind = \"127.0.0.1:0\"\n\n[runtime]\nstate_dir = \"{directory}/state\"\n{}\n{}\n{}",
            self.admin, self.runtime, self.preamble, self.body
        )
    }
}

/// A pool of these origins under their names, checked quickly.
pub(crate) fn pool(name: &str, origins: &[&Origin], more: &str) -> String {
    let backends: Vec<String> = origins.iter().map(|origin| backend(origin, "")).collect();
    pool_of(name, &backends, more)
}

/// The same of backends as they are written.
pub(crate) fn pool_of(name: &str, backends: &[String], more: &str) -> String {
    let backends = backends.join(", ");
    format!(
        "[pools.{name}]\npolicy = \"round-robin\"\nbackends = [{backends}]\n\
         health = {{ http = \"/healthz\", interval = \"200ms\", rise = 1, fall = 2 }}\n{more}\n"
    )
}

/// A pool of these origins without checks.
pub(crate) fn unchecked(name: &str, origins: &[Origin], lines: &str) -> String {
    let backends: Vec<String> = origins.iter().map(|origin| backend(origin, "")).collect();
    let backends = backends.join(", ");
    format!("[pools.{name}]\npolicy = \"round-robin\"\nbackends = [{backends}]\n{lines}\n")
}

/// A backend under the origin's name, with further keys.
pub(crate) fn backend(origin: &Origin, more: &str) -> String {
    let (id, address) = (origin.name(), origin.address());
    let comma = if more.is_empty() { "" } else { ", " };
    format!("{{ id = \"{id}\", address = \"{address}\"{comma}{more} }}")
}

/// The same with sessions.
pub(crate) fn sticky_pool(name: &str, origins: &[&Origin]) -> String {
    pool(name, origins, "sticky.by = \"cookie\"")
}

/// Everything goes to one pool.
pub(crate) fn default_route(pool: &str) -> String {
    format!("[[routes]]\npool = \"{pool}\"\n")
}

/// One door to one pool of these, whose sessions are kept by our cookie and further keys.
pub(crate) fn sticky_farm<'a>(
    origins: impl IntoIterator<Item = &'a Origin>,
    sticky: &str,
) -> Config {
    let origins: Vec<&Origin> = origins.into_iter().collect();
    let sticky = format!("sticky = {{ by = \"cookie\", {sticky} }}");
    Config::new(format!("{PLAIN}{}{}", default_route("web"), pool("web", &origins, &sticky)))
}
