//! Trailers of answers: gRPC's status travels in them, HTTP/1.1 behind us and HTTP/2 before us.

use http_body_util::BodyExt;

use crate::harness::{
    Config, Origin, PLAIN, Proxy, SECURE, Sent, default_route, pool, soon, statuses,
};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\n\
    Trailer: grpc-status\r\nTransfer-Encoding: chunked\r\n\r\n\
    5\r\nhello\r\n0\r\ngrpc-status: 5\r\ngrpc-message: not here\r\n\r\n";

async fn front(origin: &Origin) -> Proxy {
    let body = format!("{PLAIN}{SECURE}{}{}", default_route("web"), pool("web", &[origin], ""));
    Proxy::start(Config::new(body)).await
}

#[tokio::test]
async fn trailers_of_an_answer_reach_http2_all_of_them() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    origin.script(ANSWER);
    let door = proxy.secure("h2");
    let request = door.request("POST", "/").header("te", "trailers");
    let response =
        door.connect().await.open(request.body(Sent::Whole(None)).unwrap()).await.unwrap();
    let whole = soon("the end", response.into_body().collect()).await.unwrap();
    let trailers = whole.trailers().unwrap().clone();
    assert_eq!(trailers["grpc-status"], "5");
    assert_eq!(trailers["grpc-message"], "not here");
    assert_eq!(whole.to_bytes(), "hello");
}

#[tokio::test]
async fn over_http1_announced_trailers_reach_who_asks_for_them() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    origin.script(ANSWER);
    let request = |te: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{te}Connection: close\r\n\r\n");
    let text = proxy.raw().await.exchange(request("TE: trailers\r\n")).await;
    assert_eq!(statuses(&text), [200]);
    assert!(text.ends_with("\r\n0\r\ngrpc-status: 5\r\n\r\n"), "{text}");
    let text = proxy.raw().await.exchange(request("")).await;
    assert!(text.ends_with("\r\n0\r\n\r\n") && !text.contains("\ngrpc-status"), "{text}");
}

#[tokio::test]
async fn an_answer_that_is_all_trailers_stays_one() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    origin.script(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\ngrpc-status: 12\r\n\
          Content-Length: 0\r\n\r\n",
    );
    let door = proxy.secure("h2");
    let answer = door.send(door.request("POST", "/").header("te", "trailers"), "").await;
    assert_eq!(answer.header("grpc-status"), Some("12"));
    assert!(answer.body.is_empty() && !answer.broken);
}
