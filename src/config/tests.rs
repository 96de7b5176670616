//! Stories about whole files: what a text becomes, and what is said about it.

mod auth;
mod checks;
mod outage;
mod sessions;

use std::fmt::Write as _;
use std::path::Path;

use super::expand::{FileContent, FixedEnvironment};
use super::keys::{KEYS, Unset};
use super::model::{Action, PathPattern};
use super::{Loaded, Report, Severity, effective, parse};

const MINIMAL: &str = include_str!("../../config/minimal.toml");
const FULL: &str = include_str!("../../config/full.toml");
const STICKY: &str = include_str!("../../config/sticky.toml");
const TLS: &str = include_str!("../../config/tls.toml");

/// Of `secret`, as cheap as bcrypt goes.
const HASH: &str = "$2y$04$rV4zNY3JmwMA7KZTcaj3DOLvQUzkTfVI8npzV76DLAgBKDemZ3r86";

/// Enough of a file for whatever stands behind it.
const START: &str = "[listeners.a]\nbind = [\"127.0.0.1:80\"]\n[[routes]]\npool = \"p\"\n";

fn environment() -> FixedEnvironment {
    let mut environment = FixedEnvironment::default();
    let key = FileContent { text: "ab".repeat(32), mode: 0o600 };
    environment.files.insert("/etc/ostler/session.key".into(), key.clone());
    let open = FileContent { mode: 0o644, ..key };
    environment.files.insert("/etc/ostler/open.key".into(), open);
    for name in ["oncall", "lb2"] {
        let token = FileContent { text: format!("{name}-0123456789abcdef\n"), mode: 0o600 };
        environment.files.insert(format!("/etc/ostler/{name}.token").into(), token);
    }
    let users = FileContent { text: format!("anna:{HASH}\n"), mode: 0o640 };
    environment.files.insert("/etc/ostler/htpasswd".into(), users);
    environment.variables.insert("APP".into(), "10.0.0.1:80".into());
    environment
}

fn read(text: &str) -> Result<Loaded, Report> {
    parse(text, Path::new("/etc/ostler/ostler.toml"), &environment())
}

fn good(text: &str) -> Loaded {
    read(text).unwrap_or_else(|report| panic!("{}", report.render(false)))
}

/// Every error of a file, as `line:column message`.
fn errors(text: &str) -> Vec<String> {
    let report = read(text).expect_err("the file should be wrong");
    let errors = report.mistakes.iter().filter(|one| one.severity == Severity::Error);
    errors
        .map(|one| match &one.place {
            Some(span) => {
                let (line, column) = report.line_column(span);
                format!("{line}:{column} {}", one.message)
            }
            None => one.message.clone(),
        })
        .collect()
}

fn warnings(text: &str) -> Vec<String> {
    good(text).warnings.into_iter().map(|one| one.message).collect()
}

/// The model as text, without the places.
fn facts(loaded: &Loaded) -> String {
    let places = regex::Regex::new(r"place: Place \{\s*span: \d+\.\.\d+,?\s*\}").unwrap();
    places.replace_all(&format!("{:#?}", loaded.model), "").into_owned()
}

#[test]
fn the_smallest_production_file_holds_without_a_warning() {
    let loaded = good(MINIMAL);
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let model = &loaded.model;
    assert_eq!(model.listeners.len(), 2);
    assert_eq!(&*model.routes[0].name.value, "www.example.com");
    assert!(matches!(model.routes[0].action, Action::Pool(0)));
    let tls = model.listeners[1].tls.as_ref().unwrap();
    assert_eq!(&*tls.certificates[0].cert, Path::new("/etc/ostler/certs/site.crt"));
    let sticky = model.pools[0].sticky.as_ref().unwrap();
    assert_eq!(&*sticky.cookie_https, "__Host-ostler-web");
    assert_eq!(&*sticky.cookie_http, "ostler-web");
    assert!(model.listeners[1].protocols.http2 && !model.listeners[0].protocols.http2);
}

#[test]
fn every_example_holds() {
    for text in [STICKY, TLS, FULL] {
        assert!(good(text).warnings.is_empty(), "{:?}", good(text).warnings);
    }
}

#[test]
fn the_full_file_has_every_key_with_its_default() {
    for key in KEYS {
        let name = key.path.rsplit('.').next().unwrap();
        let line = match key.unset {
            Unset::Value(value) => format!("{name} = {value}"),
            Unset::Note(_) => format!("{name} = "),
        };
        assert!(FULL.contains(&line), "{}: {line}", key.path);
    }
}

#[test]
fn defaults_written_out_change_nothing() {
    let silent = "[listeners.a]\nbind = [\"127.0.0.1:80\"]\n[[routes]]\npool = \"p\"\n\
                  [pools.p]\nbackends = [{ id = \"b\", address = \"10.0.0.1:80\" }]\n\
                  health.http = \"/\"\nsticky.by = \"cookie\"\ntls = {}\n";
    let mut written = String::new();
    for (prefix, header, own) in [
        ("metrics.", "[metrics]", ""),
        ("runtime.", "[runtime]", ""),
        ("log.", "[log]", ""),
        ("listeners.*.", "[listeners.a]", "bind = [\"127.0.0.1:80\"]"),
        ("routes[].", "[[routes]]", "pool = \"p\""),
        (
            "pools.*.",
            "[pools.p]",
            "backends = [{ id = \"b\", address = \"10.0.0.1:80\", weight = 1, state = \"up\" }]\n\
             health.http = \"/\"",
        ),
    ] {
        writeln!(written, "{header}\n{own}").unwrap();
        for key in KEYS {
            let skip = [
                "[]",
                "redirect.",
                "respond.",
                "rate_limit.",
                "basic_auth.",
                "forward_auth.",
                "backends",
                "source_prefix.",
                "on_remove.",
                "rebalance.",
                "hash_on",
                "ejection.",
                "concurrency.",
                "when_all_down.",
            ];
            if let (Some(path), Unset::Value(value)) = (key.path.strip_prefix(prefix), key.unset)
                && !skip.iter().any(|skip| path.contains(skip))
                && !(prefix.starts_with("listeners") && path.starts_with("tls."))
            {
                writeln!(written, "{path} = {value}").unwrap();
            }
        }
    }
    assert_eq!(facts(&good(silent)), facts(&good(&written)));
}

#[test]
fn the_effective_file_says_the_same_and_where_it_comes_from() {
    let plain_full = FULL.replace("\nkeys = [", "\n# ").replace("\npeers = [", "\n# ");
    for text in [MINIMAL, TLS, &plain_full] {
        let loaded = good(text);
        let page = effective(&loaded);
        assert_eq!(facts(&loaded), facts(&good(&page)), "{page}");
    }
    let text = format!(
        "[sessions]\nkeys = [\"${{file:session.key}}\"]\n[defaults.pools]\nhealth.tcp = true\n\
         {START}[pools.p]\nbackends = [{{ id = \"b\", address = \"${{APP}}\" }}]\n"
    );
    let page = effective(&good(&text));
    assert!(page.contains("keys = [\"redacted\"]  # line 2"), "{page}");
    assert!(page.contains("health.tcp = true  # [defaults.pools] line 4"), "{page}");
    assert!(page.contains("health.interval = \"2s\"  # default"), "{page}");
    assert!(page.contains("address = \"${APP}\""), "{page}");
    assert!(page.contains("[pools.p]  # line 9"), "{page}");
    assert!(toml::from_str::<toml::Table>(&page).is_ok(), "{page}");
}

#[test]
fn every_mistake_is_found_at_once() {
    let text = "[listeners.a]\nbind = [\":80\"]\nprotocols = [\"h2\"]\ntimeouts.idle = 30\n\
                [[routes]]\npool = \"shop\"\n\
                [pools.shup]\npolicy = \"fastest\"\n\
                backends = [{ adress = \"a:80\" }, { address = \"a:80\", weight = -1 }]\n\
                send_proxy = \"v3\"\nsticky.by = \"sauce\"\n";
    assert_eq!(
        errors(text),
        [
            "2:9 `:80` is no address to listen on",
            "3:14 h2 needs TLS, and this listener has none",
            "4:17 `30` has no unit",
            "6:8 pool \"shop\" is not defined",
            "8:10 unknown value \"fastest\"",
            "9:15 unknown key `adress`",
            "9:63 weight = -1 is out of range",
            "10:14 unknown value \"v3\"",
            "11:13 unknown value \"sauce\"",
        ]
    );
}

#[test]
fn wrong_types_are_named_and_do_not_hide_each_other() {
    let text = format!("{START}[pools.p]\nbackends = 3\nhealth = \"/\"\ntls.verify = \"no\"\n");
    let found = errors(&text);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found.iter().all(|one| one.contains("invalid type")), "{found:?}");
    assert_eq!(errors("listeners = 3\n")[0], "1:13 `listeners` must be a table of tables");
}

#[test]
fn a_table_in_two_places_gets_a_hint() {
    let text = format!("{START}[pools.p]\nsticky.by = \"cookie\"\n[pools.p.sticky]\npass = true\n");
    let report = read(&text).unwrap_err();
    assert_eq!(report.mistakes.len(), 1, "{}", report.render(false));
    assert!(report.mistakes[0].message.contains("duplicate key"));
    assert!(report.mistakes[0].hint.as_ref().unwrap().contains("one place only"));
}

#[test]
fn a_key_of_too_many_parts_is_told_where_it_is() {
    let deep = format!("{START}[pools.p]\nbackends = []\na{} = 1\n", ".a".repeat(90));
    assert_eq!(errors(&deep)[0], "7:1 a key of too many parts");
}

#[test]
fn cookies_that_browsers_refuse_are_errors() {
    for (keys, wrong) in [
        ("same_site = \"none\"\nsecure = false", "SameSite=None without Secure"),
        ("partitioned = true\nsecure = false", "Partitioned without Secure"),
        ("cookie = \"__Host-a\"\npath = \"/x\"", "__Host-"),
        ("cookie = \"__host-a\"\ndomain = \"example.com\"", "__Host-"),
        ("cookie = \"__Secure-a\"\nsecure = false", "without Secure"),
        ("cookie = \"a b\"", "no cookie name"),
        ("idle = \"none\"", "must end"),
    ] {
        let text = format!("{START}[pools.p]\nbackends = []\n[pools.p.sticky]\n{keys}\n");
        let found = errors(&text);
        assert!(found.len() == 1 && found[0].contains(wrong), "{keys}: {found:?}");
    }
}

#[test]
fn ticket_keys_are_read_kept_private_and_never_shown() {
    let file = |list: &str| {
        let tls = "tls.certificates = [{ cert = \"a.crt\", key = \"a.key\" }]";
        format!(
            "[listeners.a]\nbind = [\"127.0.0.1:443\"]\n{tls}\ntls.ticket_keys = [{list}]\n\
             [[routes]]\npool = \"p\"\n[pools.p]\n"
        )
    };
    let loaded = good(&file("\"${file:session.key}\""));
    assert_eq!(loaded.model.listeners[0].tls.as_ref().unwrap().ticket_keys.len(), 1);
    let page = effective(&loaded);
    assert!(page.contains("ticket_keys = [\"redacted\"]"), "{page}");
    let long = "cd".repeat(32);
    for (list, wrong) in [
        ("\"${file:open.key}\"".to_owned(), "can be read by others"),
        ("\"short\"".to_owned(), "no ticket key"),
        (format!("\"{long}\", \"{long}\""), "stands here twice"),
    ] {
        let found = errors(&file(&list));
        assert!(found.len() == 1 && found[0].contains(wrong), "{list}: {found:?}");
    }
}

#[test]
fn session_keys_are_read_and_their_files_kept_private() {
    let keys = |list: &str| format!("[sessions]\nkeys = [{list}]\n{START}[pools.p]\n");
    assert_eq!(good(&keys("\"${file:session.key}\"")).model.sessions.keys.len(), 1);
    let long = "cd".repeat(32);
    for (list, wrong) in [
        ("\"${file:open.key}\"".to_owned(), "can be read by others"),
        ("\"short\"".to_owned(), "no session key"),
        (format!("\"{long}\", \"{long}\""), "stands here twice"),
    ] {
        let found = errors(&keys(&list));
        assert!(found.len() == 1 && found[0].contains(wrong), "{found:?}");
    }
}

#[test]
fn routes_tie_only_on_a_listener_they_share() {
    let route = |more: &str| {
        format!("[[routes]]\nhosts = [\"a.example\"]\nrespond = {{ status = 200 }}\n{more}\n")
    };
    let listeners = "[listeners.a]\nbind = [\"127.0.0.1:80\"]\n\
                     [listeners.b]\nbind = [\"127.0.0.1:81\"]\n";
    let apart = [route("listeners = [\"a\"]"), route("listeners = [\"b\"]")].concat();
    let model = good(&format!("{listeners}{apart}")).model;
    assert_eq!(&*model.routes[1].name.value, "a.example#2");
    let tie = errors(&format!("{listeners}{}{}", route(""), route("listeners = [\"b\"]")));
    assert_eq!(tie.len(), 1);
    assert!(tie[0].contains("routes \"a.example\" and \"a.example#2\" tie"), "{tie:?}");
}

#[test]
fn what_is_legal_but_surely_wrong_is_a_warning() {
    let text = "[listeners.a]\nbind = [\"127.0.0.1:80\"]\nredirect_https = 443\n\
                [listeners.b]\nbind = [\"127.0.0.1:81\"]\n\
                [[routes]]\nlisteners = [\"a\"]\npath_regex = \"/x+\"\npool = \"p\"\n\
                [pools.p]\nbackends = [{ address = \"a:80\" }]\nsticky.by = \"cookie\"\n\
                [pools.q]\n";
    let found = warnings(text);
    for expected in ["never matches", "has no route", "have an `id`", "never used", "no backends"] {
        assert!(found.iter().any(|one| one.contains(expected)), "{expected}: {found:?}");
    }
    assert_eq!(&*good(text).model.routes[0].name.value, "~/x+");
}

#[test]
fn a_path_is_a_prefix_an_exact_one_or_a_whole_regex() {
    let one = |path: &str| {
        let text = format!("{START}{path}\n[pools.p]\n");
        good(&text).model.routes.remove(0).path.value
    };
    assert!(matches!(one("path = \"/\""), PathPattern::Any));
    assert!(matches!(one("path = \"/api\""), PathPattern::Prefix(path) if &*path == "/api"));
    let PathPattern::Regex(regex) = one("path_regex = \"/a|/b\"") else { panic!("no regex") };
    assert!(regex.is_match("/b") && !regex.is_match("/bc"));
    let two = errors(&format!("{START}path = \"/a\"\npath_exact = \"/a\"\n[pools.p]\n"));
    assert!(two[0].contains("is enough"));
}

#[test]
fn an_object_wins_over_the_defaults_and_shuts_their_rivals_out() {
    let text = format!(
        "[defaults.pools]\nhealth = {{ http = \"/h\", interval = \"5s\" }}\n{START}\
         [pools.p]\nhealth.tcp = true\n"
    );
    let health = good(&text).model.pools.remove(0).health.unwrap();
    assert_eq!(health.kind, super::model::HealthKind::Tcp);
    assert_eq!(health.interval, std::time::Duration::from_secs(5));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(
        lines in proptest::collection::vec("[\\[\\]a-z.={}\"$0-9:é#, \n]{0,40}", 0..8),
        cut in 0_usize..6_000,
    ) {
        let _ = read(&lines.join("\n")).map_err(|report| (report.render(true), report.to_json()));
        let half: String = FULL.chars().take(cut).chain(lines.concat().chars()).collect();
        let _ = read(&half).map_err(|report| report.render(false));
    }
}

#[test]
fn the_socket_is_found_in_a_file_that_is_broken_elsewhere() {
    let text = "[admin]\nsocket = \"/run/a.sock\"\n[pools.p]\nx = \"${NOT_SET}\"\nbroken = \n";
    assert_eq!(super::peek_socket(text).as_deref(), Some(Path::new("/run/a.sock")));
    assert_eq!(super::peek_socket("[log]\n"), None);
}

#[test]
fn too_many_routes_are_one_error() {
    let mut text = format!("{START}[pools.p]\n");
    text.push_str(&"[[routes]]\n".repeat(super::defaults::MAX_ROUTES));
    assert!(read(&text).unwrap_err().mistakes.iter().any(|one| one.message.contains("100000")));
}
