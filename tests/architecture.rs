//! The house rules that no compiler knows: imports point down, files stay small and say what
//! they are.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

const LINES: usize = 400;
const COLUMNS: usize = 100;

/// Rooms that build everything, and may therefore import everything; `lib.rs` lists the rooms.
const ROOTS: [&str; 5] = ["app", "cli", "demo", "main", "lib"];

/// Each room and what it may import (`docs/architecture.md`, "Floors"), in reading order.
const ROOMS: [(&str, &[&str]); 17] = [
    // 0 ground
    ("event", &[]),
    ("task", &[]),
    ("net", &[]),
    // 1 words
    ("config", &["net"]),
    ("telemetry", &["config", "task"]),
    // 2 decisions
    ("backend", &["config"]),
    ("route", &["config", "net"]),
    ("balance", &["backend", "config"]),
    ("sticky", &["backend", "config"]),
    // 3 wires
    ("tls", &["config", "telemetry"]),
    ("upstream", &["backend", "config", "net", "task", "telemetry", "tls"]),
    // 4 plan
    ("snapshot", FLOORS_0_TO_3),
    // 5 exchange: it reads no configuration
    (
        "http",
        &[
            "event",
            "task",
            "net",
            "telemetry",
            "backend",
            "route",
            "balance",
            "sticky",
            "tls",
            "upstream",
            "snapshot",
        ],
    ),
    ("health", &["backend", "event", "snapshot", "task", "telemetry", "upstream"]),
    // 6 server
    ("server", FLOORS_0_TO_5),
    // 7 control
    ("admin", FLOORS_0_TO_6),
    ("control", FLOORS_0_TO_6_AND_ADMIN),
];

const FLOORS_0_TO_3: &[&str] = &[
    "event",
    "task",
    "net",
    "config",
    "telemetry",
    "backend",
    "route",
    "balance",
    "sticky",
    "tls",
    "upstream",
];
const FLOORS_0_TO_5: &[&str] = &[
    "event",
    "task",
    "net",
    "config",
    "telemetry",
    "backend",
    "route",
    "balance",
    "sticky",
    "tls",
    "upstream",
    "snapshot",
    "http",
    "health",
];
const FLOORS_0_TO_6: &[&str] = &[
    "event",
    "task",
    "net",
    "config",
    "telemetry",
    "backend",
    "route",
    "balance",
    "sticky",
    "tls",
    "upstream",
    "snapshot",
    "http",
    "health",
    "server",
];
const FLOORS_0_TO_6_AND_ADMIN: &[&str] = &[
    "event",
    "task",
    "net",
    "config",
    "telemetry",
    "backend",
    "route",
    "balance",
    "sticky",
    "tls",
    "upstream",
    "snapshot",
    "http",
    "health",
    "server",
    "admin",
];

/// Everything a file breaks, one line each; `path` is relative to `src/`.
fn violations(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    opening(path, text, &mut found);
    size(path, text, &mut found);
    imports(path, text, &mut found);
    bans(path, text, &mut found);
    found
}

/// The room of a file: its first folder, or its own name at the top.
fn room(path: &str) -> &str {
    let first = path.split('/').next().unwrap_or(path);
    first.strip_suffix(".rs").unwrap_or(first)
}

fn opening(path: &str, text: &str, found: &mut Vec<String>) {
    if !text.starts_with("//! ") {
        found.push(format!("{path}:1: does not open with `//!`"));
        return;
    }
    let block: Vec<&str> =
        text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim).collect();
    let sentence = block.join(" ");
    let inner = sentence.trim_end_matches('.');
    let ends = [". ", "! ", "? "].iter().any(|end| {
        inner.match_indices(end).any(|(at, _)| {
            // "e.g. this" goes on; a new sentence begins with a capital.
            inner.get(at + 2..).and_then(|rest| rest.chars().next()).is_some_and(char::is_uppercase)
        })
    });
    if !sentence.ends_with('.') || ends || block.contains(&"") {
        found.push(format!("{path}:1: its `//!` is not exactly one sentence: {sentence}"));
    }
    let body = text.lines().skip(block.len());
    if body.into_iter().any(|line| line.starts_with("//!")) {
        found.push(format!("{path}: a second `//!` further down"));
    }
}

fn size(path: &str, text: &str, found: &mut Vec<String>) {
    let lines = text.lines().count();
    if lines > LINES {
        found.push(format!("{path}: {lines} lines, over {LINES}"));
    }
    for (index, line) in text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > COLUMNS {
            found.push(format!("{path}:{}: {columns} columns, over {COLUMNS}", index + 1));
        }
    }
}

fn imports(path: &str, text: &str, found: &mut Vec<String>) {
    let room = room(path);
    if ROOTS.contains(&room) {
        return;
    }
    let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        found.push(format!("{path}: the table of floors has no room `{room}`"));
        return;
    };
    for target in imported(text) {
        if target != room && !allowed.contains(&target.as_str()) {
            found.push(format!("{path}: `{room}` may not import `{target}`"));
        }
    }
}

/// The rooms named by any path that starts at the crate, in imports and in expressions.
fn imported(text: &str) -> BTreeSet<String> {
    let code = code(text);
    let mut rooms = BTreeSet::new();
    for start in ["crate::", "ostler::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|it| it.is_alphanumeric() || it == '_' || it == '$') {
                continue;
            }
            let rest = code[at + start.len()..].trim_start();
            match rest.strip_prefix('{') {
                Some(group) => rooms.extend(heads(group)),
                None => rooms.extend(word(rest)),
            }
        }
    }
    rooms
}

/// First words of the members of a group: `a::b, c::{d, e}` holds a and c.
fn heads(group: &str) -> Vec<String> {
    let (mut depth, mut start, mut members) = (0, 0, Vec::new());
    for (at, symbol) in group.char_indices() {
        match symbol {
            '{' => depth += 1,
            '}' if depth == 0 => {
                members.extend(word(group[start..at].trim_start()));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                members.extend(word(group[start..at].trim_start()));
                start = at + 1;
            }
            _ => {}
        }
    }
    members
}

fn word(text: &str) -> Option<String> {
    let end = text.find(|it: char| !it.is_alphanumeric() && it != '_').unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

fn bans(path: &str, text: &str, found: &mut Vec<String>) {
    let code = code(text);
    let sys = path.split('/').any(|part| part == "sys" || part == "sys.rs");
    for (index, line) in code.lines().enumerate() {
        let mut ban = |what: &str| found.push(format!("{path}:{}: {what}", index + 1));
        if path != "task.rs"
            && (line.contains("tokio::spawn") || line.contains("task::spawn_local"))
        {
            ban("spawns by itself; `task::spawn` names the task and counts its panics");
        }
        let tokens = line.split(|it: char| !it.is_alphanumeric() && it != '_');
        if !sys && tokens.into_iter().any(|token| token == "unsafe") {
            ban("`unsafe` outside a `sys` corner");
        }
    }
}

/// The text without comments and without what stands between quotes, line for line.
fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(symbol) = rest.chars().next() {
        if rest.starts_with("//") {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
        } else if let Some(end) = literal(rest) {
            code.extend(rest[..end].chars().filter(|it| *it == '\n'));
            rest = &rest[end..];
        } else {
            code.push(symbol);
            rest = &rest[symbol.len_utf8()..];
        }
    }
    code
}

/// Where the string or character literal at the start of a text ends, if one starts there.
fn literal(text: &str) -> Option<usize> {
    if let Some(after) = text.strip_prefix('r') {
        let hashes = after.len() - after.trim_start_matches('#').len();
        if after[hashes..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let start = 1 + hashes + 1;
            return Some(
                text[start..].find(&close).map_or(text.len(), |at| start + at + close.len()),
            );
        }
        return None;
    }
    if text.starts_with('"') {
        let mut escaped = false;
        for (at, symbol) in text.char_indices().skip(1) {
            match symbol {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => return Some(at + 1),
                _ => {}
            }
        }
        return Some(text.len());
    }
    // A character; a lifetime has no closing quote right behind.
    let mut symbols = text.strip_prefix('\'')?.char_indices();
    let (_, first) = symbols.next()?;
    if first == '\\' {
        let (at, _) = symbols.skip(1).find(|(_, it)| *it == '\'')?;
        return Some(at + 2);
    }
    let (at, second) = symbols.next()?;
    (second == '\'').then_some(at + 2)
}

/// Every Rust file below a folder, in order of path.
fn sources(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(sources(&path)?);
        } else if path.extension().is_some_and(|it| it == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[test]
fn every_file_keeps_the_house_rules() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = sources(&source).unwrap();
    assert!(!files.is_empty(), "no source below {}", source.display());
    let mut found = Vec::new();
    for file in &files {
        let path = file.strip_prefix(&source).unwrap().to_string_lossy();
        found.extend(violations(&path, &fs::read_to_string(file).unwrap()));
    }
    let count = files.len();
    assert!(found.is_empty(), "{} faults in {count} files:\n{}", found.len(), found.join("\n"));
}

#[test]
fn every_room_is_below_what_imports_it() {
    for (index, (room, allowed)) in ROOMS.iter().enumerate() {
        for target in *allowed {
            let at = ROOMS.iter().position(|(name, _)| name == target);
            assert!(at.is_some_and(|at| at < index), "{room} imports {target} from above");
        }
    }
}

#[test]
fn an_upward_import_is_caught_in_every_spelling() {
    for import in [
        "use crate::http::Failure;",
        "use crate::{config::Model, http::{Failure, Body}};",
        "use crate::{\n    config::Model,\n    http,\n};",
        "fn f() { crate::http::run(); }",
        "pub(crate) use crate::http;",
        "fn f(it: &'static crate::http::Body) {}",
    ] {
        let text = format!("//! A pool.\n\n{import}\n");
        let found = violations("balance/mod.rs", &text);
        assert_eq!(found, ["balance/mod.rs: `balance` may not import `http`"], "{import}");
    }
    let text = "//! An exchange.\n\nuse crate::config::Model;\n";
    assert_eq!(violations("http/header/via.rs", text).len(), 1, "http reads no configuration");
}

#[test]
fn a_downward_import_is_fine() {
    let text = "//! A pool.\n\nuse crate::backend::State;\nuse crate::balance::Cursor;\n\
                use super::cursor;\n// crate::http is only spoken of\n\
                const A: &str = \"crate::cli\";\n";
    assert_eq!(violations("balance/random.rs", text), Vec::<String>::new());
    let text = "//! The root.\n\nuse crate::{admin, server};\n";
    assert_eq!(violations("app.rs", text), Vec::<String>::new());
}

#[test]
fn an_opening_is_one_sentence() {
    let wrong = |text: &str| !violations("task.rs", text).is_empty();
    assert!(wrong("use std::fmt;\n"));
    assert!(wrong("//! No full stop\n"));
    assert!(wrong("//! Two. Sentences.\n"));
    assert!(wrong("//! One.\n//!\n//! And another.\n"));
    assert!(!wrong("//! One sentence (with 1.5 numbers, e.g. these)\n//! on two lines.\n"));
}

#[test]
fn size_spawns_and_unsafe_are_caught() {
    let long = format!("//! Long.\n{}", "\n".repeat(LINES));
    assert_eq!(violations("task.rs", &long).len(), 1);
    let wide = format!("//! Wide.\n// {}\n", "x".repeat(COLUMNS));
    assert_eq!(violations("task.rs", &wide).len(), 1);
    let spawn = "//! Spawns.\nfn f() { tokio::spawn(async {}); }\n";
    assert_eq!(violations("server/worker.rs", spawn).len(), 1);
    assert_eq!(violations("task.rs", spawn).len(), 0);
    let risky = "//! Risky.\nfn f() { unsafe {} }\n#![deny(unsafe_code)]\n// unsafe\n";
    assert_eq!(violations("net/socket.rs", risky).len(), 1);
    assert_eq!(violations("net/sys.rs", risky).len(), 0);
}
