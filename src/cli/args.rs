//! What can be written on the command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// The front door of a web farm: TLS, routing, sessions, health checks.
#[derive(Debug, Parser)]
#[command(name = "ostler", version, max_term_width = 80, after_help = AFTER_HELP)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    /// The configuration file [./ostler.toml, then /etc/ostler/ostler.toml; as root the latter]
    #[arg(short = 'c', long = "config", value_name = "FILE", global = true)]
    pub(super) config: Option<PathBuf>,
    /// The socket of the running process [that of -c FILE, `OSTLER_SOCKET`, that of the file
    /// that is found, the default places]
    #[arg(long, value_name = "PATH", global = true)]
    pub(super) socket: Option<PathBuf>,
}

const AFTER_HELP: &str = "Without a command: the demo on a terminal where no configuration is \
                          found, else `run`.\nExit codes: 0 done, 1 refused or the file is \
                          wrong, 2 usage, 3 no running process, 4 `drain --strict` and \
                          someone was moved.";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve three small backends of its own, with TLS, sessions, checks and metrics
    Demo(Demo),
    /// Serve my application, without a file
    Proxy(Proxy),
    /// Serve a file, in the foreground
    Run,
    /// Do everything that a reload would do but the swap, and tell every mistake
    Check(Check),
    /// Have the running process read its file again
    Reload(Table),
    /// Have the running process drain and end
    Stop,
    /// Tell how the running process is, problems first
    Status(Status),
    /// Mark a backend: the bound may stay for a while, nobody new
    Drain(Drain),
    /// Mark a backend: up, whatever the file says
    Ready(Ready),
    /// Mark a backend: out at once
    Maint(Mark),
    /// Mark a backend: this weight, whatever the file says
    Weight(Weight),
    /// Lift the marks of a backend: back to what the file says
    Unmark(Mark),
    /// Give a pool's lowest usable tier its visitors back, where `failback` holds it back
    Failback(Failback),
    /// Tell the live sessions of each backend, and how drains go
    Sessions(Sessions),
    /// Make a cookie that reaches a backend even in drain or maint, for a look at it
    Token(Token),
    /// Tell where a request would go and why, without sending anything
    Explain(Explain),
    /// Run a backend's check now, and show the whole conversation
    Probe(Probe),
    /// Make a session key
    Keygen,
    /// Print the JSON Schema of the file, for editors
    Schema,
}

#[derive(Debug, Args, Default)]
pub(super) struct Demo {
    /// How many backends
    #[arg(long, value_name = "N", default_value_t = 3,
        value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(super) backends: u16,
    /// Print the demo's configuration instead: of one that runs, else of one that would
    #[arg(long)]
    pub(super) print: bool,
}

#[derive(Debug, Args)]
pub(super) struct Proxy {
    /// Where my application listens: `3000`, `:3000`, `host:3000`, `http://host:3000`
    #[arg(required = true, value_name = "ADDRESS")]
    pub(super) addresses: Vec<String>,
    /// Where to accept, as 8080 (of this machine only) or 0.0.0.0:8080
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080", value_parser = listen)]
    pub(super) listen: SocketAddr,
    /// Print the file that does the same instead
    #[arg(long)]
    pub(super) print: bool,
}

#[derive(Debug, Args)]
pub(super) struct Check {
    /// Also connect to every backend
    #[arg(long)]
    pub(super) connect: bool,
    /// Print the whole file, with defaults, and where each value comes from
    #[arg(long, conflicts_with = "format")]
    pub(super) effective: bool,
    /// How to tell mistakes
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Text,
    /// An array of mistakes
    Json,
}

#[derive(Debug, Args)]
pub(super) struct Table {
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Status {
    /// As a monitoring plug-in: 0 fine, 1 warning, 2 critical or no process, 3 usage
    #[arg(long)]
    pub(super) check: bool,
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Mark {
    /// Which backend
    #[arg(value_name = "POOL/BACKEND", required_unless_present = "address")]
    pub(super) target: Option<String>,
    #[command(flatten)]
    pub(super) options: MarkOptions,
}

#[derive(Debug, Args)]
pub(super) struct Failback {
    /// Which pool
    #[arg(value_name = "POOL")]
    pub(super) pool: String,
    /// Why, for whoever reads the audit log
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What a drain is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum WaitFor {
    /// Until nobody is bound
    Empty,
    /// Until then, or until the deadline has passed and what was under way has ended
    Deadline,
}

#[derive(Debug, Args)]
pub(super) struct Drain {
    #[command(flatten)]
    pub(super) mark: Mark,
    /// When those still bound have to go, as 1h, or none [drain.deadline of the pool]
    #[arg(long, value_name = "TIME")]
    pub(super) deadline: Option<String>,
    /// Move at the next request who was quiet for so long, as 5m
    #[arg(long, value_name = "TIME")]
    pub(super) quiet: Option<String>,
    /// What the deadline does to those still bound
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(super) then: Option<Then>,
    /// What happens to tunnels before the deadline
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(super) tunnels: Option<Tunnels>,
    /// Tell how it goes, and return when nobody is bound any more; with --wait=deadline at the
    /// latest when the deadline has passed and nothing is under way there
    #[arg(
        long,
        value_enum,
        value_name = "FOR",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "empty"
    )]
    pub(super) wait: Option<WaitFor>,
    /// With --wait: exit code 4 where someone had to be moved
    #[arg(long, requires = "wait")]
    pub(super) strict: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Then {
    /// They move at their next request; running exchanges finish
    Move,
    /// Exchanges and tunnels are cut off too
    Cut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Tunnels {
    /// They stay
    Keep,
    /// They are closed, spread over time
    Close,
}

#[derive(Debug, Args)]
pub(super) struct Sessions {
    /// Of this pool only
    #[arg(value_name = "POOL")]
    pub(super) pool: Option<String>,
    /// Of this node only, not of its peers
    #[arg(long)]
    pub(super) this_node: bool,
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Token {
    /// Which backend
    #[arg(value_name = "POOL/BACKEND")]
    pub(super) target: String,
    /// For so long, an hour at most [10m]
    #[arg(long = "for", value_name = "TIME")]
    pub(super) time: Option<String>,
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The method of the request
    #[arg(short = 'X', long = "request", value_name = "METHOD", default_value = "GET")]
    pub(super) method: String,
    /// The whole URL, with scheme and host
    #[arg(value_name = "URL")]
    pub(super) url: String,
    /// A header field of the request
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub(super) headers: Vec<String>,
    /// Whose request it is, for `sources`, `allow` and `deny` [nobody in particular]
    #[arg(long, value_name = "ADDRESS")]
    pub(super) client: Option<IpAddr>,
    /// `-`: the visitor's cookie is read from standard input
    #[arg(long, value_name = "-", allow_hyphen_values = true)]
    pub(super) cookie: Option<String>,
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Probe {
    /// Which backend
    #[arg(value_name = "POOL/BACKEND")]
    pub(super) target: String,
    /// Again once a second until it passes, for so long at the most, as 60s
    #[arg(long, value_name = "TIME")]
    pub(super) retry: Option<String>,
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Ready {
    #[command(flatten)]
    pub(super) mark: Mark,
    /// Return when it takes traffic: when its checks have passed
    #[arg(long)]
    pub(super) wait: bool,
    /// With --wait: exit code 1 where it does not in such a time, as 5m, or none [10m]
    #[arg(long, value_name = "TIME", requires = "wait")]
    pub(super) timeout: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Weight {
    /// Which backend (left out with --address), and its weight
    #[arg(value_names = ["POOL/BACKEND", "N"], num_args = 1..=2, required = true)]
    pub(super) words: Vec<String>,
    #[command(flatten)]
    pub(super) options: MarkOptions,
}

#[derive(Debug, Args)]
pub(super) struct MarkOptions {
    /// In place of POOL/BACKEND: every pool that has this address
    #[arg(long, value_name = "IP[:PORT]")]
    pub(super) address: Option<String>,
    /// Why, for whoever reads the status and the audit log
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
    /// Until then only, as 2h or 30m
    #[arg(long = "for", value_name = "TIME")]
    pub(super) time: Option<String>,
    /// Even where a pool is left without a usable backend
    #[arg(long)]
    pub(super) force: bool,
    /// On this node only, not on its peers
    #[arg(long)]
    pub(super) this_node: bool,
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// `8080` and `:8080` are of this machine only; who wants to be reached from elsewhere says so.
fn listen(text: &str) -> Result<SocketAddr, String> {
    let local = |port: &str| port.parse().map(|port: u16| SocketAddr::from(([127, 0, 0, 1], port)));
    let bare = text.strip_prefix(':').unwrap_or(text);
    local(bare)
        .or_else(|_| local(text.strip_prefix("localhost:").unwrap_or(text)))
        .or_else(|_| text.parse())
        .map_err(|_| "write a port, or an IP address and a port: 8080, 0.0.0.0:8080".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definitions_hold_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_bare_port_listens_on_this_machine_only() {
        for text in ["8080", ":8080", "localhost:8080", "127.0.0.1:8080"] {
            assert_eq!(listen(text), Ok(SocketAddr::from(([127, 0, 0, 1], 8080))), "{text}");
        }
        assert_eq!(listen("[::]:80").unwrap().to_string(), "[::]:80");
        assert!(listen("example.com:80").is_err() && listen("80800").is_err());
    }

    #[test]
    fn the_file_and_the_socket_may_be_named_before_and_after_the_command() {
        for words in [["ostler", "-c", "a.toml", "run"], ["ostler", "run", "-c", "a.toml"]] {
            let arguments = Arguments::try_parse_from(words).unwrap();
            assert_eq!(arguments.config, Some(PathBuf::from("a.toml")));
        }
    }
}
