//! Who a route asks to say who they are.

use super::super::model::{Auth, BasicAuth, ForwardAuth};
use super::*;

/// A route that asks so, and the model of it.
fn basic(keys: &str) -> BasicAuth {
    let loaded = good(&route(&format!("basic_auth = {{ {keys} }}")));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    match loaded.model.routes[0].auth.clone() {
        Some(Auth::Basic(basic)) => basic,
        other => panic!("{other:?}"),
    }
}

/// The same of a route that is asked about at the pool of `START`.
fn forward(keys: &str) -> ForwardAuth {
    let text = format!("{START}forward_auth = {{ {keys} }}\n[pools.p]\n[pools.q]\n");
    match good(&text).model.routes[0].auth.clone() {
        Some(Auth::Forward(forward)) => forward,
        other => panic!("{other:?}"),
    }
}

fn route(lines: &str) -> String {
    format!("[listeners.a]\nbind = [\"127.0.0.1:80\"]\n[[routes]]\nrespond.status = 200\n{lines}\n")
}

#[test]
fn users_come_from_a_file_or_stand_in_the_list() {
    let silent = basic("users = \"htpasswd\"");
    assert_eq!((silent.users.count(), silent.realm.as_str()), (1, "restricted"));
    assert!(silent.header.is_none() && !silent.forward);
    assert!(silent.users.find("anna").unwrap().matches(b"secret"));
    assert!(silent.users.find("Anna").is_none());
    let listed = basic(&format!(
        "users = [\"anna:{HASH}\", \"b c:{HASH}:a comment\"], header = \"Remote-User\", \
         realm = \"The shop's own\", forward = true"
    ));
    assert_eq!(listed.users.count(), 2);
    assert!(listed.users.find("b c").unwrap().matches(b"secret"));
    assert_eq!(listed.header.unwrap(), "remote-user");
    assert!(listed.forward);
    let empty = good(&route("")).model.routes[0].auth.is_none();
    assert!(empty);
}

#[test]
fn defaults_hold_for_all_routes_and_read_a_file_once() {
    let text = format!(
        "[defaults.routes]\nbasic_auth = {{ users = \"htpasswd\" }}\n{}[[routes]]\n\
         path = \"/b\"\nrespond.status = 200\n",
        route("path = \"/a\"")
    );
    let loaded = good(&text);
    let users = |index: usize| match &loaded.model.routes[index].auth {
        Some(Auth::Basic(basic)) => std::sync::Arc::clone(&basic.users),
        other => panic!("{other:?}"),
    };
    assert!(std::sync::Arc::ptr_eq(&users(0), &users(1)));
}

#[test]
fn neither_the_model_nor_the_effective_file_shows_a_hash() {
    let text = route(&format!("basic_auth.users = [\"anna:{HASH}\"]"));
    let loaded = good(&text);
    let page = effective(&loaded);
    assert!(page.contains("basic_auth.users = [\"redacted\"]  # line 5"), "{page}");
    assert!(page.contains("basic_auth.realm = \"restricted\"  # default"), "{page}");
    for shown in [page, format!("{:?}", loaded.model)] {
        assert!(!shown.contains("$2y$"), "{shown}");
    }
    assert!(!effective(&good(&route(""))).contains("basic_auth"));
}

#[test]
fn another_hash_is_another_model() {
    let other = HASH.replace("$2y$", "$2b$");
    let users = |text: &str| format!("{:?}", basic(&format!("users = [{text}]")).users);
    let one = users(&format!("\"a:{HASH}\", \"b:{other}\""));
    assert_eq!(one, users(&format!("\"b:{other}\", \"a:{HASH}\"")));
    assert_ne!(one, users(&format!("\"a:{HASH}\", \"b:{HASH}\"")));
    assert_ne!(one, users(&format!("\"a:{HASH}\", \"c:{other}\"")));
}

#[test]
fn a_server_that_is_asked_is_told_all_unless_the_file_says_less() {
    let silent = forward("pool = \"q\", path = \"/verify?a=b\"");
    assert_eq!((silent.pool, silent.path.to_string().as_str()), (1, "/verify?a=b"));
    assert!(silent.request_headers.is_none() && silent.response_headers.is_empty());
    assert_eq!(silent.timeout, std::time::Duration::from_secs(5));
    let said = forward(
        "pool = \"p\", path = \"/\", request_headers = [\"Cookie\"], \
         response_headers = [\"X-Forwarded-User\", \"authorization\"], timeout = \"1s\"",
    );
    assert_eq!(said.request_headers.unwrap(), ["cookie"]);
    assert_eq!(said.response_headers, ["x-forwarded-user", "authorization"]);
}

#[test]
fn a_pool_that_is_only_asked_is_used_and_a_route_asks_in_its_own_way() {
    let text = format!(
        "[defaults.routes]\nbasic_auth = {{ users = \"htpasswd\" }}\n{START}\
         forward_auth = {{ pool = \"q\", path = \"/\" }}\n\
         [pools.p]\nbackends = [{{ id = \"a\", address = \"10.0.0.1:80\" }}]\n\
         [pools.q]\nbackends = [{{ id = \"a\", address = \"10.0.0.1:80\" }}]\n"
    );
    let loaded = good(&text);
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert!(matches!(loaded.model.routes[0].auth, Some(Auth::Forward(_))));
}
