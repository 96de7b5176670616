//! Connections that wait for the next request: how old they may be, by what their backend does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::{Config, PLAIN, Proxy, SOON, default_route, spawn, within};

/// A backend that closes a connection when it has been idle for so long, and does not say so.
async fn closes_after(idle: Duration) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, opened) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&opened);
    spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            spawn(async move {
                let mut head = [0; 4096];
                while let Ok(Ok(1..)) = tokio::time::timeout(idle, stream.read(&mut head)).await {
                    stream
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                        .await
                        .unwrap();
                }
            });
        }
    });
    (address, opened)
}

#[tokio::test]
async fn a_backend_that_closes_idle_connections_unannounced_is_found_out() {
    let (address, opened) = closes_after(Duration::from_millis(1500)).await;
    let backend = format!("[pools.web]\nbackends = [{{ id = \"a\", address = \"{address}\" }}]\n");
    let body = format!("{PLAIN}{}{backend}", default_route("web"));
    let proxy = Proxy::start(Config::new(body).runtime("workers = 1")).await;
    let mut connection = proxy.door().connect().await;
    let mut ask = async || assert_eq!(connection.get("/").await.status, 200);
    // Three are seen to be closed, more where the machine stands still in between.
    for _ in 0..2 {
        ask().await;
        tokio::time::sleep(Duration::from_millis(2600)).await;
    }
    within(SOON, "one that is nearly as old is left alone, though it is still open", async || {
        ask().await;
        tokio::time::sleep(Duration::from_millis(2600)).await;
        ask().await;
        let before = opened.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(1100)).await;
        ask().await;
        (opened.load(Ordering::Relaxed) == before + 1).then_some(())
    })
    .await;
    // Those that are younger are used.
    within(SOON, "a connection that is used twice", async || {
        let before = opened.load(Ordering::Relaxed);
        ask().await;
        ask().await;
        (opened.load(Ordering::Relaxed) < before + 2).then_some(())
    })
    .await;
}
