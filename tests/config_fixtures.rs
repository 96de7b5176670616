//! Broken files of `tests/config/`, each with the exact report that the operator reads.

use std::fs;
use std::path::{Path, PathBuf};

use ostler::config::{FileContent, FixedEnvironment, parse};

/// A file of users as it should be, but for its mode.
const GOOD_USERS: &str = "anna:$2y$04$rV4zNY3JmwMA7KZTcaj3DOLvQUzkTfVI8npzV76DLAgBKDemZ3r86\n";

/// Everything that may be wrong with one.
const WRONG_USERS: &str = "\
# A comment, and an empty line.

anna:$2y$04$rV4zNY3JmwMA7KZTcaj3DOLvQUzkTfVI8npzV76DLAgBKDemZ3r86
anna:$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4
bert:$apr1$HDPnpVh5$0pXkxvTdNIAeXQZTyYWzI.
carl:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=
dora:plain
plain
:$2y$04$rV4zNY3JmwMA7KZTcaj3DOLvQUzkTfVI8npzV76DLAgBKDemZ3r86
emil:$2y$04$damaged
fred:$2y$17$rV4zNY3JmwMA7KZTcaj3DOLvQUzkTfVI8npzV76DLAgBKDemZ3r86
gina:$argon2i$v=19$m=64,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4
hans:$argon2id$v=19$m=262144,t=9,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4
ines:plain
joan:plain
";

/// Set it to write the reports anew, then read what changed.
const BLESS: &str = "OSTLER_BLESS";

#[test]
fn every_broken_file_gets_its_report() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("the folder of fixtures")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no fixtures in {}", folder.display());
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a fixture");
        let name = Path::new("/etc/ostler").join(file.file_name().expect("a file name"));
        let report = match parse(&text, &name, &environment()) {
            Ok(loaded) => loaded.report(),
            Err(report) => report,
        };
        let found = report.render(false);
        let expected = file.with_extension("txt");
        if std::env::var_os(BLESS).is_some() {
            fs::write(&expected, &found).expect("a report to write");
        }
        let told = fs::read_to_string(&expected).unwrap_or_default();
        if told != found {
            wrong.push(format!("{}:\n{found}", name.display()));
        }
    }
    assert!(wrong.is_empty(), "these reports differ:\n{}", wrong.join("\n"));
}

/// The files of tokens and users that the fixtures name.
fn environment() -> FixedEnvironment {
    let mut environment = FixedEnvironment::default();
    for (name, text, mode) in [
        ("oncall", "the-first-of-the-tokens", 0o600),
        ("second", "the-second-of-the-tokens", 0o600),
        ("third", "the-third-of-the-tokens", 0o400),
        ("open", "open-to-everybody", 0o644),
        ("short", "fifteen-letters\n", 0o600),
        ("empty", "\n", 0o600),
    ] {
        let path = Path::new("/etc/ostler").join(format!("{name}.token"));
        environment.files.insert(path, FileContent { text: text.to_owned(), mode });
    }
    for (name, text, mode) in [
        ("wrong", WRONG_USERS, 0o640),
        ("empty", "# nobody yet\n\n", 0o640),
        ("open", GOOD_USERS, 0o644),
    ] {
        let path = Path::new("/etc/ostler").join(format!("{name}.htpasswd"));
        environment.files.insert(path, FileContent { text: text.to_owned(), mode });
    }
    environment
}
