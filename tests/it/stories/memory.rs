//! Memory: what clients hold that do not read.

use tokio::io::AsyncReadExt;

use crate::harness::frames::{END, frame, headers, kind};
use crate::harness::{
    After, Config, Fault, Origin, Proxy, Raw, SECURE, SOON, default_route, settled, spawn,
    unchecked, within,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The largest window there is, less what each begins with.
const ALL: u32 = 0x7fff_ffff - 65_535;
const RESIDENT: &str = "process_resident_memory_bytes";

/// A GET on a stream.
fn get(stream: u32, path: &str) -> Vec<u8> {
    let fields =
        [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", path)];
    headers(stream, END, &fields)
}

#[tokio::test]
async fn hundreds_of_answers_that_are_not_taken_hold_little() {
    const CONNECTIONS: u32 = 3;
    const STREAMS: u32 = 100;
    let origin = Origin::start("a");
    let pool = unchecked("web", std::slice::from_ref(&origin), "");
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
