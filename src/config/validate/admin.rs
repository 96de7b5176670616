//! `[admin]`: the socket, the API over TCP and the other nodes.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::Pieces;
use super::check::Check;
use super::section::socket;
use crate::config::defaults as d;
use crate::config::model::{
    Admin, AdminSecret, AdminTls, AdminToken, By, Listener, Located, Metrics, Peer, Place, Pool,
    Role, Sessions,
};
use crate::config::text::{
    AdminText, AdminTlsText, AdminTokenText, At, PeerText, RoleWord, SessionsText,
};

pub(super) fn admin(
    text: &AdminText,
    listeners: &[Listener],
    metrics: &Metrics,
    check: &mut Check<'_>,
) -> Admin {
    let socket_mode = match &text.socket_mode {
        None => d::SOCKET_MODE,
        Some(at) => octal(&at.value).unwrap_or_else(|| {
            check
                .error(
                    format!("socket_mode = \"{}\" are no permission bits", at.value),
                    &at.place(),
                )
                .hint("three octal digits, with or without a 0 before them: \"0600\", \"0660\"");
            d::SOCKET_MODE
        }),
    };
    let group = text.socket_group.as_ref();
    if let Some(at) = group.filter(|at| at.value.is_empty()) {
        check.error("socket_group is empty", &at.place()).hint("name a group, or leave it out");
    }
    let bind = bind(text, listeners, metrics, check);
    Admin {
        socket: text.socket.as_ref().map(|at| check.path("socket", at)),
        socket_mode,
        socket_group: group.map(|at| at.value.clone()),
        bind,
        tls: text.tls.as_ref().and_then(|at| tls(at, check)),
        tokens: tokens(text, check),
        peers: peers(text, check),
        maintenance_dir: set(text.maintenance_dir.as_ref())
            .map(|at| check.path("maintenance_dir", at)),
    }
}

fn octal(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let right = matches!(digits.len(), 3 | 4) && digits.bytes().all(|byte| byte.is_ascii_digit());
    right.then(|| u32::from_str_radix(digits, 8).ok()).flatten().filter(|mode| *mode <= 0o777)
}

/// What says something but "none".
fn set(at: Option<&At<String>>) -> Option<&At<String>> {
    at.filter(|at| at.value != "none")
}

/// The address of the API over TCP, which needs tokens, and TLS where others can reach it.
fn bind(
    text: &AdminText,
    listeners: &[Listener],
    metrics: &Metrics,
    check: &mut Check<'_>,
) -> Option<Located<SocketAddr>> {
    let tokens = text.tokens.as_ref().filter(|list| !list.value.is_empty());
    let Some(at) = set(text.bind.as_ref()) else {
        let useless =
            [("tokens", tokens.map(At::place)), ("tls", text.tls.as_ref().map(At::place))];
        for (key, place) in useless {
            if let Some(place) = place {
                check.warning(format!("admin.{key} without admin.bind has no use"), &place).hint(
                    "add bind = \"127.0.0.1:9901\", or leave it out: the socket needs neither",
                );
            }
        }
        return None;
    };
    let place = at.place();
    let value = socket(&at.value, &place, check)?;
    let listed = text.tokens.as_ref().is_some_and(|list| check.is_broken(&list.span));
    if tokens.is_none() && !listed {
        check.error("control over TCP always needs a token", &place).hint(
            "add tokens = [{ name = \"oncall\", file = \"oncall.token\", role = \"operate\" }]",
        );
    }
    if !value.ip().to_canonical().is_loopback() && text.tls.is_none() {
        check
            .error(format!("control over TCP at {value}, beyond loopback, needs TLS"), &place)
            .hint("add tls = { cert = \"…\", key = \"…\" }, or bind to 127.0.0.1");
    }
    let mut taken = listeners.iter().flat_map(|listener| &listener.bind).chain(&metrics.bind);
    if let Some(first) = taken.find(|bind| bind.value == value && value.port() != 0) {
        let of = if first.place.span.is_empty() { " ([metrics] bind)" } else { "" };
        check
            .error(format!("{value} is bound already{of}"), &place)
            .also(&first.place, "here")
            .hint("each address can be bound once");
    }
    Some(Located { value, place })
}

fn tls(at: &At<AdminTlsText>, check: &mut Check<'_>) -> Option<AdminTls> {
    let text = &at.value;
    let cert = required("admin.tls", "cert", text.cert.as_ref(), &at.span, check);
    let key = required("admin.tls", "key", text.key.as_ref(), &at.span, check);
    Some(AdminTls { cert: check.path("cert", cert?), key: check.path("key", key?) })
}

/// A key that must be there; whether it is missing is not known where something was taken out.
fn required<'a, T>(
    what: &str,
    key: &str,
    value: Option<&'a At<T>>,
    whole: &Range<usize>,
    check: &mut Check<'_>,
) -> Option<&'a At<T>> {
    if value.is_none() && !check.is_broken(whole) {
        let place = Place { span: whole.clone() };
        check.error(format!("{what} without `{key}`"), &place).hint(format!("add {key} = \"…\""));
    }
    value
}

fn tokens(text: &AdminText, check: &mut Check<'_>) -> Vec<AdminToken> {
    let mut tokens: Vec<AdminToken> = Vec::new();
    for entry in text.tokens.iter().flat_map(|list| &list.value) {
        let Some(token) = token(entry, check) else { continue };
        if let Some(first) = tokens.iter().find(|other| other.name == token.name) {
            check
                .error(format!("two tokens have the name \"{}\"", token.name), &token.place)
                .also(&first.place, "the first")
                .hint("the audit log tells by it who did what");
        } else if let Some(first) = tokens.iter().find(|other| other.secret == token.secret) {
            check
                .error(
                    format!("tokens \"{}\" and \"{}\" are the same", first.name, token.name),
                    &token.place,
                )
                .also(&first.place, "the other")
                .hint("nobody could tell who it was: make another with `ostler keygen`");
        }
        tokens.push(token);
    }
    tokens
}

fn token(entry: &At<AdminTokenText>, check: &mut Check<'_>) -> Option<AdminToken> {
    let text = &entry.value;
    let name = required("a token", "name", text.name.as_ref(), &entry.span, check);
    let file = required("a token", "file", text.file.as_ref(), &entry.span, check);
    let role = required("a token", "role", text.role.as_ref(), &entry.span, check);
    let secret = secret("file", file?, check);
    let name = name?;
    check.name("token", &name.value, &name.place());
    Some(AdminToken {
        name: Arc::from(name.value.as_str()),
        secret: secret?,
        role: match role?.value {
            RoleWord::Read => Role::Read,
            RoleWord::Operate => Role::Operate,
            RoleWord::Admin => Role::Admin,
        },
        place: name.place(),
    })
}

/// The token in a file that nobody else may read.
fn secret(key: &str, at: &At<String>, check: &mut Check<'_>) -> Option<AdminSecret> {
    let path = PathBuf::clone(&check.path(key, at));
    let shown = path.display();
    let text = match check.expander.file(&path, true) {
        Ok(text) => text,
        Err(error) => {
            check.error(error.message, &at.place()).hint(error.hint);
            return None;
        }
    };
    let wrong = if text.is_empty() {
        format!("{shown} is empty")
    } else if text.chars().count() < d::MIN_TOKEN {
        format!("the token in {shown} has fewer than {} characters", d::MIN_TOKEN)
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        format!("the token in {shown} is not of visible ASCII characters alone")
    } else {
        return Some(AdminSecret::new(text));
    };
    check.error(wrong, &at.place()).hint(format!("make one: ostler keygen > {shown}"));
    None
}

fn peers(text: &AdminText, check: &mut Check<'_>) -> Vec<Peer> {
    let mut peers: Vec<(Peer, Place)> = Vec::new();
    for entry in text.peers.iter().flat_map(|list| &list.value) {
        let Some((peer, place)) = peer(entry, check) else { continue };
        if let Some((_, first)) = peers.iter().find(|(other, _)| other.name == peer.name) {
            check
                .error(format!("two peers have the name \"{}\"", peer.name), &place)
                .also(first, "the first")
                .hint("answers tell by it which node said what");
        }
        peers.push((peer, place));
    }
    peers.into_iter().map(|(peer, _)| peer).collect()
}

fn peer(entry: &At<PeerText>, check: &mut Check<'_>) -> Option<(Peer, Place)> {
    let text = &entry.value;
    let name = required("a peer", "name", text.name.as_ref(), &entry.span, check);
    let url = required("a peer", "url", text.url.as_ref(), &entry.span, check);
    let file = required("a peer", "token_file", text.token_file.as_ref(), &entry.span, check);
    let token = file.and_then(|at| secret("token_file", at, check));
    let ca = text.ca.as_ref().map(|at| check.path("ca", at));
    let url = url.and_then(|at| peer_url(at, check));
    let name = name?;
    check.name("peer", &name.value, &name.place());
    let peer = Peer { name: Arc::from(name.value.as_str()), url: url?, token: token?, ca };
    Some((peer, name.place()))
}

/// Scheme, host and port, without a final `/`.
fn peer_url(at: &At<String>, check: &mut Check<'_>) -> Option<Located<String>> {
    let hint = "scheme, host and port of its admin.bind, as in \"https://lb2:9901\"";
    let mut wrong = |message: String, hint: &str| {
        check.error(message, &at.place()).hint(hint);
        None
    };
    let text = at.value.as_str();
    let Ok(uri) = text.parse::<http::Uri>() else {
        return wrong(format!("`{text}` is no URL"), hint);
    };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return wrong(format!("`{text}` is no whole URL"), hint);
    };
    if !matches!(scheme, "http" | "https") {
        return wrong(format!("`{text}` is neither http nor https"), hint);
    }
    if authority.as_str().contains('@') || authority.host().is_empty() {
        return wrong(format!("`{text}`: host and port alone"), hint);
    }
    if uri.path() != "/" || uri.query().is_some() || text.contains('#') {
        return wrong(format!("`{text}` has a path or query"), hint);
    }
    if scheme == "http" && !is_local(authority.host()) {
        let hint = "write https: over http the token could be read on the way";
        return wrong(format!("`{text}`: http to another machine"), hint);
    }
    let value = format!("{scheme}://{authority}");
    Some(Located { value, place: at.place() })
}

fn is_local(host: &str) -> bool {
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let loopback = |ip: IpAddr| ip.to_canonical().is_loopback();
    host.eq_ignore_ascii_case("localhost") || literal.parse().is_ok_and(loopback)
}

/// What nodes must share so that a visitor may come to any of them, and what they cannot share.
pub(super) fn peers_share(
    pieces: &Pieces,
    sessions: &Sessions,
    pools: &[Pool],
    check: &mut Check<'_>,
) {
    let Some(peer) = pieces.admin.peers.as_ref().and_then(|list| list.value.first()) else {
        return;
    };
    let mut keyless = pools.iter().filter(|pool| {
        let sticky = pool.sticky.as_ref().filter(|sticky| sticky.by == By::Cookie);
        sticky.is_some_and(|sticky| sticky.keys.is_none())
    });
    let SessionsText { keys } = &pieces.sessions;
    let misread = keys.as_ref().is_some_and(|list| check.is_broken(&list.span));
    if let Some(pool) = keyless.next().filter(|_| sessions.keys.is_empty() && !misread) {
        check
            .error("nodes without common keys cannot read each other's tokens", &peer.place())
            .also(&pool.name.place, "of the sessions of this pool")
            .hint(
                "ostler keygen > session.key, copy it to every node, and write keys = \
                 [\"${file:session.key}\"] in [sessions]",
            );
    }
    for (pool, object) in pools.iter().zip(&pieces.pools) {
        let by = pool.sticky.as_ref().map(|sticky| &sticky.by);
        if matches!(by, Some(By::LearnHeader(_) | By::LearnCookie(_))) {
            let sticky = object.text.sticky.as_ref();
            let at = sticky.and_then(|sticky| sticky.value.by.as_ref());
            let place = at.map_or_else(|| object.place.clone(), At::place);
            check
                .warning(
                    "what this node has learned is its own: the other nodes do not know it",
                    &place,
                )
                .also(&peer.place(), "another node")
                .hint("bind by \"cookie\", or let one visitor always come to one node");
        }
    }
}
