//! Pages of the operator's own in place of what we would say ourselves.

use std::sync::Arc;

use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::harness::{Config, Origin, PLAIN, Proxy, Raw, SECURE, pool};

const SORRY: &str = "<!doctype html><style>p{color:gray}</style><p>Please come back later.</p>";

/// A folder with these files, and an origin that has gone.
fn folder(files: &[(&str, &str)]) -> (Arc<TempDir>, Origin) {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let mut origin = Origin::start("a");
    origin.kill();
    (Arc::new(folder), origin)
}

/// Two routes to the pool that is down, `/shop` with further keys.
fn config(listener: &str, shop: &str, origin: &Origin) -> Config {
    let routes = format!(
        "{listener}\n[[routes]]\nhosts = [\"localhost\"]\npool = \"web\"\n\
         [[routes]]\nhosts = [\"localhost\"]\npath = \"/shop\"\npool = \"web\"\n{shop}\n"
    );
    Config::new(format!("{routes}{}", pool("web", &[origin], "sticky.by = \"cookie\"")))
}

#[tokio::test]
async fn a_site_that_is_down_says_come_back_later_in_its_own_words() {
    let (folder, origin) = folder(&[("sorry.html", SORRY), ("oops.txt", "oops\n")]);
    let pages = "error_pages = { \"503\" = \"sorry.html\", \"4xx\" = \"oops.txt\" }";
    let config = config(&format!("{PLAIN}{pages}"), "", &origin);
    let proxy = Proxy::start_in(folder, config).await;
    let door = proxy.door();

    let page = door.get("/").await;
    assert_eq!((page.status, page.text().as_str()), (503, SORRY));
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.header("retry-after"), Some("5"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert!(page.set_cookies().is_empty(), "it binds nobody");
    assert_eq!(proxy.logged("/").await["reason"], "no_backend_down");

    let mut connection = door.connect().await;
    let head = connection.send(door.request("HEAD", "/"), "").await;
    assert_eq!((head.status, head.body.len()), (503, 0));
    assert_eq!(head.header("content-length"), Some(&*SORRY.len().to_string()));
    assert_eq!(connection.get("/").await.text(), SORRY, "nothing came after the head");

    let json = door.request("GET", "/").header("accept", "application/json");
    let json = door.send(json, "").await;
    assert_eq!((json.status, json.json()["status"].as_u64()), (503, Some(503)));

    let nowhere = door.host("nowhere.test").get("/").await;
    assert_eq!((nowhere.status, nowhere.text().as_str()), (404, "oops\n"));
    assert_eq!(nowhere.header("content-type"), Some("text/plain; charset=utf-8"));
}

#[tokio::test]
async fn the_pages_of_a_route_go_before_those_of_its_listener() {
    let (folder, origin) = folder(&[
        ("sorry.html", SORRY),
        ("shop.json", "{\"sorry\":{status},\"why\":\"{title}\",\"id\":\"{request_id}\"}"),
    ]);
    let pages = "error_pages = { \"503\" = \"sorry.html\" }";
    let shop = "error_pages = { \"5xx\" = \"shop.json\" }";
    let proxy = Proxy::start_in(folder, config(&format!("{SECURE}{pages}"), shop, &origin)).await;
    for protocol in ["http/1.1", "h2"] {
        let door = proxy.secure(protocol);
        assert_eq!(door.get("/").await.text(), SORRY, "{protocol}");
        let path = format!("/shop/{}", protocol.replace('/', "-"));
        let page = door.get(&path).await;
        assert_eq!((page.status, page.header("content-type")), (503, Some("application/json")));
        let (page, line) = (page.json(), proxy.logged(&path).await);
        assert_eq!(
            (page["sorry"].as_u64(), &page["why"]),
            (Some(503), &"Service Unavailable".into())
        );
        assert!(line["request_id"].as_str().is_some_and(|id| id.len() > 20), "{line}");
        assert_eq!(page["id"], line["request_id"], "the visitor can name it to who runs the site");
    }
}

#[tokio::test]
async fn what_a_backend_says_itself_is_handed_on() {
    let folder = Arc::new(TempDir::new().unwrap());
    std::fs::write(folder.path().join("sorry.html"), SORRY).unwrap();
    let origin = Origin::start("a");
    let pages = "error_pages = { \"5xx\" = \"sorry.html\" }";
    let config = config(&format!("{PLAIN}{pages}"), "", &origin);
    let proxy = Proxy::start_in(folder, config).await;
    origin.script(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy");
    assert_eq!(proxy.door().get("/").await.text(), "busy");
    origin.script(b"HTTP/1.1 nonsense\r\n\r\n");
    let ours = proxy.door().get("/").await;
    assert_eq!((ours.status, ours.text().as_str()), (502, SORRY));
}

/// What a client is told that does not end its head.
async fn told_late<S: AsyncRead + AsyncWrite + Unpin>(mut raw: Raw<S>) {
    raw.write("GET /half HTTP/1.1\r\nHo").await;
    let text = raw.rest().await;
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "oops\n");
    let mut lines = head.lines();
    assert_eq!(lines.next(), Some("HTTP/1.1 408 Request Timeout"));
    let mut fields: Vec<_> = lines.filter(|line| !line.starts_with("date: ")).collect();
    fields.sort_unstable();
    let content = "content-type: text/plain; charset=utf-8";
    let rest = ["cache-control: no-store", "connection: close", "content-length: 5", content];
    assert!(fields.pop().is_some_and(|field| field.starts_with("x-request-id: ")), "{head}");
    assert_eq!(fields, rest);
    assert_eq!(head.matches("date: ").count(), 1);
}

#[tokio::test]
async fn a_client_that_does_not_end_its_head_gets_the_page_and_a_line_in_the_log() {
    let (folder, origin) = folder(&[("oops.txt", "oops\n")]);
    let keys = "timeouts = { header = \"1s\" }\nerror_pages = { \"4xx\" = \"oops.txt\" }\n";
    let listeners = format!("{PLAIN}{keys}{SECURE}{keys}");
    let proxy = Proxy::start_in(folder, config(&listeners, "", &origin)).await;
    told_late(proxy.raw().await).await;
    assert_eq!(proxy.tells("/", "reason", "client_header_timeout").await["status"], 408);
    told_late(Raw::secure(proxy.address("web"), "http/1.1").await).await;
    assert_eq!(proxy.tells("/", "tls", "1.3").await["reason"], "client_header_timeout");
    let counted = proxy.metric("ostler_requests_total", &["reason=\"client_header_timeout\""]);
    assert!((counted.await - 2.0).abs() < 0.5);
}

#[tokio::test]
async fn without_a_page_a_visitor_is_told_when_to_come_back() {
    let (folder, origin) = folder(&[]);
    let proxy = Proxy::start_in(folder, config(PLAIN, "", &origin)).await;
    let text = proxy.door().get("/").await.text();
    assert!(text.starts_with("503 Service Unavailable\n") && text.contains("come back"), "{text}");
}

#[tokio::test]
async fn without_a_page_a_visitor_can_quote_the_id_that_the_log_has() {
    let (folder, origin) = folder(&[]);
    let proxy = Proxy::start_in(folder, config(PLAIN, "", &origin)).await;
    let text = proxy.door().get("/text").await.text();
    let line = proxy.logged("/text").await;
    let id = line["request_id"].as_str().unwrap();
    assert!(id.len() > 20 && text.ends_with(&format!("\nRequest id: {id}\n")), "{text}");
    let json = proxy.door().request("GET", "/json").header("accept", "application/json");
    let json = proxy.door().send(json, "").await.json();
    assert_eq!(json["request_id"], proxy.logged("/json").await["request_id"]);
}

#[tokio::test]
async fn a_reload_reads_the_page_again_and_a_file_that_is_missing_changes_nothing() {
    let (folder, origin) = folder(&[("sorry.html", SORRY)]);
    let pages = "error_pages = { \"503\" = \"sorry.html\" }";
    let mut proxy = Proxy::start_in(folder, config(&format!("{PLAIN}{pages}"), "", &origin)).await;
    let file = proxy.path("sorry.html");
    std::fs::write(&file, "<p>Back at noon.</p>").unwrap();
    assert_eq!(proxy.door().get("/").await.text(), SORRY, "not before the reload");
    let told = proxy.reload().await.expect(0).text();
    assert!(told.contains("~ listener http"), "{told}");
    assert_eq!(proxy.door().get("/").await.text(), "<p>Back at noon.</p>");

    std::fs::remove_file(&file).unwrap();
    let told = proxy.reload().await.expect(1).text();
    assert!(told.contains("sorry.html") && told.contains("ostler.toml:"), "{told}");
    assert_eq!(proxy.door().get("/").await.text(), "<p>Back at noon.</p>", "it is kept in memory");
}
