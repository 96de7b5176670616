//! Routes that ask for a name and a password.

use base64::Engine as _;
use base64::alphabet::BCRYPT;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD, STANDARD, STANDARD_NO_PAD};

use crate::harness::{
    Answer, Config, Connection, Door, Origin, PLAIN, Proxy, SECURE, default_route, pool, spawn,
};

/// As `htpasswd -B` makes it, with this cost.
fn bcrypt_of(password: &str, cost: u32) -> String {
    let base64 = GeneralPurpose::new(&BCRYPT, NO_PAD);
    let salt = *b"sixteen bytes it";
    let hash = bcrypt::bcrypt(cost, salt, format!("{password}\0").as_bytes());
    format!("$2y${cost:02}${}{}", base64.encode(salt), base64.encode(&hash[..23]))
}

/// As the `argon2` command makes it.
fn argon2_of(password: &str) -> String {
    let (salt, mut hash) = (*b"sixteen bytes it", [0; 32]);
    let params = argon2::Params::new(256, 1, 1, Some(32)).unwrap();
    let (kind, version) = (argon2::Algorithm::Argon2id, argon2::Version::V0x13);
    let argon2 = argon2::Argon2::new(kind, version, params);
    argon2.hash_password_into(password.as_bytes(), &salt, &mut hash).unwrap();
    let base64 = |bytes: &[u8]| STANDARD_NO_PAD.encode(bytes);
    format!("$argon2id$v=19$m=256,t=1,p=1${}${}", base64(&salt), base64(&hash))
}

/// One route to one origin that lets these in.
fn asking(origin: &Origin, users: &[(&str, String)], more: &str) -> Config {
    let users: Vec<String> =
        users.iter().map(|(name, hash)| format!("\"{name}:{hash}\"")).collect();
    let auth = format!("basic_auth = {{ users = [{}]{more} }}\n", users.join(", "));
    let listener = format!("{PLAIN}trusted_proxies = [\"127.0.0.1\"]\n{SECURE}");
    Config::new(format!("{listener}{}{auth}{}", default_route("web"), pool("web", &[origin], "")))
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

async fn ask(door: &Door, path: &str, fields: &[(&str, &str)]) -> Answer {
    ask_on(&mut door.connect().await, path, fields).await
}

async fn ask_on(connection: &mut Connection, path: &str, fields: &[(&str, &str)]) -> Answer {
    let request = connection.door().request("GET", path);
    let request =
        fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    connection.send(request, "").await
}

#[tokio::test]
async fn who_names_a_user_with_the_right_password_is_let_in() {
    let origin = Origin::start("a");
    let users = [("anna", bcrypt_of("secret", 4)), ("bert b", argon2_of("geheim"))];
    let proxy = Proxy::start(asking(&origin, &users, ", realm = \"The shop\"")).await;
    for door in [proxy.door(), proxy.secure("http/1.1"), proxy.secure("h2")] {
        let before = origin.count();
        for (path, fields, cause) in [
            ("/nothing", &[][..], "no_credentials"),
            ("/bearer", &[("authorization", "Bearer x".to_owned())][..], "no_credentials"),
            ("/broken", &[("authorization", "Basic !".to_owned())][..], "malformed_credentials"),
            ("/wrong", &[("authorization", basic("anna", "Secret"))][..], "wrong_password"),
            ("/other", &[("authorization", basic("anna", "geheim"))][..], "wrong_password"),
            ("/nobody", &[("authorization", basic("Anna", "secret"))][..], "unknown_user"),
            ("/empty", &[("authorization", basic("", ""))][..], "unknown_user"),
        ] {
            let fields: Vec<_> = fields.iter().map(|(name, it)| (*name, it.as_str())).collect();
            let answer = ask(&door, path, &fields).await;
            let asked = "Basic realm=\"The shop\", charset=\"UTF-8\"";
            assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some(asked)));
            let line = proxy.tells(path, "reason", "unauthorized").await;
            assert_eq!((&line["cause"], &line["source"]), (&cause.into(), &"client".into()));
            assert_eq!(line["attempts"], 0);
        }
        assert_eq!(origin.count(), before);
        // The second time from the table.
        for (name, password) in [("anna", "secret"), ("bert b", "geheim"), ("anna", "secret")] {
            let answer = ask(&door, "/in", &[("authorization", &basic(name, password))]).await;
            assert_eq!(answer.name(), "a");
            assert_eq!(origin.last().one("authorization"), None, "it ends here");
        }
        let wrong = basic("anna", "s");
        assert_eq!(ask(&door, "/wrong", &[("authorization", &wrong)]).await.status, 401);
        assert_eq!(origin.count(), before + 3);
    }
    let said = proxy.said();
    for secret in ["secret", "geheim", &STANDARD.encode("anna:secret"), "$2y$", "argon2id$"] {
        assert!(!said.contains(secret), "{secret} was told");
    }
}

#[tokio::test]
async fn the_backend_is_told_the_user_and_by_nobody_else() {
    let origin = Origin::start("a");
    let users = [("anna", bcrypt_of("secret", 4))];
    let proxy = Proxy::start(asking(&origin, &users, ", header = \"Remote-User\"")).await;
    let anna = basic("anna", "secret");
    let forged = [
        ("authorization", &*anna),
        ("remote-user", "root"),
        ("remote_user", "root"),
        ("remote-user", "root"),
        ("connection", "remote-user, close"),
    ];
    assert_eq!(ask(&proxy.door(), "/", &forged).await.status, 200);
    let seen = origin.last();
    assert_eq!(seen.one("remote-user"), Some("anna"));
    assert!(!seen.head.contains("root"), "{}", seen.head);
    let mut proxy = proxy;
    proxy.apply(asking(&origin, &users, ", forward = true")).await;
    assert_eq!(ask(&proxy.door(), "/", &forged[..1]).await.status, 200);
    assert_eq!(origin.last().one("authorization"), Some(&*anna));
    assert_eq!(origin.last().one("remote-user"), None);
}

#[tokio::test]
async fn a_new_password_holds_from_the_reload_on_and_the_old_one_no_more() {
    let origin = Origin::start("a");
    let mut proxy = Proxy::start(asking(&origin, &[("anna", bcrypt_of("one", 4))], "")).await;
    let with = async |proxy: &Proxy, password: &str| {
        ask(&proxy.door(), "/", &[("authorization", &basic("anna", password))]).await.status
    };
    for _ in 0..2 {
        assert_eq!((with(&proxy, "one").await, with(&proxy, "two").await), (200, 401));
    }
    // From a file, which is read at reloads.
    std::fs::write(proxy.path("htpasswd"), format!("anna:{}\n", bcrypt_of("two", 4))).unwrap();
    let inline = format!("[\"anna:{}\"]", bcrypt_of("one", 4));
    proxy.rewrite_raw(&proxy.file().replace(&inline, "\"htpasswd\""));
    proxy.reload().await.expect(0);
    assert_eq!((with(&proxy, "one").await, with(&proxy, "two").await), (401, 200));
    std::fs::write(proxy.path("htpasswd"), format!("bert:{}\n", bcrypt_of("two", 4))).unwrap();
    assert_eq!(with(&proxy, "two").await, 200);
    let told = proxy.reload().await.expect(0).text();
    assert!(told.contains("~ route"), "{told}");
    assert_eq!(with(&proxy, "two").await, 401);
    // What cannot be used changes nothing.
    std::fs::write(proxy.path("htpasswd"), "anna:two\n").unwrap();
    let refused = proxy.reload().await.expect(1).text();
    assert!(refused.contains("a password as it is"), "{refused}");
    let bert = basic("bert", "two");
    assert_eq!(ask(&proxy.door(), "/", &[("authorization", &bert)]).await.status, 200);
}

#[tokio::test]
async fn a_flood_of_wrong_passwords_of_one_client_stops_nobody_else() {
    let origin = Origin::start("a");
    // Dear enough that the flood is never done with its own.
    let users = [("anna", bcrypt_of("secret", 9)), ("bert", bcrypt_of("geheim", 9))];
    let proxy = Proxy::start(asking(&origin, &users, "")).await;
    let door = proxy.door();
    let anna = basic("anna", "secret");
    let flood = (0..60).map(|number| {
        let door = door.clone();
        spawn(async move {
            let mut statuses = Vec::new();
            for turn in 0..4 {
                let wrong = basic("anna", &format!("{number} {turn}"));
                let fields = [("authorization", &*wrong), ("x-forwarded-for", "192.0.2.1")];
                statuses.push(ask(&door, "/flood", &fields).await.status);
            }
            statuses
        })
    });
    let flood: Vec<_> = flood.collect();
    for turn in 0..3 {
        // Others, each with a password that nobody has tried yet.
        let client = format!("198.51.100.{turn}");
        let wrong = basic("bert", &format!("wrong {turn}"));
        for (given, status) in [(&*anna, 200), (&*wrong, 401)] {
            let fields = [("authorization", given), ("x-forwarded-for", &*client)];
            assert_eq!(ask(&door, "/honest", &fields).await.status, status);
        }
    }
    let mut refused = 0;
    for one in flood {
        for status in one.await.unwrap() {
            assert!(matches!(status, 401 | 429), "{status}");
            refused += usize::from(status == 429);
        }
    }
    assert!(refused > 0, "no more than a few of one client wait");
    assert_eq!(proxy.tells("/flood", "reason", "rate_limited").await["status"], 429);
}

#[tokio::test]
async fn thirty_requests_at_once_are_one_password() {
    let origin = Origin::start("a");
    let users = [("anna", bcrypt_of("secret", 9))];
    let proxy = Proxy::start(asking(&origin, &users, "")).await;
    let connection = proxy.secure("h2").connect().await;
    let anna = basic("anna", "secret");
    let page = (0..30).map(|_| {
        let (mut stream, anna) = (connection.share(), anna.clone());
        spawn(async move { ask_on(&mut stream, "/", &[("authorization", &anna)]).await.status })
    });
    for one in page.collect::<Vec<_>>() {
        assert_eq!(one.await.unwrap(), 200);
    }
}

#[tokio::test]
async fn a_page_of_the_operators_and_explain_know_of_it() {
    let origin = Origin::start("a");
    let users = [("anna", bcrypt_of("secret", 4))];
    let config = asking(&origin, &users, "");
    let folder = std::sync::Arc::new(tempfile::TempDir::new().unwrap());
    std::fs::write(folder.path().join("in.html"), "<h1>{status} {title}</h1>").unwrap();
    let mut proxy = Proxy::start_in(folder, config).await;
    let explained = proxy.command(&["explain", "http://localhost/"]).await.text();
    assert!(explained.contains("basic_auth, one user"), "{explained}");
    let pages = "error_pages = { \"401\" = \"in.html\" }\nbasic_auth";
    proxy.rewrite_raw(&proxy.file().replace("basic_auth", pages));
    proxy.reload().await.expect(0);
    let answer = proxy.door().get("/").await;
    assert_eq!((answer.status, answer.text().as_str()), (401, "<h1>401 Unauthorized</h1>"));
    assert!(answer.header("www-authenticate").is_some());
}
