//! Files: whatever is written, there is a model or a report with places and never a panic; a model
//! compiles or is told why not, and its effective form is TOML.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use ostler::config::model::SecretKey;
use ostler::config::{self, FileContent, FixedEnvironment, Report, Severity};
use ostler::snapshot::compile::{Inputs, compile};
use ostler::snapshot::registry::Registry;
use ostler::tls::server::Resumption;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let path = Path::new("/nowhere/ostler.toml");
    let _ = config::peek_socket(text);
    let loaded = match config::parse(text, path, &environment()) {
        Err(report) => {
            assert!(report.has_errors(), "refused without an error: {text}");
            told(&report);
            // The same file has the same mistakes.
            let again = config::parse(text, path, &environment()).expect_err("again");
            assert_eq!(again.mistakes, report.mistakes);
            return;
        }
        Ok(loaded) => loaded,
    };
    let mut report = loaded.report();
    assert!(!report.has_errors());
    told(&report);
    let effective = config::effective(&loaded);
    if let Err(error) = toml::from_str::<toml::Table>(&effective) {
        panic!("{error}: {effective}");
    }
    let model = &loaded.model;
    let alone = model.listeners.iter().all(|one| one.tls.is_none() && one.error_pages.is_empty())
        && model.routes.iter().all(|one| one.error_pages.is_empty())
        && model.pools.iter().all(|one| one.tls.is_none());
    if !alone || model.pools.len() > 8 || model.runtime.workers > 8 {
        return;
    }
    let resumption = Resumption::new().expect("randomness");
    let mut registry = Registry::new(model.runtime.workers, resumption);
    let made_keys = [SecretKey([7; 32])];
    let inputs = Inputs { model, made_keys: &made_keys, generation: 1, ghosts: &[], again: None };
    let compiled = compile(inputs, &mut registry, &mut report);
    assert_eq!(compiled.is_some(), !report.has_errors());
    told(&report);
});

fn environment() -> FixedEnvironment {
    let mut environment = FixedEnvironment::default();
    environment.variables.insert("NAME".into(), "value".into());
    environment.variables.insert("PORT".into(), "8080".into());
    for (name, mode) in [("a.key", 0o600), ("open.key", 0o644)] {
        let text = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n".into();
        environment.files.insert(Path::new("/nowhere").join(name), FileContent { text, mode });
    }
    environment
}

/// Each mistake can be shown and found.
fn told(report: &Report) {
    for mistake in &report.mistakes {
        assert!(!mistake.message.is_empty());
        let places = mistake.place.iter().chain(mistake.also.iter().map(|(span, _)| span));
        for span in places {
            assert!(span.start <= span.end && span.end <= report.text.len(), "{mistake:?}");
            assert!(report.text.is_char_boundary(span.start), "{mistake:?}");
            assert!(report.text.is_char_boundary(span.end), "{mistake:?}");
        }
        // What is not there is nowhere.
        let missing = mistake.message == "there is no listener";
        let error = mistake.severity == Severity::Error;
        assert!(
            !error || missing || mistake.place.is_some(),
            "an error without a place: {mistake:?} in {}",
            report.text
        );
    }
    let json = report.to_json();
    let list = json.as_array().expect("an array");
    assert_eq!(list.len(), report.mistakes.len());
    let lines = report.text.split('\n').count() as u64;
    for one in list {
        let (line, column) = (one["line"].as_u64(), one["column"].as_u64());
        assert!(line.is_none_or(|line| (1..=lines).contains(&line)), "{one}");
        assert!(column.is_none_or(|column| column >= 1), "{one}");
    }
    for color in [false, true] {
        let text = report.render(color);
        // What steers a terminal is drawn otherwise.
        let plain = |text: &&str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        let first = report.mistakes.first().map(|first| &*first.message).filter(plain);
        assert!(color || first.is_none_or(|first| text.contains(first)), "{first:?}: {text}");
    }
}
