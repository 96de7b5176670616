//! HTTP/2 clients that begin and do not go on, that ask and do not read, or that only want to cost.

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::harness::frames::{END, WHOLE, frame, kind};
use crate::harness::{Config, Origin, Proxy, Raw, SECURE, SOON, default_route, pool, within};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The largest window there is.
const ALL: u32 = 0x7fff_ffff;

const REFUSED: &str = "ostler_connections_refused_total";

async fn front(origin: &Origin) -> Proxy {
    let body = format!(
        "{SECURE}timeouts = {{ header = \"1s\", write = \"1s\" }}\n{}{}",
        default_route("web"),
        pool("web", &[origin], "")
    );
    Proxy::start(Config::new(body)).await
}

/// A header block (RFC 7541) for GET of a short path.
fn block(path: &str) -> Vec<u8> {
    let mut bytes = vec![0x82, 0x87, 0x01, 9];
    bytes.extend(b"localhost");
    bytes.extend([0x04, u8::try_from(path.len()).unwrap()]);
    bytes.extend(path.as_bytes());
    bytes
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(kind::HEADERS, WHOLE | END, stream, &block(path))
}

/// The preface, and the window that each stream begins with.
fn hello(window: u32) -> Vec<u8> {
    let mut setting = vec![0, 4];
    setting.extend(window.to_be_bytes());
    [PREFACE, &frame(kind::SETTINGS, 0, 0, &setting)].concat()
}

async fn raw(proxy: &Proxy) -> Raw<TlsStream<TcpStream>> {
    Raw::secure(proxy.address("web"), "h2").await
}

async fn counted(proxy: &Proxy, cause: &str, count: f64) {
    let label = format!("cause=\"{cause}\"");
    within(SOON, &format!("{count} of {label}"), async || {
        (proxy.metric(REFUSED, &[&label]).await >= count).then_some(())
    })
    .await;
}

async fn nothing_in_flight(proxy: &Proxy) {
    within(SOON, "nothing in flight", async || {
        let family = "ostler_backend_requests_in_flight";
        (proxy.metric(family, &[]).await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_begun_and_not_gone_on_with_is_closed_and_counted() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let half_block = frame(kind::HEADERS, END, 1, &block("/half"));
    let begun = [
        Vec::new(),
        PREFACE[..12].to_vec(),
        [hello(65_535), get(1, "/")[..5].to_vec()].concat(),
        [hello(65_535), half_block.clone()].concat(),
        [hello(65_535), half_block, frame(kind::CONTINUATION, 0, 1, b"")].concat(),
    ];
    for (index, bytes) in begun.iter().enumerate() {
        let mut stuck = raw(&proxy).await;
        stuck.write(bytes).await;
        let mut neighbour = proxy.secure("h2").connect().await;
        assert_eq!(neighbour.get("/").await.status, 200);
        stuck.rest().await;
        counted(&proxy, "header_timeout", f64::from(u32::try_from(index).unwrap()) + 1.0).await;
        assert_eq!(neighbour.get("/").await.status, 200, "the neighbour goes on after {index}");
    }
    assert!(origin.seen().iter().all(|seen| seen.target != "/half"));
}

#[tokio::test]
async fn a_stream_whose_window_never_opens_ends_and_its_connection_goes_on() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let mut raw = raw(&proxy).await;
    raw.write([hello(0), get(1, "/big/3000000"), get(3, "/small")].concat()).await;
    for path in ["/big/3000000", "/small"] {
        assert_eq!(proxy.logged(path).await["reason"], "client_read_timeout", "{path}");
    }
    nothing_in_flight(&proxy).await;
    assert!(proxy.metric(REFUSED, &[]).await < 1.0, "the connection is as good as it was");
    raw.write(frame(kind::WINDOW_UPDATE, 0, 0, &1000_u32.to_be_bytes())).await;
    raw.write(get(5, "/status/204")).await;
    assert_eq!(proxy.logged("/status/204").await["status"], 204);
    raw.write(frame(kind::DATA, 0, 0, b"on no stream")).await;
    raw.rest().await;
    counted(&proxy, "http2_error", 1.0).await;
}

#[tokio::test]
async fn a_slow_backend_is_no_client_that_does_not_read() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let mut raw = raw(&proxy).await;
    // The windows of the streams are what is too small, not that of the connection.
    let window = frame(kind::WINDOW_UPDATE, 0, 0, &1_000_000_u32.to_be_bytes());
    let requests = [get(1, "/gated-body"), get(3, "/big/3000000")].concat();
    raw.write([hello(65_535), window, requests].concat()).await;
    let unread = proxy.logged("/big/3000000").await;
    assert_eq!(unread["reason"], "client_read_timeout", "a window of 64 KiB is not enough for it");
    origin.open_gate();
    let slow = proxy.logged("/gated-body").await;
    assert_eq!(slow["reason"], "none", "it has waited longer for its backend: {slow}");
}

#[tokio::test]
async fn a_client_that_gives_windows_and_reads_nothing_is_closed_and_counted() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let mut raw = raw(&proxy).await;
    raw.write(hello(ALL)).await;
    raw.write(frame(kind::WINDOW_UPDATE, 0, 0, &(ALL - 65_535).to_be_bytes())).await;
    for stream in 0..20 {
        raw.write(get(stream * 2 + 1, "/big/20000000")).await;
    }
    counted(&proxy, "stalled", 1.0).await;
    within(SOON, "a line that says so", async || {
        proxy.log().iter().any(|line| line["reason"] == "client_read_timeout").then_some(())
    })
    .await;
    nothing_in_flight(&proxy).await;
    assert_eq!(proxy.secure("h2").get("/").await.status, 200);
}

#[tokio::test]
async fn a_flood_of_resets_is_ended_and_counted() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let mut raw = raw(&proxy).await;
    let mut bytes = hello(65_535);
    for stream in 0..2000 {
        let id = stream * 2 + 1;
        bytes.extend(get(id, "/"));
        bytes.extend(frame(kind::RST_STREAM, 0, id, &8_u32.to_be_bytes()));
    }
    raw.write(bytes).await;
    raw.rest().await;
    counted(&proxy, "http2_flood", 1.0).await;
    nothing_in_flight(&proxy).await;
    assert_eq!(proxy.secure("h2").get("/").await.status, 200);
}
