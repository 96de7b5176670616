//! Requests from end to end: what a client has sent, what it got, what the backend saw and what the
//! log says must be one story.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::farm::{After, Client, Farm, Line, PATIENCE, Seen, lock, shown};
use crate::reader::{self, Request, Unread};

/// Inputs that are compared together: lines of the log come with its next flush.
const BATCH: usize = 200;
/// A batch is compared after so long, however few inputs it has.
const AT_LEAST: Duration = Duration::from_millis(500);
/// Batches after which what was left is forgotten.
const KEPT: u64 = 3;
/// An answer that is owed is waited for.
const OWED: Duration = Duration::from_secs(2);
/// Where nothing is owed, this tells that nothing comes.
const QUIET: Duration = Duration::from_millis(4);

/// One input and what came of it.
struct Case {
    input: Vec<u8>,
    http2: bool,
    peer: String,
    received: Vec<u8>,
    ended: bool,
}

/// Everything that goes on.
pub struct Story {
    farm: Farm,
    batch: usize,
    since: Instant,
    cases: Vec<Case>,
    /// Lines by their request, with the batch in which they came.
    lines: HashMap<String, (Line, u64)>,
    /// Ids of what the backend saw, likewise.
    seen: HashMap<String, (u64, u64)>,
    number: u64,
}

impl Story {
    /// Starts Ostler and its backend.
    pub fn begin() -> Self {
        // With files named on the command line each is compared by itself.
        let alone = std::env::args().skip(1).any(|word| Path::new(&word).is_file());
        Self {
            farm: Farm::start(Box::new(answer)),
            batch: if alone { 1 } else { BATCH },
            since: Instant::now(),
            cases: Vec::new(),
            lines: HashMap::new(),
            seen: HashMap::new(),
            number: 0,
        }
    }

    /// Plays an input: what begins with `2` is HTTP/2 behind its preface.
    pub fn play(&mut self, input: &[u8]) {
        let case = match input {
            [b'2', frames @ ..] => self.frames(frames),
            _ => self.bytes(input),
        };
        self.cases.push(case);
        if self.cases.len() >= self.batch || self.since.elapsed() > AT_LEAST {
            self.compare();
            self.since = Instant::now();
        }
    }

    fn bytes(&self, input: &[u8]) -> Case {
        let (requests, why) = reader::requests(input);
        let requests = Requests::of(input, requests);
        let whole = requests.whole.iter().filter(|request| request.body.is_ok()).count();
        let mut client = Client::connect(self.farm.http1);
        client.send(input);
        let owed = |client: &Client| answers(&client.received, &requests, client.ended).0.len();
        client.read_until(OWED, |client| owed(client) >= whole);
        // What is refused is told, and then the connection ends.
        let read =
            requests.whole.last().and_then(|last| last.body.as_ref().ok()).map(|(_, end)| *end);
        if matches!(why, Unread::Wrong(_)) {
            client.read_until(OWED / 8, |client| client.ended);
        } else if read != Some(input.len()) {
            client.read_until(QUIET, |client| client.ended);
        }
        let ended = client.finish();
        let Client { peer, received, .. } = client;
        let peer = format!("one {peer}");
        Case { input: input.to_vec(), http2: false, peer, received, ended }
    }

    fn frames(&self, input: &[u8]) -> Case {
        let mut client = Client::connect(self.farm.http2);
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
        bytes.extend_from_slice(input);
        client.send(&bytes);
        client.read_until(QUIET, |client| client.ended);
        let ended = client.finish();
        let Client { peer, received, .. } = client;
        let peer = format!("two {peer}");
        Case { input: input.to_vec(), http2: true, peer, received, ended }
    }

    /// Waits until everything agrees; what does not is a finding.
    fn compare(&mut self) {
        self.number += 1;
        let began = Instant::now();
        let mut fresh = Vec::new();
        loop {
            for line in lock(&self.farm.lines).drain(..) {
                self.lines.insert(line.id.clone(), (line, self.number));
            }
            for seen in lock(&self.farm.seen).drain(..) {
                take(&mut fresh, &mut self.seen, seen, self.number);
            }
            let Err((wrong, case)) = self.agrees(&fresh) else { break };
            if began.elapsed() > PATIENCE {
                self.fail(&wrong, case, &fresh);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.cases.clear();
        let oldest = self.number.saturating_sub(KEPT);
        self.lines.retain(|_, (_, number)| *number > oldest);
        self.seen.retain(|_, (_, number)| *number > oldest);
    }

    fn fail(&self, wrong: &str, case: Option<usize>, fresh: &[Seen]) -> ! {
        eprintln!("\n{wrong}");
        if let Some(case) = case.and_then(|case| self.cases.get(case)) {
            eprintln!("sent: {}", case.input.escape_ascii());
            eprintln!("received: {}", case.received.escape_ascii());
            let (requests, why) = reader::requests(&case.input);
            eprintln!("the reader has {} requests, then {why:?}", requests.len());
            for line in self.of_peer(&case.peer) {
                eprintln!("{line:?}");
                let of_line = fresh.iter().filter(|seen| seen.id == line.id);
                of_line.for_each(|seen| eprintln!("  {seen:?}"));
            }
            let prefix: &[u8] = if case.http2 { b"2" } else { b"" };
            let path = artifact();
            std::fs::write(&path, [prefix, &case.input[..]].concat()).expect("an artifact");
            eprintln!("The input is in {}", path.display());
        }
        panic!("{wrong}");
    }

    /// Lines of a client in the order in which they came.
    fn of_peer(&self, peer: &str) -> Vec<&Line> {
        let mut lines: Vec<&Line> = self
            .lines
            .values()
            .filter(|(line, number)| line.peer == peer && *number == self.number)
            .map(|(line, _)| line)
            .collect();
        lines.sort_by_key(|line| line.place);
        lines
    }

    fn agrees(&self, fresh: &[Seen]) -> Result<(), (String, Option<usize>)> {
        if let Some(fault) = lock(&self.farm.faults).first() {
            return Err((fault.clone(), None));
        }
        let by_peer: HashMap<&str, usize> =
            self.cases.iter().enumerate().map(|(at, case)| (&*case.peer, at)).collect();
        for seen in fresh {
            let Some((line, _)) = self.lines.get(&seen.id) else {
                return Err((format!("the backend saw what is not in the log: {seen:?}"), None));
            };
            let case = by_peer.get(&*line.peer).copied();
            arrived(line, seen).map_err(|wrong| (wrong, case))?;
        }
        for (line, number) in self.lines.values().filter(|(line, _)| line.forwarded()) {
            if *number != self.number {
                continue;
            }
            let times = self.seen.get(&line.id).map_or(0, |(times, _)| *times);
            let all = times == line.attempts;
            if !all && (line.well() || times > line.attempts) {
                let case = by_peer.get(&*line.peer).copied();
                let wrong = format!("logged {} times, seen {times}: {line:?}", line.attempts);
                return Err((wrong, case));
            }
        }
        for (at, case) in self.cases.iter().enumerate() {
            if !case.ended {
                return Err(("the connection outlives its client".to_owned(), Some(at)));
            }
            if !case.http2 {
                self.told(case, fresh).map_err(|wrong| (wrong, Some(at)))?;
            }
        }
        Ok(())
    }

    /// Whether one connection of HTTP/1 is the same for all.
    fn told(&self, case: &Case, fresh: &[Seen]) -> Result<(), String> {
        let requests = Requests::of(&case.input, reader::requests(&case.input).0);
        let lines = self.of_peer(&case.peer);
        let (answered, rest) = answers(&case.received, &requests, true);
        let logged: Vec<u64> = lines
            .iter()
            .filter(|line| line.status != 0 && line.status != 499)
            .map(|line| line.status)
            .collect();
        let answered: Vec<u64> = answered.into_iter().filter(|status| *status != 499).collect();
        let all = answered == logged;
        // A client that has left may miss what was on its way.
        let gone = lines.iter().any(|line| line.reason == "client_gone");
        if !all && !(gone && logged.starts_with(&answered)) {
            return Err(format!("answered {answered:?}, logged {logged:?}"));
        }
        if let Err(wrong) = rest {
            return Err(format!("an answer cannot be read: {wrong}"));
        }
        let sent = requests.whole.len();
        if lines.len() > sent + 1 {
            return Err(format!("{} requests are logged, {sent} were sent", lines.len()));
        }
        for (place, line) in lines.iter().enumerate().filter(|(_, line)| line.forwarded()) {
            let Some(request) = requests.whole.get(place) else {
                return Err(format!("nobody sent this: {line:?}"));
            };
            for seen in fresh.iter().filter(|seen| seen.id == line.id) {
                same(request, seen)?;
            }
        }
        Ok(())
    }
}

/// What a reader finds in an input.
struct Requests<'a> {
    whole: Vec<Request<'a>>,
    /// Whether what it cannot read behind them begins as a HEAD does.
    then_head: bool,
}

impl<'a> Requests<'a> {
    fn of(input: &[u8], whole: Vec<Request<'a>>) -> Self {
        let end = match whole.last().map(|last| &last.body) {
            None => Some(0),
            Some(body) => body.as_ref().ok().map(|(_, end)| *end),
        };
        let mut rest = end.map_or(&input[..0], |end| &input[end..]);
        while let [b'\r', b'\n', behind @ ..] = rest {
            rest = behind;
        }
        Self { whole, then_head: rest.starts_with(b"HEAD ") }
    }

    /// Whether the answer of this number is to a HEAD.
    fn is_head(&self, place: usize) -> bool {
        self.whole.get(place).map_or(self.then_head, |request| request.method == b"HEAD")
    }
}

/// What a backend has seen of one request: first its head, then perhaps its body.
fn take(fresh: &mut Vec<Seen>, ids: &mut HashMap<String, (u64, u64)>, seen: Seen, number: u64) {
    if seen.body.is_some() {
        let begun = |one: &&mut Seen| one.id == seen.id && one.body.is_none();
        if let Some(one) = fresh.iter_mut().find(begun) {
            *one = seen;
            return;
        }
        if ids.get(&seen.id).is_some_and(|(_, since)| *since != number) {
            // Its head was compared in a batch before.
            fresh.push(seen);
            return;
        }
    }
    ids.entry(seen.id.clone()).or_insert((0, number)).0 += 1;
    fresh.push(seen);
}

/// Whether the backend saw what was logged, in a form that no backend can misread.
fn arrived(line: &Line, seen: &Seen) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{what}: logged {line:?}, seen {seen:?}"));
    if (&line.method, &line.target) != (&seen.method, &seen.target) {
        return wrong("another request arrived");
    }
    let host = seen.one("host").map(shown);
    let Some(host) = host else { return wrong("not one host") };
    if !line.host.is_empty() && !host.eq_ignore_ascii_case(&line.host) {
        return wrong("another host arrived");
    }
    if seen.one("x-forwarded-for") != Some(b"127.0.0.1")
        || seen.one("x-forwarded-proto") != Some(b"http")
    {
        return wrong("not told who the client is");
    }
    for (name, value) in &seen.fields {
        let name = name.replace('_', "-");
        let told = matches!(&*name, "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host");
        let like = name.starts_with("x-forwarded-") && !told;
        let like = like || matches!(&*name, "client-cert" | "client-cert-chain");
        let websocket = line.protocol == "websocket" || seen.one("upgrade").is_some();
        let hop = match &*name {
            "connection" => !(websocket && value == b"upgrade"),
            "upgrade" => value != b"websocket",
            "te" | "keep-alive" | "proxy-connection" | "http2-settings" | "expect" => true,
            _ => false,
        };
        if like || hop || matches!(&*name, "x-real-ip" | "forwarded") {
            return wrong("a field that must not arrive");
        }
    }
    for told in ["x-forwarded-host", "x-request-id", "traceparent", "content-length", "cookie"] {
        if seen.all(told).len() > 1 {
            return wrong("a field came twice");
        }
    }
    if let Some(body) = &seen.body
        && line.well()
        && line.protocol != "websocket"
        && line.bytes_in != body.len() as u64
    {
        return wrong("another body arrived");
    }
    Ok(())
}

/// Whether the backend saw what was sent.
fn same(request: &Request<'_>, seen: &Seen) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{what}: sent {request:?}, seen {seen:?}"));
    if shown(request.method) != seen.method {
        return wrong("another method");
    }
    let origin = request.target.starts_with(b"/");
    if origin && shown(request.target) != seen.target {
        return wrong("another target");
    }
    if origin
        && let [host] = &*request.all("host")
        && seen.one("host") != Some(host)
    {
        return wrong("another host");
    }
    if let Some(body) = &seen.body {
        match &request.body {
            Ok((sent, _)) if sent == body => {}
            Ok(_) => return wrong("another body"),
            Err(_) => return wrong("whole at the backend, and never sent whole"),
        }
    }
    // `Connection` takes others away.
    let plain = |value: &&[u8]| {
        value.eq_ignore_ascii_case(b"close") || value.eq_ignore_ascii_case(b"keep-alive")
    };
    if request.all("connection").iter().all(plain) && fields_of(request) != fields_seen(seen) {
        return wrong("other fields");
    }
    Ok(())
}

/// Fields that nobody on the way has a right to, in an order that is theirs.
fn fields_of(request: &Request<'_>) -> Vec<(String, Vec<u8>)> {
    let all = request
        .fields
        .iter()
        .map(|(name, value)| (String::from_utf8_lossy(name).to_ascii_lowercase(), value.to_vec()));
    kept(all)
}

fn fields_seen(seen: &Seen) -> Vec<(String, Vec<u8>)> {
    kept(seen.fields.iter().cloned())
}

fn kept(fields: impl Iterator<Item = (String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    let ours = |name: &str| {
        let name = name.replace('_', "-");
        name.starts_with("x-forwarded-")
            || matches!(
                &*name,
                "host"
                    | "connection"
                    | "keep-alive"
                    | "proxy-connection"
                    | "te"
                    | "transfer-encoding"
                    | "content-length"
                    | "upgrade"
                    | "http2-settings"
                    | "proxy-authenticate"
                    | "expect"
                    | "max-forwards"
                    | "via"
                    | "x-request-id"
                    | "traceparent"
                    | "tracestate"
                    | "forwarded"
                    | "x-real-ip"
                    | "client-cert"
                    | "client-cert-chain"
                    | "cookie"
            )
    };
    let mut kept: Vec<_> = fields.filter(|(name, _)| !ours(name)).collect();
    // Stable: values of one name keep their order.
    kept.sort_by(|one, other| one.0.cmp(&other.0));
    kept
}

/// Statuses of the final answers in what came, and whether all of it is answers.
fn answers(
    received: &[u8],
    requests: &Requests<'_>,
    ended: bool,
) -> (Vec<u64>, Result<(), String>) {
    let mut found = Vec::new();
    let mut at = 0;
    while at < received.len() {
        // A HEAD that is refused by its bytes has no content in its answer either.
        let head = requests.is_head(found.len());
        let answer = match reader::final_response(received, at, head, ended) {
            Ok(answer) => answer,
            Err(Unread::Short) if !ended => return (found, Ok(())),
            Err(why) => return (found, Err(format!("{why:?}"))),
        };
        match answer.body {
            Ok((body, end)) => {
                let from_backend = answer.status == 200 && !head;
                if from_backend && body != b"ok" {
                    return (found, Err(format!("it has the body {}", body.escape_ascii())));
                }
                at = end;
            }
            Err(Unread::Short) if !ended => return (found, Ok(())),
            Err(why) => return (found, Err(format!("its body: {why:?}"))),
        }
        found.push(u64::from(answer.status));
        if answer.status == 101 {
            break;
        }
    }
    (found, Ok(()))
}

fn answer(seen: &Seen) -> (Vec<u8>, After) {
    let websocket = seen.one("upgrade").is_some();
    if websocket && seen.target.contains("ws") {
        let said =
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
        return (said.into(), After::Tunnel);
    }
    let body = if seen.method == "HEAD" { "" } else { "ok" };
    (format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{body}").into(), After::Keep)
}

/// Where an input goes that libFuzzer does not know to be the one.
pub fn artifact() -> PathBuf {
    let prefix = std::env::args()
        .find_map(|word| word.strip_prefix("-artifact_prefix=").map(ToOwned::to_owned));
    PathBuf::from(format!("{}mismatch-{}", prefix.unwrap_or_default(), std::process::id()))
}
