//! Who a route asks to say who they are: users, their hashes, and what the backend is told.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use super::Object;
use super::by;
use super::check::{Check, Names};
use crate::config::defaults as d;
use crate::config::model::{Auth, BasicAuth, ForwardAuth, PasswordHash, Place, Users, WrongHash};
use crate::config::text::{At, BasicAuthText, ForwardAuthText, PoolText, RouteText, UsersText};

const MAKE: &str = "make one by `htpasswd -B`: bcrypt and argon2id are taken, for they are slow \
                    to guess";

/// Files of users that were read, each once, however many routes name it; none: it is of no use.
#[derive(Debug, Default)]
pub(super) struct Files(HashMap<PathBuf, Option<Arc<Users>>>);

/// None where nobody is asked, or where it cannot be read.
pub(super) fn auth(
    object: &Object<RouteText>,
    pools: &Names<'_, PoolText>,
    files: &mut Files,
    check: &mut Check<'_>,
) -> Option<Auth> {
    let (basic, forward) = (object.text.basic_auth.as_ref(), object.text.forward_auth.as_ref());
    if let (Some(basic), Some(forward)) = (basic, forward) {
        check
            .error("one of basic_auth and forward_auth is enough", &forward.place())
            .also(&basic.place(), "the other")
            .hint("leave one of them out: both would read the same Authorization");
    }
    let basic = basic.and_then(|at| basic_auth(object, at, files, check)).map(Auth::Basic);
    let forward = forward.and_then(|at| forward_auth(at, pools, check)).map(Auth::Forward);
    basic.or(forward)
}

fn forward_auth(
    at: &At<ForwardAuthText>,
    pools: &Names<'_, PoolText>,
    check: &mut Check<'_>,
) -> Option<ForwardAuth> {
    let (text, broken) = (&at.value, check.is_broken(&at.span));
    for (key, missing, example) in
        [("pool", text.pool.is_none(), "auth"), ("path", text.path.is_none(), "/verify")]
    {
        if missing && !broken {
            check
                .error(format!("a forward_auth without `{key}`"), &at.place())
                .hint(format!("add {key} = \"{example}\""));
        }
    }
    let pool = text.pool.as_ref().and_then(|at| check.reference("pool", at, pools));
    let path = text.path.as_ref().and_then(|at| path(at, check));
    let timeout = text.timeout.as_ref();
    let timeout =
        check.finite("timeout", timeout, Duration::from_millis(1), d::FORWARD_AUTH_TIMEOUT);
    let asked = text.request_headers.as_ref();
    let request_headers =
        asked.map(|list| list.value.iter().filter_map(|at| by::passed_on(at, check)).collect());
    let told = text.response_headers.iter().flat_map(|list| &list.value);
    let response_headers = told.filter_map(|at| by::told(at, check)).collect();
    Some(ForwardAuth { pool: pool?, path: path?, request_headers, response_headers, timeout })
}

fn path(at: &At<String>, check: &mut Check<'_>) -> Option<Uri> {
    let uri = at.value.parse::<Uri>().ok();
    let path = uri.filter(|uri| uri.authority().is_none() && at.value.starts_with('/'));
    if path.is_none() || at.value.contains('#') {
        check
            .error(format!("`{}` is no path to ask for", at.value), &at.place())
            .hint("path and query, as in \"/verify?from=ostler\"");
        return None;
    }
    path
}

fn basic_auth(
    object: &Object<RouteText>,
    at: &At<BasicAuthText>,
    files: &mut Files,
    check: &mut Check<'_>,
) -> Option<BasicAuth> {
    let text = &at.value;
    let realm = text.realm.as_ref().map_or(d::REALM, |at| realm(at, check));
    let header = text.header.as_ref().and_then(|at| by::told(at, check));
    let Some(given) = &text.users else {
        if !check.is_broken(&at.span) {
            check
                .error("a basic_auth without `users`", &at.place())
                .hint("add users = \"htpasswd\", a file as `htpasswd -B` writes it");
        }
        return None;
    };
    let users = match &given.value {
        UsersText::File(path) => files.users(path, given, check),
        UsersText::List(list) => {
            let entries = list.iter().map(|at| at.value.as_str()).enumerate();
            // The line that holds them is not drawn: it may have a password in it.
            users(entries, "entry", "basic_auth.users", &object.place, check)
        }
    };
    let forward = text.forward.as_ref().is_some_and(|at| at.value);
    Some(BasicAuth { users: users?, realm: realm.to_owned(), header, forward })
}

fn realm<'a>(at: &'a At<String>, check: &mut Check<'_>) -> &'a str {
    let legal = |byte: u8| (b' '..=b'~').contains(&byte) && !matches!(byte, b'"' | b'\\');
    if at.value.is_empty() || !at.value.bytes().all(legal) {
        check
            .error(format!("`{}` is no realm", at.value), &at.place())
            .hint("printable ASCII without quotes and backslashes");
    }
    &at.value
}

impl Files {
    fn users(
        &mut self,
        path: &str,
        at: &At<UsersText>,
        check: &mut Check<'_>,
    ) -> Option<Arc<Users>> {
        let place = at.place();
        let named = At { value: path.to_owned(), span: at.span.clone() };
        let path = check.path("users", &named).value;
        if named.value.is_empty() {
            return None;
        }
        match self.0.entry(path) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(new) => {
                let read = file(new.key(), &place, check);
                new.insert(read).clone()
            }
        }
    }
}

fn file(path: &Path, place: &Place, check: &mut Check<'_>) -> Option<Arc<Users>> {
    let shown = path.display().to_string();
    let content = match check.expander.environment.file(path) {
        Ok(content) => content,
        Err(error) => {
            check
                .error(format!("cannot read {shown}: {error}"), place)
                .hint("the path is relative to the configuration file's folder");
            return None;
        }
    };
    if content.mode & 0o007 != 0 {
        check
            .warning(format!("{shown} holds hashes of passwords and can be read by all"), place)
            .hint(format!("chmod o= {shown}"));
    }
    let lines = content.text.lines().enumerate();
    let entries = lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    users(entries, "line", &shown, place, check)
}

/// Reads `name:hash` or `name:hash:comment`. Neither hashes nor what may be a password are told.
fn users<'a>(
    entries: impl Iterator<Item = (usize, &'a str)>,
    unit: &str,
    from: &str,
    place: &Place,
    check: &mut Check<'_>,
) -> Option<Arc<Users>> {
    let mut users: Vec<(Box<str>, PasswordHash)> = Vec::new();
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut wrong = 0;
    for (index, entry) in entries {
        let number = index + 1;
        let problem = match read(entry) {
            Ok((name, hash)) => match seen.insert(name, number) {
                None => {
                    users.push((name.into(), hash));
                    continue;
                }
                Some(first) => {
                    let hint = format!("the first is {unit} {first}");
                    (format!("the user `{name}` is there twice"), hint)
                }
            },
            Err(problem) => problem,
        };
        wrong += 1;
        if wrong <= d::MAX_USER_MISTAKES {
            check.error(format!("{from}, {unit} {number}: {}", problem.0), place).hint(problem.1);
        }
    }
    if wrong > d::MAX_USER_MISTAKES {
        let more = wrong - d::MAX_USER_MISTAKES;
        check.error(format!("{from}: {more} more are wrong"), place).hint(MAKE);
    }
    if users.len() > d::MAX_USERS {
        check
            .error(format!("{from}: more than {} users", d::MAX_USERS), place)
            .hint("let the backends ask for passwords");
    }
    if users.is_empty() && wrong == 0 {
        check
            .error(format!("{from} has no user: nobody could be let in"), place)
            .hint("add one by `htpasswd -B`, or write deny = [\"0.0.0.0/0\", \"::/0\"]");
    }
    Users::new(users).filter(|_| wrong == 0).map(Arc::new)
}

fn read(entry: &str) -> Result<(&str, PasswordHash), (String, String)> {
    let Some((name, rest)) = entry.split_once(':') else {
        return Err(("this is not `name:hash`".to_owned(), MAKE.to_owned()));
    };
    if name.is_empty() || name.chars().any(char::is_control) {
        let hint = "any characters but colons and control characters".to_owned();
        return Err(("a user without a name, or with one that cannot be sent".to_owned(), hint));
    }
    let hash = rest.split(':').next().unwrap_or_default().trim_end();
    PasswordHash::read(hash).map(|hash| (name, hash)).map_err(|wrong| match wrong {
        WrongHash::Kind(kind) => (format!("the password of `{name}` is {kind}"), MAKE.to_owned()),
        WrongHash::Damaged => (format!("the hash of `{name}` is damaged"), MAKE.to_owned()),
        WrongHash::Costly => {
            let memory = d::MAX_ARGON2_MEMORY >> 10;
            let hint = format!(
                "at most: bcrypt with cost {}; argon2id with m = {} ({memory} MiB), and m times t \
                 = {}",
                d::MAX_BCRYPT_COST,
                d::MAX_ARGON2_MEMORY,
                d::MAX_ARGON2_WORK
            );
            (format!("the hash of `{name}` takes too long to try"), hint)
        }
    })
}
