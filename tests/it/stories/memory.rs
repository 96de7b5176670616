//! Memory: what clients hold that do not read, and who goes when it is short.

use std::sync::Arc;

use tokio::io::AsyncReadExt;
use xxhash_rust::xxh3::xxh3_64;

use crate::harness::frames::{END, Frames, frame, headers, kind};
use crate::harness::{
    After, Config, Fault, Jar, Origin, PLAIN, Proxy, Raw, SECURE, SOON, Sent, client_hello,
    default_route, pattern_hash, settled, soon, spawn, unchecked, within,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The largest window there is, less what each begins with.
const ALL: u32 = 0x7fff_ffff - 65_535;
const REFUSED: &str = "ostler_connections_refused_total";
const RESIDENT: &str = "process_resident_memory_bytes";

fn farm(origin: &Origin) -> Config {
    let pool = unchecked("web", std::slice::from_ref(origin), "sticky.by = \"cookie\"");
    Config::new(format!("{PLAIN}{SECURE}{}{pool}", default_route("web")))
}

/// A GET on a stream.
fn get(stream: u32, path: &str) -> Vec<u8> {
    let fields =
        [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", path)];
    headers(stream, END, &fields)
}

/// Gives the process a budget of which it uses this much (percent), until it says that this level
/// holds.
async fn press(proxy: &mut Proxy, config: &Config, percent: u64, level: &str) {
    // Nothing has been measured against a budget of this size.
    let mut used = number(proxy.metric(RESIDENT, &[]).await);
    // A reload needs some memory itself: at first the budget is larger.
    let steps = [percent - 15, percent - 5].into_iter().chain(std::iter::repeat_n(percent, 40));
    for percent in steps {
        let line = format!("memory = \"{}B\"", used * 100 / percent);
        proxy.apply(config.clone().runtime(&line)).await;
        for _ in 0..10 {
            let memory = proxy.status().await["memory"].clone();
            if memory["level"] == level {
                return;
            }
            used = memory["used"].as_u64().filter(|used| *used > 0).unwrap_or(used);
        }
    }
    panic!("never {level} at {percent} %: {}", proxy.status().await["memory"]);
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of bytes")]
fn number(metric: f64) -> u64 {
    metric as u64
}

async fn level(proxy: &Proxy) -> String {
    proxy.status().await["memory"]["level"].as_str().unwrap_or("none").to_owned()
}

async fn given_up(proxy: &Proxy) -> f64 {
    proxy.metric(REFUSED, &["cause=\"memory\""]).await
}

#[tokio::test]
async fn a_budget_that_is_used_up_already_is_warned_of_at_the_reload() {
    let origin = Origin::start("a");
    let mut proxy = Proxy::start(farm(&origin)).await;
    proxy.rewrite(farm(&origin).runtime("memory = \"8MiB\""));
    let text = proxy.reload().await.expect(0).text();
    assert!(text.contains("of these 8 MiB of memory "), "{text}");
    assert!(text.contains(" MiB are in use already: everybody is refused"), "{text}");
    assert!(text.contains("ostler.toml:"), "{text}");
    proxy.rewrite(farm(&origin).runtime("memory = \"4GiB\""));
    let text = proxy.reload().await.expect(0).text();
    assert!(!text.contains("in use already"), "{text}");
}

#[tokio::test]
async fn hundreds_of_answers_that_are_not_taken_hold_little() {
    const CONNECTIONS: u32 = 3;
    const STREAMS: u32 = 100;
    let origin = Origin::start("a");
    // Three hundred at once are more than the origin's backlog holds: some connect a second later.
    let patience = "connections = { connect_timeout = \"15s\" }";
    let pool = unchecked("web", std::slice::from_ref(&origin), patience);
    let config = Config::new(format!("{SECURE}{}{pool}", default_route("web")));
    let proxy = Proxy::start(config).await;
    assert_eq!(proxy.secure("h2").get("/").await.status, 200);
    let mut answer = b"HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n".to_vec();
    answer.resize(answer.len() + 200_000, b'x');
    origin.fault(Fault::Bytes(answer, After::Hold));
    let before = proxy.metric(RESIDENT, &[]).await;
    let mut readers = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut raw = Raw::secure(proxy.address("web"), "h2").await;
        // What arrives is read, the connection's window is open, and that of no stream.
        let window = frame(kind::WINDOW_UPDATE, 0, 0, &ALL.to_be_bytes());
        let mut bytes = [PREFACE, &frame(kind::SETTINGS, 0, 0, b""), &window].concat();
        (0..STREAMS).for_each(|number| bytes.extend(get(number * 2 + 1, "/unread")));
        raw.write(bytes).await;
        readers.push(spawn(async move {
            let mut buffer = vec![0; 64 * 1024];
            while raw.stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
        }));
    }
    let asked = usize::try_from(CONNECTIONS * STREAMS).unwrap();
    settled("all of them", || {
        let count = origin.count();
        if count > asked { u64::try_from(count).unwrap() } else { 0 }
    })
    .await;
    let mut last = 0.0;
    within(SOON, "memory that stands still", async || {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        let now = proxy.metric(RESIDENT, &[]).await;
        let still = now - last < 500_000.0;
        last = now;
        still.then_some(())
    })
    .await;
    let each = (last - before) / f64::from(CONNECTIONS * STREAMS) / 1024.0;
    assert!(each < 40.0, "{each} KiB a stream");
    readers.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn idle_connections_go_first_and_nobody_else() {
    let origin = Origin::start("a");
    let config = farm(&origin);
    let mut proxy = Proxy::start(config.clone()).await;
    let mut plain = proxy.raw().await;
    plain.write("GET /idle HTTP/1.1\r\nHost: a\r\n\r\n").await;
    plain.until("\r\n\r\n").await;
    let mut framed = Frames::connect(proxy.address("web")).await;
    framed.send(&get(1, "/idle")).await;
    assert!(framed.outcome(1).await.is_some());
    press(&mut proxy, &config, 75, "idle").await;
    plain.rest().await;
    let gone = framed.until(|frame| frame.kind == kind::GOAWAY).await;
    assert_eq!(gone.expect("it is told").code(), 0);
    within(SOON, "both are counted", async || (given_up(&proxy).await >= 2.0).then_some(())).await;
    assert_eq!(proxy.door().get("/").await.status, 200);
    let told = proxy.command(&["status"]).await.expect(0).stdout;
    assert!(told.contains("memory is short") || level(&proxy).await != "idle", "{told}");
    proxy.apply(config).await;
    assert_eq!(level(&proxy).await, "none");
    assert!(!proxy.probe("/metrics").await.1.contains("ostler_memory_level"));
}

#[tokio::test]
async fn new_visitors_are_refused_before_those_who_are_known_and_all_before_the_end() {
    let origin = Origin::start("a");
    let config = farm(&origin);
    let mut proxy = Proxy::start(config.clone()).await;
    let mut jar = Jar::new();
    assert_eq!(jar.get(&proxy.door(), "/").await.status, 200);
    // How much is used is not ours to hold still: what is seen at another level says nothing.
    let mut tries = 0;
    loop {
        tries += 1;
        assert!(tries < 20, "the level did not hold for as long as a look takes");
        press(&mut proxy, &config, 90, "sessions").await;
        let known = jar.get(&proxy.door(), "/known").await;
        let new = proxy.door().get("/new").await;
        let before = given_up(&proxy).await;
        let mut hello = Raw::connect(proxy.address("web")).await;
        hello.write(client_hello()).await;
        let said = hello.rest().await;
        let counted = given_up(&proxy).await - before;
        if level(&proxy).await != "sessions" {
            continue;
        }
        assert_eq!(known.status, 200, "{}", known.text());
        assert_eq!(new.status, 503);
        assert_eq!(
            (new.header("retry-after"), new.header("connection")),
            (Some("5"), Some("close"))
        );
        assert_eq!(proxy.logged("/new").await["reason"], "overloaded_memory");
        assert_eq!(said, "", "no handshake is begun");
        assert!(counted >= 1.0, "{counted}");
        break;
    }
    press(&mut proxy, &config, 98, "everybody").await;
    let refused = soon("the end of it", async {
        let mut raw = Raw::connect(proxy.address("http")).await;
        raw.write("GET /all HTTP/1.1\r\nHost: a\r\n\r\n").await;
        raw.rest().await
    })
    .await;
    assert!(refused.is_empty() || refused.contains(" 503 "), "{refused}");
    proxy.apply(config).await;
    assert_eq!(jar.get(&proxy.door(), "/").await.status, 200);
    assert_eq!(proxy.door().get("/").await.status, 200);
    proxy.hears("memory is short").await;
}

#[tokio::test]
async fn a_refused_client_of_http2_is_told_to_go() {
    let origin = Origin::start("a");
    let config = farm(&origin);
    let mut proxy = Proxy::start(config.clone()).await;
    let mut framed = Frames::connect(proxy.address("web")).await;
    // Something goes on, so that it is not idle when memory becomes short. Its answer has begun: a
    // sibling without one would let others join its session.
    framed.send(&get(1, "/gated-body")).await;
    assert!(framed.until(|frame| frame.kind == kind::HEADERS).await.is_some());
    press(&mut proxy, &config, 90, "sessions").await;
    framed.send(&get(3, "/refused")).await;
    let gone = framed.until(|frame| frame.kind == kind::GOAWAY).await;
    assert_eq!(gone.expect("it is told").code(), 0);
    assert_eq!(proxy.logged("/refused").await["reason"], "overloaded_memory");
    proxy.apply(config).await;
    origin.open_gate();
    let answer = proxy.logged("/gated-body").await;
    assert_eq!(answer["reason"], "none", "what had begun is finished: {answer}");
}

#[tokio::test]
async fn answers_that_nobody_takes_go_when_memory_is_short() {
    let origin = Origin::start("a");
    let config = farm(&origin);
    let mut proxy = Proxy::start(config.clone()).await;
    let mut framed = Raw::secure(proxy.address("web"), "h2").await;
    let window = [0, 4, 0, 0, 0, 0];
    let settings = frame(kind::SETTINGS, 0, 0, &window);
    framed.write([PREFACE, &settings].concat()).await;
    for number in 0..20 {
        framed.write(get(number * 2 + 1, "/big/1000000")).await;
    }
    let mut plain = proxy.raw().await;
    plain.write("GET /big/50000000 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    within(SOON, "all at the backend", async || (origin.count() >= 21).then_some(())).await;
    press(&mut proxy, &config, 90, "sessions").await;
    for path in ["/big/1000000", "/big/50000000"] {
        assert_eq!(proxy.logged(path).await["reason"], "overloaded_memory", "{path}");
    }
    within(SOON, "nothing in flight", async || {
        let family = "ostler_backend_requests_in_flight";
        (proxy.metric(family, &[]).await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn answers_of_many_streams_are_whole_and_their_connections_are_kept() {
    const LENGTH: u64 = 300_000;
    let origin = Origin::start("a");
    let patience = "connections = { connect_timeout = \"15s\", idle_timeout = \"60s\" }";
    let pool = unchecked("web", std::slice::from_ref(&origin), patience);
    let config = Config::new(format!("{SECURE}{}{pool}", default_route("web")));
    let proxy = Proxy::start(config.runtime("workers = 1")).await;
    let door = proxy.secure("h2");
    let connection = door.connect().await;
    let path = format!("/big/{LENGTH}");
    let streams = (0..40).map(|_| {
        let mut handle = connection.share();
        let path = &path;
        async move { handle.get(path).await }
    });
    for answer in futures_util::future::join_all(streams).await {
        assert_eq!((answer.status, answer.broken), (200, false));
        assert_eq!(xxh3_64(&answer.body), pattern_hash(LENGTH), "{} bytes", answer.body.len());
    }
    let opened = origin.connections();
    for _ in 0..10 {
        assert_eq!(door.get(&path).await.body.len() as u64, LENGTH);
    }
    assert_eq!(origin.connections(), opened, "those that were used are used again");
}

#[tokio::test]
async fn an_answer_of_many_that_breaks_off_is_not_taken_for_whole() {
    let origin = Origin::start("a");
    let patience = "connections = { connect_timeout = \"15s\" }";
    let pool = unchecked("web", std::slice::from_ref(&origin), patience);
    let proxy = Proxy::start(Config::new(format!("{SECURE}{}{pool}", default_route("web")))).await;
    let mut answer = b"HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n".to_vec();
    answer.resize(answer.len() + 150_000, b'x');
    origin.fault(Fault::Bytes(answer, After::Close));
    let connection = proxy.secure("h2").connect().await;
    let streams = (0..40).map(|_| {
        let mut handle = connection.share();
        async move { handle.get("/short").await }
    });
    for answer in futures_util::future::join_all(streams).await {
        assert!(answer.broken, "{} bytes", answer.body.len());
    }
    assert_eq!(proxy.logged("/short").await["reason"], "backend_body_aborted");
    origin.fault(Fault::None);
    assert_eq!(proxy.secure("h2").get("/").await.status, 200);
}

#[tokio::test]
async fn uploads_that_no_backend_takes_go_when_memory_is_short() {
    let origin = Origin::start("a");
    let config = farm(&origin);
    let mut proxy = Proxy::start(config.clone()).await;
    let body = || Sent::Pattern { offset: 0, length: 50_000_000, sent: Arc::default() };
    let mut uploads = Vec::new();
    for (path, door) in [("/gated-upload/1", proxy.door()), ("/gated-upload/2", proxy.secure("h2"))]
    {
        let mut connection = door.connect().await;
        let request = door.request("POST", path).body(body()).unwrap();
        uploads.push(spawn(async move { connection.open(request).await.map(|it| it.status()) }));
    }
    within(SOON, "both at the backend", async || (origin.count() >= 2).then_some(())).await;
    press(&mut proxy, &config, 90, "sessions").await;
    for path in ["/gated-upload/1", "/gated-upload/2"] {
        let line = proxy.logged(path).await;
        assert_eq!((&line["reason"], &line["status"]), (&"overloaded_memory".into(), &503.into()));
    }
    uploads.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_budget_that_is_no_more_than_the_program_is_refused() {
    let origin = Origin::start("a");
    let config = farm(&origin);
    let mut proxy = Proxy::start(config.clone()).await;
    proxy.rewrite(config.runtime("memory = \"1MiB\""));
    let said = proxy.reload().await.expect(1);
    assert!(said.stderr.contains("memory = \"1MiB\" is too little"), "{}", said.stderr);
}
