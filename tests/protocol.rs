//! `docs/protocol.md` keeps its word: each row has a test, and tests and files it names are there.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn each_row_has_tests_and_files_that_are_there() {
    let page = fs::read_to_string("docs/protocol.md").unwrap();
    let tests = tests();
    let mut wrong = Vec::new();
    let mut rows = 0;
    for line in page.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
        let [requirement, _, place, shown] = cells[..] else { continue };
        if requirement.trim() == "requirement" {
            continue;
        }
        rows += 1;
        let shown: Vec<&str> = quoted(shown).collect();
        if shown.is_empty() {
            wrong.push(format!("no test shows: {requirement}"));
        }
        let unknown = shown.into_iter().filter(|name| !is_there(name, &tests));
        wrong.extend(unknown.map(|name| format!("there is no test {name}")));
        let files =
            quoted(place).filter(|name| !Path::new("src").join(format!("{name}.rs")).exists());
        wrong.extend(files.map(|name| format!("there is no src/{name}.rs")));
    }
    assert!(rows > 50, "only {rows} rows were found");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn is_there(name: &str, tests: &BTreeMap<String, Vec<PathBuf>>) -> bool {
    match name.split_once("::") {
        None => name.starts_with("tests/real/") && Path::new(name).exists(),
        Some((file, test)) => tests.get(test).is_some_and(|paths| {
            let of_file = |path: &PathBuf| {
                path.with_extension("").components().any(|part| part.as_os_str() == file)
            };
            paths.iter().any(of_file)
        }),
    }
}

/// Each test by its name, and the files that have one of that name.
fn tests() -> BTreeMap<String, Vec<PathBuf>> {
    let mut found: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let mut folders = vec![PathBuf::from("src"), PathBuf::from("tests/it/stories")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                is_test |= line == "#[test]" || line == "#[tokio::test]";
                let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
                if let (true, Some(name)) = (is_test, name.and_then(|name| name.split('(').next()))
                {
                    found.entry(name.to_owned()).or_default().push(path.clone());
                    is_test = false;
                }
            }
        }
    }
    found
}
