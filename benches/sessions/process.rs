//! The program that is measured: its file, its pages, and what the kernel knows of it.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ostler::admin::view;
use tempfile::TempDir;

use super::visitors::{BACKENDS, POOL};

/// How long an admin page may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long it may take to start.
const START: Duration = Duration::from_secs(20);

/// One Ostler in a folder of its own; both end with this.
pub(super) struct Ostler {
    child: Child,
    folder: TempDir,
    backends: Vec<SocketAddr>,
    /// Where it listens.
    pub(super) web: SocketAddr,
    metrics: SocketAddr,
}

/// What it says of one backend's sessions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    /// `ostler_backend_sessions`.
    pub(super) sessions: u32,
    /// Whether it says that this is a count, and not an estimate.
    pub(super) exact: bool,
    /// Whether it says that nobody is left.
    pub(super) empty: bool,
}

impl Ostler {
    /// Starts it before these backends, with this session key. `idle`: as the file has it.
    pub(super) fn start(backends: Vec<SocketAddr>, key: &[u8; 32], idle: &str) -> Result<Self> {
        let folder = tempfile::tempdir().context("no folder")?;
        let mut private = fs::OpenOptions::new();
        let mut file =
            private.write(true).create_new(true).mode(0o600).open(folder.path().join("key"))?;
        writeln!(file, "{}", STANDARD.encode(key))?;
        fs::create_dir(folder.path().join("state"))?;
        write_file(folder.path(), &backends, idle)?;
        let said = fs::File::create(folder.path().join("said"))?;
        let program = program();
        let child = Command::new(&program)
            .args(["run", "-c", "ostler.toml"])
            .current_dir(folder.path())
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said)
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut ostler = Self { child, folder, backends, web: nowhere, metrics: nowhere };
        let began = Instant::now();
        while !ostler.is_ready()? {
            ensure!(began.elapsed() < START, "it does not start: {}", ostler.said());
            pause(Duration::from_millis(50));
        }
        Ok(ostler)
    }

    /// Learns where it listens; false while it does not.
    fn is_ready(&mut self) -> Result<bool> {
        if let Some(status) = self.child.try_wait()? {
            bail!("ostler has ended with {status}: {}", self.said());
        }
        let Ok(text) = self.ask("GET", "status", "") else { return Ok(false) };
        let status: view::Status = serde_json::from_str(&text)?;
        let web = status.listeners.first().and_then(|one| one.bound.first().copied());
        let (Some(web), Some(metrics)) = (web, status.metrics.bound) else { return Ok(false) };
        (self.web, self.metrics) = (web, metrics);
        Ok(true)
    }

    /// Gives it a file with another idle time.
    pub(super) fn set_idle(&self, idle: &str) -> Result<()> {
        write_file(self.folder.path(), &self.backends, idle)?;
        self.ask("POST", "reload", "").map(drop)
    }

    /// Drains a backend of the pool, without a deadline.
    pub(super) fn drain(&self, backend: &str) -> Result<()> {
        let page = format!("pools/{POOL}/backends/{backend}");
        self.ask("PATCH", &page, r#"{"state": "drain", "deadline": "none"}"#).map(drop)
    }

    /// What it says of each backend's sessions.
    pub(super) fn told(&self) -> Result<Vec<Told>> {
        let shown: view::Sessions = serde_json::from_str(&self.ask("GET", "sessions", "")?)?;
        let stream = TcpStream::connect(self.metrics)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let metrics = exchange(stream, "GET /metrics", "")?;
        let pool = shown.pools.first().context("no pool is shown")?;
        let each = BACKENDS.iter().map(|id| {
            let of_it = pool.backends.iter().find(|backend| backend.id == *id);
            let of_it = of_it.context("a backend is not shown")?;
            let series = format!("ostler_backend_sessions{{pool=\"{POOL}\",backend=\"{id}\"}} ");
            let value = metrics.lines().find_map(|line| line.strip_prefix(&series));
            let sessions = value.context("a backend without a gauge")?.parse()?;
            Ok(Told { sessions, exact: of_it.exact, empty: of_it.empty })
        });
        each.collect()
    }

    /// Nanoseconds that its threads have spent on a CPU.
    pub(super) fn busy(&self) -> Result<u64> {
        let mut busy = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // A thread may end meanwhile.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            let spent = text.split_whitespace().next().and_then(|word| word.parse().ok());
            busy += spent.unwrap_or(0_u64);
        }
        Ok(busy)
    }

    /// Its resident memory, in KiB.
    pub(super) fn memory(&self) -> Result<u32> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(kib.context("no resident memory is told")?.parse()?)
    }

    /// The end of what it has said.
    pub(super) fn said(&self) -> String {
        let said = fs::read_to_string(self.folder.path().join("said")).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        lines.get(lines.len().saturating_sub(5)..).unwrap_or_default().join(" | ")
    }

    fn ask(&self, method: &str, page: &str, body: &str) -> Result<String> {
        let stream = UnixStream::connect(self.folder.path().join("admin.sock"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        exchange(stream, &format!("{method} /api/v1/{page}"), body)
    }
}

impl Drop for Ostler {
    fn drop(&mut self) {
        // It may have ended by itself, and there is nobody to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is measured: `$OSTLER`, else what Cargo has built beside this.
pub(super) fn program() -> PathBuf {
    std::env::var_os("OSTLER").map_or_else(|| env!("CARGO_BIN_EXE_ostler").into(), PathBuf::from)
}

/// Waits, for something that another process does by the clock.
#[expect(
    clippy::disallowed_methods,
    reason = "there is no runtime here that could go on meanwhile"
)]
pub(super) fn pause(time: Duration) {
    std::thread::sleep(time);
}

fn write_file(folder: &Path, backends: &[SocketAddr], idle: &str) -> Result<()> {
    let backends = BACKENDS.iter().zip(backends);
    let backends = backends.map(|(id, at)| format!("  {{ id = \"{id}\", address = \"{at}\" }},"));
    let backends = backends.collect::<Vec<_>>().join("\n");
    let text = format!(
        "[admin]\nsocket = \"admin.sock\"\n\n\
         [metrics]\nbind = \"127.0.0.1:0\"\n\n\
         [runtime]\nstate_dir = \"state\"\n\n\
         [sessions]\nkeys = [\"${{file:key}}\"]\n\n\
         [log]\naccess = \"off\"\n\n\
         [listeners.web]\nbind = [\"127.0.0.1:0\"]\ntimeouts.idle = \"10m\"\n\n\
         [[routes]]\npool = \"{POOL}\"\n\n\
         [pools.{POOL}]\nbackends = [\n{backends}\n]\n\
         sticky = {{ by = \"cookie\", idle = \"{idle}\" }}\n"
    );
    fs::write(folder.join("ostler.toml"), text).context("the file cannot be written")
}

/// One request and the body of its answer, which must be a 200.
fn exchange(mut stream: impl Read + Write, what: &str, body: &str) -> Result<String> {
    let length = body.len();
    write!(
        stream,
        "{what} HTTP/1.1\r\nHost: ostler\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer breaks off")?;
    let status = head.lines().next().unwrap_or_default();
    ensure!(status.starts_with("HTTP/1.1 200"), "{what} was answered with {status}: {body}");
    Ok(body.to_owned())
}
