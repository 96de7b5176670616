//! A running `ostler run` in a folder of its own.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{Config, Door, Output, Raw, SOON, ostler_in, pki, within};

/// The process, its folder and what it has said.
pub(crate) struct Proxy {
    child: Child,
    directory: Arc<TempDir>,
    config: Config,
    said: Arc<Mutex<Vec<String>>>,
    listeners: BTreeMap<String, Vec<SocketAddr>>,
    metrics: Option<SocketAddr>,
}

impl Proxy {
    /// Writes the file, starts the process and waits until it serves.
    pub(crate) async fn start(config: Config) -> Self {
        Self::start_in(Arc::new(TempDir::new().unwrap()), config).await
    }

    /// The same in a folder that may have a past.
    pub(crate) async fn start_in(directory: Arc<TempDir>, config: Config) -> Self {
        if !directory.path().join("site.crt").exists() {
            pki::issue(directory.path(), "site", &["localhost", "127.0.0.1"]);
            pki::issue(directory.path(), "other", &["other.test"]);
        }
        for folder in ["state", "maintenance"] {
            std::fs::create_dir_all(directory.path().join(folder)).unwrap();
        }
        std::fs::write(directory.path().join("ostler.toml"), config.render(directory.path()))
            .unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_ostler"))
            .args(["run", "-c", "ostler.toml"])
            .current_dir(directory.path())
            .env("OSTLER_SOCKET", directory.path().join("admin.sock"))
            .env("NO_COLOR", "1")
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        listen(child.stdout.take(), &said);
        listen(child.stderr.take(), &said);
        let (listeners, metrics) = (BTreeMap::new(), None);
        let mut proxy = Self { child, directory, config, said, listeners, metrics };
        proxy.ready().await;
        proxy
    }

    async fn ready(&mut self) {
        within(SOON, "a process that serves", async || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended with {ended:?} and said:\n{}", self.said());
            self.refresh().await.then_some(())
        })
        .await;
    }

    /// Reads the bound addresses anew; false while the process does not answer.
    async fn refresh(&mut self) -> bool {
        let output = self.command(&["status", "--json"]).await;
        let Ok(status) = serde_json::from_str::<Value>(&output.stdout) else { return false };
        let addresses = |value: &Value| -> Vec<SocketAddr> {
            let bound = value["bound"].as_array().into_iter().flatten();
            bound.filter_map(|text| text.as_str()?.parse().ok()).collect()
        };
        self.listeners = status["listeners"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|each| Some((each["name"].as_str()?.to_owned(), addresses(each))))
            .collect();
        self.metrics = status["metrics"]["bound"].as_str().and_then(|text| text.parse().ok());
        !self.listeners.is_empty() && self.listeners.values().all(|bound| !bound.is_empty())
    }

    /// `ostler WORDS --socket …` against this process.
    pub(crate) async fn command(&self, words: &[&str]) -> Output {
        let socket = self.path("admin.sock").display().to_string();
        let words: Vec<&str> = words.iter().copied().chain(["--socket", &socket]).collect();
        ostler_in(self.directory.path(), &words).await
    }

    /// `ostler status --json`.
    pub(crate) async fn status(&self) -> Value {
        let output = self.command(&["status", "--json"]).await.expect(0);
        serde_json::from_str(&output.stdout).unwrap()
    }

    /// Replaces the file, in one rename, without asking anyone to read it.
    pub(crate) fn rewrite(&mut self, config: Config) {
        self.config = config;
        self.rewrite_raw(&self.config.render(self.directory.path()));
    }

    /// Replaces the file by a text.
    pub(crate) fn rewrite_raw(&self, text: &str) {
        std::fs::write(self.path("next.toml"), text).unwrap();
        std::fs::rename(self.path("next.toml"), self.path("ostler.toml")).unwrap();
    }

    /// `ostler reload`, whatever comes of it.
    pub(crate) async fn reload(&mut self) -> Output {
        let output = self.command(&["reload"]).await;
        self.refresh().await;
        output
    }

    /// Replaces the file and makes it hold.
    pub(crate) async fn apply(&mut self, config: Config) {
        self.rewrite(config);
        self.reload().await.expect(0);
    }

    /// The first address of a listener.
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        let bound = self.listeners.get(listener).and_then(|bound| bound.first());
        *bound.unwrap_or_else(|| panic!("no listener {listener} in {:?}", self.listeners))
    }

    /// Whether a listener is bound.
    pub(crate) fn has_listener(&self, listener: &str) -> bool {
        self.listeners.contains_key(listener)
    }

    /// A door in plain HTTP/1.1.
    pub(crate) fn door(&self) -> Door {
        Door::plain(self.address("http"))
    }

    /// A door in TLS with one protocol.
    pub(crate) fn secure(&self, protocol: &str) -> Door {
        Door::tls(self.address("web"), protocol)
    }

    /// A socket without any client library.
    pub(crate) async fn raw(&self) -> Raw {
        Raw::connect(self.address("http")).await
    }

    /// The text at a path of the metrics listener, and its status.
    pub(crate) async fn probe(&self, path: &str) -> (u16, String) {
        let door = Door::plain(self.metrics.unwrap());
        let answer = door.get(path).await;
        (answer.status, answer.text())
    }

    /// The sum of the samples of a family whose labels hold all these pieces.
    pub(crate) async fn metric(&self, family: &str, labels: &[&str]) -> f64 {
        let (_, text) = self.probe("/metrics").await;
        text.lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(family))
            .filter(|line| labels.iter().all(|label| line.contains(label)))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum()
    }

    /// A file of the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The folder, which lives as long as anyone holds it.
    pub(crate) fn directory(&self) -> Arc<TempDir> {
        Arc::clone(&self.directory)
    }

    /// The text of the running file.
    pub(crate) fn file(&self) -> String {
        std::fs::read_to_string(self.path("ostler.toml")).unwrap()
    }

    /// Both streams so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().join("\n")
    }

    /// Access log lines so far.
    pub(crate) fn log(&self) -> Vec<Value> {
        let said = self.said.lock().unwrap();
        let lines = said.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["t_total"].is_number() && line["status"].is_number()).collect()
    }

    /// Waits for the access log line of a path.
    pub(crate) async fn logged(&self, path: &str) -> Value {
        within(SOON, &format!("an access log line of {path}"), async || {
            let named = |line: &Value| line["path"].as_str().is_some_and(|it| it.starts_with(path));
            self.log().into_iter().rfind(named)
        })
        .await
    }

    /// Waits for an access log line of a path that has this word under this key.
    pub(crate) async fn tells(&self, path: &str, key: &str, word: &str) -> Value {
        within(SOON, &format!("{key} = {word} in the access log of {path}"), async || {
            let named = |line: &Value| line["path"].as_str().is_some_and(|it| it.starts_with(path));
            self.log().into_iter().find(|line| named(line) && line[key] == word)
        })
        .await
    }

    /// Waits until something was said.
    pub(crate) async fn hears(&self, text: &str) {
        within(SOON, &format!("{text:?} in its output"), async || {
            self.said().contains(text).then_some(())
        })
        .await;
    }

    /// Waits until `ostler_backend_up` of a backend is this.
    pub(crate) async fn verdict(&self, backend: &str, up: bool) {
        let label = format!("backend=\"{backend}\"");
        let wanted = f64::from(u8::from(up));
        within(SOON, &format!("{backend} to be up={up}"), async || {
            let now = self.metric("ostler_backend_up", &[&label]).await;
            ((now - wanted).abs() < 0.5).then_some(())
        })
        .await;
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        within(SOON, "the end of the process", async || self.child.try_wait().unwrap()).await
    }

    /// SIGTERM, and its end.
    pub(crate) async fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended().await
    }

    /// Ends it and starts another in the same folder with the same file.
    pub(crate) async fn restart(mut self) -> Self {
        assert!(self.stop().await.success(), "it said:\n{}", self.said());
        Self::start_in(self.directory(), self.config.clone()).await
    }

    /// The process and its folder, for commands that need both.
    pub(crate) fn folder(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- ostler said:\n{}\n---", self.said());
        }
    }
}

fn listen(stream: Option<impl Read + Send + 'static>, said: &Arc<Mutex<Vec<String>>>) {
    let Some(stream) = stream else { return };
    let said = Arc::clone(said);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            said.lock().unwrap().push(line);
        }
    });
}
