//! Keys and values of later versions, each with what to do until then.

/// A value that is not in this version.
#[derive(Debug)]
pub(crate) struct LaterValue {
    /// Path of the key.
    pub(crate) path: &'static str,
    /// The value, or what it begins with.
    pub(crate) begins: &'static str,
    /// What to do instead.
    pub(crate) hint: &'static str,
}

const fn value(path: &'static str, begins: &'static str, hint: &'static str) -> LaterValue {
    LaterValue { path, begins, hint }
}

const EDIT: &str = "it comes later; let the backends do it";

/// Keys of later versions.
#[rustfmt::skip]
pub(super) const KEYS: &[(&str, &str)] = &[
    ("include", "it comes later; put everything into one file"),
    ("admin.hosts", "it comes later; a token is wanted for every host"),
    ("runtime.user", "it comes later; let the service manager choose the user"),
    ("routes[].path_template", "it comes later; use `path` or `path_regex`"),
    ("routes[].rewrite", EDIT),
    ("routes[].request_headers", EDIT),
    ("routes[].response_headers", EDIT),
];

/// Values of later versions.
#[rustfmt::skip]
pub(super) const VALUES: &[LaterValue] = &[
    value("log.access", "{", "formats come later; use `json` or `off`"),
    value("log.access", "$", "formats come later; use `json` or `off`"),
    value("listeners.*.protocols[]", "h3", "it comes later; use `h2` and `http/1.1`"),
    value("pools.*.backends[].address", "unix:",
        "it comes later; let the backend listen on a TCP port"),
];
