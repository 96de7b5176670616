//! `ostler check`: everything that a reload would do but the swap.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use crate::admin::view::Status;
use crate::config::model::SecretKey;
use crate::config::{self, Loaded, Model, ProcessEnvironment, Report, Severity};
use crate::control;
use crate::snapshot::compile::{Inputs, compile};
use crate::snapshot::registry::Registry;
use crate::snapshot::{self, Snapshot};
use crate::tls::server::Resumption;

use super::args::{Check, Format};
use super::client::{Places, block_on};
use super::connect;
use super::fail::{Fail, REFUSED};
use super::ports::{self, Running};
use super::{find, out};

/// Checks a file and tells all that is wrong with it.
///
/// # Errors
/// Where it cannot even be tried; mistakes of the file are told and make the exit code.
pub(super) fn check(
    check: &Check,
    file: Option<&Path>,
    socket: Option<&Path>,
) -> Result<ExitCode, Fail> {
    let path = find::configuration(file)?;
    let loaded = match config::load(&path, &ProcessEnvironment, &snapshot::files::look) {
        Ok(loaded) => loaded,
        Err(report) => {
            tell(&report, check.format)?;
            return Ok(ExitCode::from(REFUSED));
        }
    };
    let running = running(&Places::new(socket, file, Some(&path)));
    let (report, snapshot) = try_out(&loaded, &running)?;
    let Some(snapshot) = snapshot.filter(|_| !report.has_errors()) else {
        tell(&report, check.format)?;
        return Ok(ExitCode::from(REFUSED));
    };
    tell(&report, check.format)?;
    let dialled = if check.connect { dial(&loaded, &snapshot)? } else { Vec::new() };
    match check.format {
        _ if check.effective => out::print(&config::effective(&loaded))?,
        Format::Text => out::print(&summary(&report.name, &loaded.model))?,
        Format::Json => {}
    }
    if check.connect {
        let table = connect::table(&dialled);
        // Where standard output holds something to be read by a program, this goes beside it.
        if check.effective || check.format == Format::Json {
            out::note(&table);
        } else {
            out::print(&table)?;
        }
    }
    let all = dialled.iter().all(connect::Dialled::connected);
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
}

/// What a reload would do after reading: certificates, keys, tables, sockets. Nothing of it stays.
fn try_out(loaded: &Loaded, running: &Running) -> Result<(Report, Option<Arc<Snapshot>>), Fail> {
    let (mut report, compiled) = compiled(&loaded.model, loaded.report())?;
    ports::try_all(&loaded.model, running, &mut report);
    control::look_at_next_start(&loaded.model, None, &mut report);
    report.sort();
    Ok((report, compiled))
}

fn compiled(model: &Model, mut report: Report) -> Result<(Report, Option<Arc<Snapshot>>), Fail> {
    let resumption = Resumption::new().map_err(anyhow::Error::from)?;
    let mut registry = Registry::new(1, resumption);
    // Stands in for the keys that a process makes and keeps; it seals nothing.
    let made_keys = [SecretKey([0; 32])];
    let inputs = Inputs { model, made_keys: &made_keys, generation: 1, ghosts: &[], again: None };
    let compiled = compile(inputs, &mut registry, &mut report);
    Ok((report, compiled.map(|compiled| compiled.snapshot)))
}

/// Dials every backend, those too that DNS tells now.
fn dial(loaded: &Loaded, snapshot: &Snapshot) -> Result<Vec<connect::Dialled>, Fail> {
    let servers = &loaded.model.runtime.resolvers;
    let mut backends = loaded.model.pools.iter().flat_map(|pool| &pool.backends);
    if !backends.any(|backend| backend.discover.is_some()) {
        return block_on(connect::all(snapshot, servers));
    }
    let (model, failed) = block_on(control::expanded(&loaded.model))?;
    let (_, expanded) = compiled(&model, loaded.report())?;
    let mut dialled = block_on(connect::all(expanded.as_deref().unwrap_or(snapshot), servers))?;
    dialled.extend(failed.into_iter().map(connect::Dialled::unanswered));
    Ok(dialled)
}

/// Asks the running process, if there is one, which addresses are its own.
fn running(places: &Places) -> Running {
    match places.get::<Status>("status") {
        Ok(status) => {
            let bound = status.listeners.into_iter().flat_map(|one| one.bound);
            let api = status.admin.bound.into_iter();
            Running::Owns(bound.chain(api).chain(status.metrics.bound).collect())
        }
        Err(Fail::NoProcess(_)) => Running::Nobody,
        Err(_) => Running::Silent,
    }
}

/// Mistakes as text go to standard error, as an array of objects to standard output.
fn tell(report: &Report, format: Format) -> Result<(), Fail> {
    if format == Format::Json {
        return out::json(&report.to_json());
    }
    if report.mistakes.is_empty() {
        return Ok(());
    }
    let count = |severity| report.mistakes.iter().filter(|one| one.severity == severity).count();
    let mut text = report.render(color());
    let _ = writeln!(
        text,
        "\n{}: {}, {}",
        report.name,
        counted(count(Severity::Error), "mistake"),
        counted(count(Severity::Warning), "warning")
    );
    out::note(&text);
    Ok(())
}

fn color() -> bool {
    use std::io::IsTerminal as _;
    std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// What a file without mistakes holds, and by which keys sessions are sealed.
fn summary(name: &str, model: &Model) -> String {
    let backends = model.pools.iter().map(|pool| pool.backends.len()).sum();
    let mut text = format!(
        "{name} holds: {}, {}, {}, {}\n",
        counted(model.listeners.len(), "listener"),
        counted(model.routes.len(), "route"),
        counted(model.pools.len(), "pool"),
        counted(backends, "backend"),
    );
    let sticky = || model.pools.iter().filter_map(|pool| Some((pool, pool.sticky.as_ref()?)));
    if sticky().any(|(_, sticky)| sticky.keys.is_none()) {
        let _ = writeln!(text, "session keys: {}", key_ids(&model.sessions.keys));
    }
    for (pool, sticky) in sticky() {
        if let Some(keys) = &sticky.keys {
            let _ = writeln!(text, "session keys of {}: {}", &*pool.name.value, key_ids(keys));
        }
    }
    text
}

/// Ids of keys, by which nodes that share them can be compared; they give nothing away.
fn key_ids(keys: &[SecretKey]) -> String {
    if keys.is_empty() {
        return "made by the process and kept in its state_dir".to_owned();
    }
    let ids: Vec<String> = keys.iter().map(|key| format!("{:02x}", config::key_id(key))).collect();
    format!("{} (the first seals, all open)", ids.join(" "))
}

fn counted(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use crate::config::FixedEnvironment;

    use super::*;

    const FILE: &str = "[metrics]\nbind = \"none\"\n\
        [listeners.web]\nbind = [\"127.0.0.1:0\"]\n[[routes]]\npool = \"app\"\n\
        [pools.app]\nbackends = [{ id = \"a\", address = \"127.0.0.1:9\" }]\n\
        sticky.by = \"cookie\"\n";

    fn loaded(text: &str) -> Loaded {
        config::parse(text, Path::new("/x/ostler.toml"), &FixedEnvironment::default()).unwrap()
    }

    #[test]
    fn a_file_that_holds_is_summed_up_with_its_key_ids() {
        let key = "00".repeat(32);
        let text = format!("[sessions]\nkeys = [\"{key}\"]\n{FILE}");
        let text = summary("ostler.toml", &loaded(&text).model);
        assert!(text.contains("1 listener, 1 route, 1 pool, 1 backend"), "{text}");
        assert!(text.contains("session keys: 66 (") && !text.contains(&key), "{text}");
        assert!(summary("x", &loaded(FILE).model).contains("kept in its state_dir"));
    }

    #[test]
    fn what_can_only_fail_later_is_tried_too() {
        let text = format!(
            "{FILE}[listeners.tls]\nbind = [\"127.0.0.1:0\"]\n\
            tls.certificates = [{{ cert = \"no.crt\", key = \"no.key\" }}]\n"
        );
        let (report, _) = try_out(&loaded(&text), &Running::Nobody).unwrap();
        assert!(report.has_errors() && report.render(false).contains("no.crt"), "{report}");
        let (report, snapshot) = try_out(&loaded(FILE), &Running::Nobody).unwrap();
        assert!(!report.has_errors() && snapshot.is_some());
    }
}
