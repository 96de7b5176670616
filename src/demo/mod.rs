//! The demo: backends of its own, a certificate, and a configuration, served like any other.

mod backends;
mod certificate;
mod page;
mod plan;
pub mod ports;

use std::env;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::admin::facts::Facts;
use crate::admin::socket;
use crate::admin::view::Status;
use crate::app::{self, Source, Start};
use crate::config::defaults::METRICS_BIND;
use certificate::Files;
use plan::Plan;

const HTTPS: &str = "127.0.0.1:8443";
const HTTP: &str = "127.0.0.1:8080";

/// Serves the demo until it is stopped. Writes nothing but its certificate.
///
/// # Errors
/// Where the certificate cannot be made, or the configuration cannot be served.
pub fn serve(count: u16, named_socket: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let files = certificate::files().context("the demo's certificate")?;
    let https = ports::free(HTTPS, &[])?;
    let http = ports::free(HTTP, &[https])?;
    let metrics = ports::free(METRICS_BIND, &[https, http])?;
    let socket = named_socket.or_else(socket::of_environment).or_else(socket::beside_a_running_one);
    let more = after_a_few_requests(socket.as_ref());
    let backends = backends::start(count, more).context("the demo's backends")?;
    let plan =
        Plan { https, http, metrics, cert: files.cert.clone(), key: files.key.clone(), backends };
    let text = plan.text();
    let greeting = greeting(&plan, &files, socket.as_ref());
    let ready = move |_: &Facts| say(&greeting);
    let source = Source::Text { path: PathBuf::from("(ostler demo)"), text };
    app::serve(Start { source, socket, ready: Some(Box::new(ready)) })
}

/// The demo's configuration: that of the demo that runs, else of one that would.
///
/// # Errors
/// Never by what is asked; an address of the default ports that makes no sense is ours.
pub fn configuration(count: u16, running: Option<&Status>) -> anyhow::Result<String> {
    match running.and_then(Plan::of) {
        Some(plan) => Ok(plan.text()),
        None => Ok(format!(
            "# Nothing listens at the addresses of these backends yet: write in your own.\n{}",
            Plan::imagined(count)?.text()
        )),
    }
}

/// The first lines: what to try, and what is not as it usually is.
fn greeting(plan: &Plan, files: &Files, socket: Option<&PathBuf>) -> String {
    let cert = quoted(&files.cert.display().to_string());
    let jar = quoted(&env::temp_dir().join("ostler-jar").display().to_string());
    let (port, http, metrics) = (plan.https.port(), plan.http, plan.metrics);
    let mut text = format!(
        "Ostler's demo: {} backends behind one door. Try, in another terminal:\n\n  \
         curl --cacert {cert} https://localhost:{port}/\n  \
         curl --cacert {cert} -c {jar} -b {jar} https://localhost:{port}/\n  \
         curl -s http://{metrics}/metrics\n\n\
         The first goes from backend to backend, the second stays where it began, the third\n\
         counts. Without TLS: http://{http}/  Status: {}\n",
        plan.backends.len(),
        command("status", socket),
    );
    for (what, wanted, got) in
        [("HTTPS", HTTPS, plan.https), ("HTTP", HTTP, http), ("metrics", METRICS_BIND, metrics)]
    {
        if wanted != got.to_string() {
            let _ = writeln!(text, "{wanted} is taken: {what} is on {got}.");
        }
    }
    if files.made {
        let _ = writeln!(text, "Its development certificate was made: {cert}");
    }
    text.push_str("Ctrl-C ends it.\n");
    text
}

/// What is said once somebody has tried it.
fn after_a_few_requests(socket: Option<&PathBuf>) -> impl FnOnce() + Send + 'static {
    let command = command("demo --print", socket);
    move || say(&format!("\nThis is its configuration, to start yours from: {command}\n"))
}

/// A command to this program as it was called.
fn command(words: &str, socket: Option<&PathBuf>) -> String {
    let program = env::args().next().unwrap_or_else(|| "ostler".to_owned());
    let socket = socket.map_or_else(String::new, |path| {
        format!(" --socket {}", quoted(&path.display().to_string()))
    });
    format!("{} {words}{socket}", quoted(&program))
}

/// As a shell takes it back whole.
fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@,=".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn say(text: &str) {
    // Whoever closed standard output does not want to read it; the demo serves all the same.
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greeting_has_three_commands_and_names_ports_that_were_replaced() {
        let mut plan = Plan::imagined(3).unwrap();
        plan.http.set_port(8_085);
        let path = PathBuf::from("certs/dev.crt");
        let files = Files { cert: path.clone(), key: path, made: true };
        let text = greeting(&plan, &files, None);
        let commands: Vec<&str> =
            text.lines().map(str::trim).filter(|line| line.starts_with("curl ")).collect();
        assert_eq!(commands.len(), 3);
        assert_eq!(commands[0], "curl --cacert certs/dev.crt https://localhost:8443/");
        assert!(commands[1].contains(" -c ") && commands[1].contains(" -b "));
        assert!(text.contains("127.0.0.1:8080 is taken: HTTP is on 127.0.0.1:8085"), "{text}");
        assert!(!text.contains("127.0.0.1:8443 is taken"));
    }

    #[test]
    fn what_a_shell_would_take_apart_is_quoted() {
        assert_eq!(quoted("certs/dev.crt"), "certs/dev.crt");
        assert_eq!(quoted("my certs/it's"), r"'my certs/it'\''s'");
    }
}
