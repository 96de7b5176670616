//! Commands: what is typed, which room does it, what is printed, and the exit code.

mod args;
mod check;
mod client;
mod connect;
mod drain;
mod explain;
mod fail;
mod failback;
mod find;
mod keygen;
mod later;
mod marks;
mod out;
mod ports;
mod probe;
mod proxy;
mod ready;
mod reload;
mod run;
mod sessions;
mod status;
mod token;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use clap::Parser as _;

use crate::event::MarkAction;
use args::{Arguments, Command, Demo};
use client::Places;
use fail::Fail;

/// Does what the command line says. Exit codes: 0 done, 1 refused or the file is wrong, 2 usage,
/// 3 no running process, 4 `drain --strict` and someone was moved.
pub fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    match Arguments::try_parse_from(&words) {
        Ok(arguments) => dispatch(arguments).unwrap_or_else(|fail| fail.report()),
        Err(error) => later::report(&error, &words),
    }
}

fn dispatch(arguments: Arguments) -> Result<ExitCode, Fail> {
    let Arguments { command, config, socket } = arguments;
    let file = config.as_deref();
    let named = socket.clone();
    let places = || {
        let found = find::found().filter(|_| config.is_none());
        let doubt = find::doubt(config.as_deref(), named.is_some());
        Places::new(named.as_deref(), config.as_deref(), found.as_deref()).doubted(doubt)
    };
    let Some(command) = command else {
        return if file.is_none() && find::found().is_none() && is_for_people() {
            run::demo(&Demo { backends: 3, print: false }, socket, &places())
        } else {
            run::run(file, socket)
        };
    };
    match command {
        Command::Demo(demo) => run::demo(&demo, socket, &places()),
        Command::Proxy(proxy) => proxy::proxy(&proxy, socket),
        Command::Run => run::run(file, socket),
        Command::Check(check) => check::check(&check, file, socket.as_deref()),
        Command::Reload(table) => done(reload::reload(&places(), table.json)),
        Command::Stop => done(reload::stop(&places())),
        Command::Status(status) if status.check => Ok(status::check(&places())),
        Command::Status(status) => done(status::status(&places(), status.json)),
        Command::Drain(drain) => drain::drain(&places(), &drain),
        Command::Ready(ready) => done(ready::ready(&places(), &ready)),
        Command::Maint(mark) => done(marks::mark(&places(), &mark, MarkAction::Maint)),
        Command::Unmark(mark) => done(marks::mark(&places(), &mark, MarkAction::Unmark)),
        Command::Weight(weight) => done(marks::weight(&places(), &weight)),
        Command::Failback(one) => done(failback::failback(&places(), &one)),
        Command::Sessions(one) => done(sessions::sessions(&places(), &one)),
        Command::Token(one) => done(token::token(&places(), &one)),
        Command::Explain(one) => done(explain::explain(&places(), &one)),
        Command::Probe(one) => probe::probe(&places(), &one),
        Command::Keygen => done(keygen::keygen()),
        Command::Schema => done(out::json(&crate::config::schema())),
    }
}

fn done(end: Result<(), Fail>) -> Result<ExitCode, Fail> {
    end.map(|()| ExitCode::SUCCESS)
}

/// Somebody is looking, and no service manager started us.
fn is_for_people() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_none()
        && io::stdin().is_terminal()
        && io::stdout().is_terminal()
}
