//! An Ostler in this process between a client and a backend that write down what they see.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ostler::admin::facts::Facts;
use ostler::app::{self, Source, Start};
use serde_json::Value;

use crate::reader::{self, Unread};

/// What is waited for comes within this time, or it is a finding. The machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Locks, whoever panicked.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A line of the access log.
#[derive(Debug, Clone)]
pub struct Line {
    /// The listener's name before it: two of a client's sockets may have the same port.
    pub peer: String,
    pub id: String,
    pub method: String,
    /// Path and query.
    pub target: String,
    pub host: String,
    pub status: u64,
    pub reason: String,
    pub attempts: u64,
    pub bytes_in: u64,
    pub protocol: String,
    /// Its number in the log.
    pub place: usize,
}

impl Line {
    fn of(place: usize, text: &str) -> Self {
        let line: Value = serde_json::from_str(text)
            .unwrap_or_else(|error| panic!("a line of the log is no JSON: {error}: {text}"));
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let number = |key: &str| line[key].as_u64().unwrap_or_default();
        let query = line["query"].as_str().map(|query| format!("?{query}")).unwrap_or_default();
        Self {
            peer: text("listener") + " " + &text("peer"),
            id: text("request_id"),
            method: text("method"),
            target: text("path") + &query,
            host: text("host"),
            status: number("status"),
            reason: text("reason"),
            attempts: number("attempts"),
            bytes_in: number("bytes_in"),
            protocol: text("protocol"),
            place,
        }
    }

    /// Whether a backend was to get it.
    pub fn forwarded(&self) -> bool {
        self.attempts > 0
    }

    /// Whether nothing went wrong with it.
    pub fn well(&self) -> bool {
        self.reason == "none" || self.reason == "backend_status"
    }
}

/// A request as the backend has read it.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub id: String,
    pub method: String,
    pub target: String,
    /// Names in lower case.
    pub fields: Vec<(String, Vec<u8>)>,
    /// None while it is not whole.
    pub body: Option<Vec<u8>>,
}

impl Seen {
    fn of(request: &reader::Request<'_>) -> Self {
        let fields = request.fields.iter().map(|(name, value)| {
            (String::from_utf8_lossy(name).to_ascii_lowercase(), value.to_vec())
        });
        let mut seen = Self {
            id: String::new(),
            method: shown(request.method),
            target: shown(request.target),
            fields: fields.collect(),
            body: None,
        };
        seen.id = seen.one("x-request-id").map(shown).unwrap_or_default();
        seen
    }

    /// All values of a field.
    pub fn all(&self, name: &str) -> Vec<&[u8]> {
        let same = self.fields.iter().filter(|(other, _)| other == name);
        same.map(|(_, value)| &**value).collect()
    }

    /// The only value of a field.
    pub fn one(&self, name: &str) -> Option<&[u8]> {
        match &*self.all(name) {
            [value] => Some(value),
            _ => None,
        }
    }
}

/// Bytes as the log writes them: a byte that belongs to no character is that of its number.
pub fn shown(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| char::from(*byte)));
    }
    text
}

/// What a backend says to a request, and whether it hears of another one afterwards.
pub type Answer = Box<dyn Fn(&Seen) -> (Vec<u8>, After) + Send + Sync>;

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// It is read on.
    Keep,
    /// It is ended.
    Close,
    /// It is a tunnel, whose bytes come back.
    Tunnel,
}

/// The Ostler and its surroundings.
pub struct Farm {
    /// Of the listener of HTTP/1.
    pub http1: SocketAddr,
    /// Of the one of HTTP/2 without TLS.
    pub http2: SocketAddr,
    /// Lines of the log, as they come.
    pub lines: Arc<Mutex<Vec<Line>>>,
    /// What the backend has seen, as it comes.
    pub seen: Arc<Mutex<Vec<Seen>>>,
    /// What the backend was sent and cannot read.
    pub faults: Arc<Mutex<Vec<String>>>,
}

impl Farm {
    /// Starts all of it. The process serves until it ends.
    pub fn start(answer: Answer) -> Self {
        let folder = folder();
        let lines = Arc::<Mutex<Vec<Line>>>::default();
        let (seen, faults) = <(Arc<_>, Arc<_>)>::default();
        let backend = backend(Arc::new(answer), Arc::clone(&seen), Arc::clone(&faults));
        let log = folder.join("access.log");
        rustix::fs::mkfifoat(
            rustix::fs::CWD,
            &log,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        )
        .expect("a pipe for the log");
        let (pipe, into) = (log.clone(), Arc::clone(&lines));
        std::thread::spawn(move || {
            let pipe = BufReader::new(File::open(pipe).expect("the log's pipe"));
            for (place, line) in pipe.lines().enumerate() {
                let line = Line::of(place, &line.expect("a line of the log"));
                lock(&into).push(line);
            }
        });
        let text = text(&log, backend);
        let (ready, bound) = channel();
        let start = Start {
            source: Source::Text { path: "fuzz.toml".into(), text },
            socket: Some(folder.join("admin.sock")),
            ready: Some(Box::new(move |facts: &Facts| {
                let bound = lock(&facts.bound);
                let of = |name: &str| bound.iter().find(|one| one.name == name);
                let address = |name: &str| of(name).expect("a listener").address;
                let _ = ready.send((address("one"), address("two")));
            })),
        };
        std::thread::spawn(|| match app::serve(start) {
            Ok(_) => {}
            Err(error) => {
                eprintln!("Ostler does not start: {error:#}");
                std::process::abort();
            }
        });
        let (http1, http2) = bound.recv_timeout(PATIENCE).expect("Ostler serves");
        // Ostler's own hook only counts them.
        std::panic::set_hook(Box::new(|info| {
            eprintln!("{info}\n{}", std::backtrace::Backtrace::force_capture());
            std::process::abort();
        }));
        Self { http1, http2, lines, seen, faults }
    }
}

fn folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("ostler-fuzz-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn text(log: &std::path::Path, backend: SocketAddr) -> String {
    let key = "2a".repeat(32);
    format!(
        r#"
        [metrics]
        bind = "none"
        [runtime]
        workers = 1
        watch = []
        [sessions]
        keys = ["{key}"]
        [log]
        level = "error"
        to = "{log}"
        query = "keep"
        [listeners.one]
        bind = ["127.0.0.1:0"]
        limits.header_size = "8KiB"
        limits.headers = 40
        [listeners.two]
        bind = ["127.0.0.1:0"]
        protocols = ["h2c"]
        limits.header_size = "8KiB"
        limits.headers = 40
        [[routes]]
        pool = "web"
        timeouts.response_header = "3s"
        timeouts.body = "3s"
        [pools.web]
        backends = [{{ id = "a", address = "{backend}" }}]
        sticky.by = "cookie"
        ejection = "off"
        "#,
        log = log.display()
    )
}

/// A backend that reads strictly.
fn backend(
    answer: Arc<Answer>,
    seen: Arc<Mutex<Vec<Seen>>>,
    faults: Arc<Mutex<Vec<String>>>,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { continue };
            let (answer, seen, faults) =
                (Arc::clone(&answer), Arc::clone(&seen), Arc::clone(&faults));
            std::thread::spawn(move || {
                if let Some(fault) = serve(stream, &answer, &seen) {
                    lock(&faults).push(fault);
                }
            });
        }
    });
    address
}

/// Serves a connection. What it cannot read is told.
fn serve(mut stream: TcpStream, answer: &Answer, seen: &Mutex<Vec<Seen>>) -> Option<String> {
    let _ = stream.set_nodelay(true);
    let mut bytes = Vec::new();
    let mut begun = false;
    loop {
        match look(&bytes) {
            Err(Unread::Short) => {}
            Err(Unread::Wrong(what)) => return Some(fault(what, &bytes)),
            Ok((request, end)) => {
                if !std::mem::replace(&mut begun, true) {
                    lock(seen).push(Seen { body: None, ..request.clone() });
                }
                if let Some(end) = end {
                    note(seen, &request);
                    bytes.drain(..end);
                    begun = false;
                    let (said, after) = answer(&request);
                    if stream.write_all(&said).is_err() {
                        return None;
                    }
                    match after {
                        After::Keep => continue,
                        After::Close => {
                            let _ = stream.shutdown(Shutdown::Write);
                            drain(&mut stream);
                        }
                        After::Tunnel => {
                            let _ = stream.write_all(&bytes);
                            echo(&mut stream);
                        }
                    }
                    return None;
                }
            }
        }
        let mut piece = [0; 16 * 1024];
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(length) => bytes.extend_from_slice(&piece[..length]),
        }
    }
}

/// The request at the front, and where it ends, if all of it is there.
fn look(bytes: &[u8]) -> reader::Read<(Seen, Option<usize>)> {
    let request = reader::request(bytes, 0)?;
    let mut seen = Seen::of(&request);
    match request.body {
        Ok((body, end)) => {
            seen.body = Some(body);
            Ok((seen, Some(end)))
        }
        Err(Unread::Short) => Ok((seen, None)),
        Err(wrong) => Err(wrong),
    }
}

fn note(seen: &Mutex<Vec<Seen>>, whole: &Seen) {
    let mut seen = lock(seen);
    let same = |one: &&mut Seen| one.id == whole.id && one.body.is_none();
    if let Some(one) = seen.iter_mut().rev().find(same) {
        one.body.clone_from(&whole.body);
    } else {
        // Its head was compared already, before its body came.
        seen.push(whole.clone());
    }
}

fn fault(what: &str, bytes: &[u8]) -> String {
    format!("the backend cannot read what it was sent ({what}): {}", bytes.escape_ascii())
}

fn drain(stream: &mut TcpStream) {
    let mut piece = [0; 4096];
    while stream.read(&mut piece).is_ok_and(|length| length > 0) {}
}

fn echo(stream: &mut TcpStream) {
    let mut piece = [0; 4096];
    while let Ok(length) = stream.read(&mut piece)
        && length > 0
        && stream.write_all(&piece[..length]).is_ok()
    {}
    let _ = stream.shutdown(Shutdown::Write);
}

/// A client's connection.
pub struct Client {
    stream: TcpStream,
    /// As the log has it.
    pub peer: String,
    /// All that has come.
    pub received: Vec<u8>,
    /// Nothing more will.
    pub ended: bool,
}

/// Ports of clients in their turn, none of which the system gives to others: lines of the log are
/// found by them, so none may come again soon.
fn next_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    10_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 20_000
}

fn connect_from(port: u16, to: SocketAddr) -> rustix::io::Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &SocketAddr::from(([127, 0, 0, 1], port)))?;
    connect(&socket, &to)?;
    Ok(socket.into())
}

impl Client {
    /// Connects.
    pub fn connect(to: SocketAddr) -> Self {
        let stream = (0..20_000).find_map(|_| connect_from(next_port(), to).ok());
        let stream = stream.expect("a connection to Ostler");
        let _ = stream.set_nodelay(true);
        let peer = stream.local_addr().expect("our address").to_string();
        Self { stream, peer, received: Vec::new(), ended: false }
    }

    /// Sends, as far as it is taken.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.set_write_timeout(Some(PATIENCE));
        let _ = self.stream.write_all(bytes);
    }

    /// Reads what comes within a time. False: nothing did.
    pub fn read_for(&mut self, time: Duration) -> bool {
        let _ = self.stream.set_read_timeout(Some(time));
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => self.ended = true,
            Ok(length) => self.received.extend_from_slice(&piece[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return false;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => self.ended = true,
        }
        true
    }

    /// Reads until something holds, or nothing has come for a time. Whether it holds.
    pub fn read_until(&mut self, time: Duration, done: impl Fn(&Self) -> bool) -> bool {
        loop {
            if done(self) {
                return true;
            }
            if self.ended || !self.read_for(time) {
                return done(self);
            }
        }
    }

    /// Ends our half, and waits for the other. False: it never came.
    pub fn finish(&mut self) -> bool {
        let _ = self.stream.shutdown(Shutdown::Write);
        let since = Instant::now();
        while !self.ended && since.elapsed() < PATIENCE {
            self.read_for(PATIENCE);
        }
        self.ended
    }
}
