//! What the command line refuses, in one line that says what to do.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use crate::harness::{ostler, ostler_in};

/// Runs `ostler run -c ostler.toml` on a text and wants one line that holds these words.
async fn refused(directory: &TempDir, text: &str, words: &[&str]) {
    std::fs::write(directory.path().join("ostler.toml"), text).unwrap();
    let output = ostler_in(directory.path(), &["run", "-c", "ostler.toml"]).await.expect(1);
    for word in words {
        assert!(output.stderr.contains(word), "{word} in {}", output.stderr);
    }
    let errors: Vec<&str> = output.stderr.lines().filter(|it| it.starts_with("error")).collect();
    assert_eq!(errors.len(), 1, "one line says it: {}", output.stderr);
}

const ROUTE: &str = "[[routes]]\nrespond = { status = 200, body = \"ok\" }\n";

fn preamble(directory: &TempDir) -> String {
    let path = directory.path().display();
    format!(
        "[admin]\nsocket = \"{path}/a.sock\"\n[metrics]\nbind = \"none\"\n\
         [runtime]\nstate_dir = \"{path}\"\n"
    )
}

#[tokio::test]
async fn no_file_names_what_was_tried() {
    let directory = TempDir::new().unwrap();
    let output = ostler_in(directory.path(), &["run"]).await.expect(1);
    assert!(output.stderr.contains("/etc/ostler/ostler.toml"), "{}", output.stderr);
    assert_eq!(output.stderr.trim_end().lines().count(), 1, "{}", output.stderr);
    let output = ostler_in(directory.path(), &["run", "-c", "missing.toml"]).await.expect(1);
    assert!(output.stderr.contains("missing.toml"), "{}", output.stderr);
    assert_eq!(output.stderr.trim_end().lines().count(), 1, "{}", output.stderr);
    // As other programs take it.
    std::fs::write(directory.path().join("a.toml"), preamble(&directory)).unwrap();
    let output = ostler_in(directory.path(), &["check", "a.toml"]).await.expect(2);
    assert!(output.stderr.contains("is named by -c a.toml"), "{}", output.stderr);
}

#[tokio::test]
async fn without_a_terminal_there_is_no_demo() {
    let directory = TempDir::new().unwrap();
    ostler_in(directory.path(), &[]).await.expect(1);
}

#[tokio::test]
async fn a_key_that_others_can_read_or_nobody_can_is_refused() {
    let directory = TempDir::new().unwrap();
    let text = format!(
        "{}[listeners.web]\nbind = [\"127.0.0.1:0\"]\n\
         tls.certificates = [{{ cert = \"site.crt\", key = \"site.key\" }}]\n{ROUTE}",
        preamble(&directory)
    );
    refused(&directory, &text, &["site.crt"]).await;

    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(directory.path().join("site.crt"), key.cert.pem()).unwrap();
    let path = directory.path().join("site.key");
    refused(&directory, &text, &["site.key"]).await;
    std::fs::write(&path, "no key at all").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    refused(&directory, &text, &["site.key"]).await;
    std::fs::write(&path, key.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    refused(&directory, &text, &["site.key"]).await;
}

#[tokio::test]
async fn a_port_in_use_is_refused() {
    let directory = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let text = format!("{}[listeners.http]\nbind = [\"{address}\"]\n{ROUTE}", preamble(&directory));
    refused(&directory, &text, &[&address, "in use"]).await;
}

#[tokio::test]
async fn a_second_process_at_the_same_socket_is_refused() {
    let origin = crate::harness::Origin::start("a");
    let body = format!(
        "{}{}{}",
        crate::harness::PLAIN,
        crate::harness::default_route("web"),
        crate::harness::pool("web", &[&origin], "")
    );
    let proxy = crate::harness::Proxy::start(crate::harness::Config::new(body)).await;
    let output = ostler_in(proxy.folder(), &["run", "-c", "ostler.toml"]).await.expect(1);
    assert!(output.stderr.contains("admin.sock"), "{}", output.stderr);
    assert_eq!(proxy.door().get("/").await.name(), "a", "the first goes on");
    proxy.command(&["status"]).await.expect(0);
}

#[tokio::test]
async fn what_is_not_built_yet_is_said_to_be_so() {
    let directory = TempDir::new().unwrap();
    let listener = "[listeners.http]\nbind = [\"127.0.0.1:0\"]\n";
    for (key, text) in [
        ("rewrite", format!("{listener}{ROUTE}rewrite = {{ strip_prefix = \"/a\" }}\n")),
        ("h3", format!("{listener}protocols = [\"h3\"]\n{ROUTE}")),
    ] {
        let text = format!("{}{text}", preamble(&directory));
        refused(&directory, &text, &[key, "not in this version", "ostler.toml:"]).await;
    }
}

#[tokio::test]
async fn commands_that_are_not_built_yet_are_refused() {
    for command in ["errors", "tail", "top", "upgrade", "apply"] {
        let output = ostler(&[command]).await;
        assert!([1, 2].contains(&output.code), "{command}: {output:?}");
    }
}

#[tokio::test]
async fn help_and_version_are_there() {
    let output = ostler(&["--version"]).await.expect(0);
    assert_eq!(output.stdout.trim(), format!("ostler {}", env!("CARGO_PKG_VERSION")));
    let output = ostler(&["--help"]).await.expect(0);
    for command in ["run", "demo", "proxy", "check", "reload", "stop", "status", "drain", "ready"] {
        assert!(output.stdout.contains(command), "{command} in {}", output.stdout);
    }
}

#[tokio::test]
async fn a_fresh_key_is_taken_by_a_file() {
    let directory = TempDir::new().unwrap();
    let key = ostler(&["keygen"]).await.expect(0).stdout;
    assert_ne!(ostler(&["keygen"]).await.expect(0).stdout, key);
    let text = format!(
        "[metrics]\nbind = \"none\"\n[sessions]\nkeys = [\"{}\"]\n[listeners.http]\n\
         bind = [\"127.0.0.1:0\"]\n{ROUTE}",
        key.trim()
    );
    std::fs::write(directory.path().join("ostler.toml"), text).unwrap();
    ostler_in(directory.path(), &["check", "-c", "ostler.toml"]).await.expect(0);
}

#[tokio::test]
async fn the_schema_is_json() {
    let output = ostler(&["schema"]).await.expect(0);
    let schema: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    assert!(schema["properties"]["listeners"].is_object());
}

#[tokio::test]
async fn proxy_print_writes_a_file_that_holds() {
    let directory = TempDir::new().unwrap();
    let words = ["proxy", "127.0.0.1:3000", "127.0.0.1:3001", "--listen", "127.0.0.1:0", "--print"];
    let text = ostler(&words).await.expect(0).stdout;
    assert!(text.contains("127.0.0.1:3001"), "{text}");
    // Somebody else may have the usual port of metrics at the moment.
    let text = format!("[metrics]\nbind = \"none\"\n{text}");
    std::fs::write(directory.path().join("ostler.toml"), text).unwrap();
    ostler_in(directory.path(), &["check", "-c", "ostler.toml"]).await.expect(0);
    ostler(&["proxy"]).await.expect(2);
}

#[tokio::test]
async fn another_kind_of_file_is_one_mistake_and_missing_files_come_with_all_others() {
    let directory = TempDir::new().unwrap();
    let check = async |text: &str| {
        std::fs::write(directory.path().join("ostler.toml"), text).unwrap();
        let output = ostler_in(directory.path(), &["check", "-c", "ostler.toml"]).await.expect(1);
        let errors = output.stderr.lines().filter(|it| it.starts_with("error")).count();
        (errors, output.stderr)
    };
    let (errors, said) = check("listeners:\n  web:\n    bind: 80\nroutes:\n  - pool: a\n").await;
    assert!(errors == 1 && said.contains("this is no TOML: 5 of its 5 lines"), "{said}");
    let (errors, said) = check(&format!("{ROUTE}[listeners.web]\nbind = [\"80\n")).await;
    assert!(errors > 0 && said.contains("other mistakes may show"), "{said}");
    let (errors, said) = check(&format!(
        "[listeners.web]\nbind = [\"127.0.0.1:0\"]\ncolour = 1\n\
         tls.certificates = [{{ cert = \"no.crt\", key = \"no.key\" }}]\n{ROUTE}"
    ))
    .await;
    assert!(errors == 3 && said.contains("colour"), "{said}");
    assert!(said.contains("no.crt") && said.contains("no.key"), "{said}");
}
