//! The log says why: each failure with all that it was caused by, in words that help.

use crate::harness::{
    After, Config, Fault, Origin, PLAIN, Proxy, SECURE, default_route, unchecked,
};

/// What the log has of one request that fails for want of an answer.
struct Story {
    status: u16,
    reason: &'static str,
    /// Each stands in the cause.
    says: &'static [&'static str],
}

async fn front(origin: &Origin, lines: &str, route: &str) -> Proxy {
    let pool = unchecked("web", std::slice::from_ref(origin), lines);
    Proxy::start(Config::new(format!("{PLAIN}{}{route}\n{pool}", default_route("web")))).await
}

async fn tells(proxy: &Proxy, path: &str, story: Story) {
    let answer = proxy.door().get(path).await;
    assert_eq!(answer.status, story.status, "{path}: {}", answer.text());
    let line = proxy.logged(path).await;
    assert_eq!(line["reason"], story.reason, "{line}");
    let cause = line["cause"].as_str().unwrap_or_else(|| panic!("no cause in {line}"));
    for part in story.says {
        assert!(cause.contains(part), "{part} in {cause}");
    }
}

#[tokio::test]
async fn a_backend_that_cannot_be_reached_is_told_by_the_systems_own_error() {
    let mut origin = Origin::start("a");
    let proxy = front(&origin, "", "").await;
    origin.kill();
    let says = &["connect: Connection refused (os error 111)"];
    tells(&proxy, "/refused", Story { status: 502, reason: "connect_refused", says }).await;
}

#[tokio::test]
async fn a_certificate_that_nobody_signed_is_told_from_a_port_that_knows_no_tls() {
    let respond = "[[routes]]\nrespond = { status = 200 }\n";
    let backend = Proxy::start(Config::new(format!("{SECURE}{respond}"))).await;
    let pool = format!(
        "[pools.web]\nbackends = [{{ id = \"a\", address = \"{}\" }}]\n\
         tls = {{ server_name = \"localhost\" }}\n",
        backend.address("web")
    );
    let body = format!("{PLAIN}{}{pool}", default_route("web"));
    let proxy = Proxy::start(Config::new(body)).await;
    let says = &["TLS: ", "certificate", "UnknownIssuer"];
    tells(&proxy, "/signed", Story { status: 502, reason: "backend_tls", says }).await;

    let origin = Origin::start("plain");
    let proxy = front(&origin, "tls = { server_name = \"localhost\" }", "").await;
    let says = &["TLS: timed out in the handshake"];
    tells(&proxy, "/plain", Story { status: 504, reason: "connect_timeout", says }).await;
}

#[tokio::test]
async fn what_breaks_off_or_makes_no_sense_is_told_apart() {
    let origin = Origin::start("a");
    let route = "retry.tries = 1\ntimeouts.response_header = \"300ms\"";
    let proxy = front(&origin, "", route).await;
    origin.fault(Fault::ResetAfterHead);
    let says = &["Connection reset by peer (os error 104)"];
    tells(&proxy, "/reset", Story { status: 502, reason: "backend_reset", says }).await;
    origin.fault(Fault::Bytes(Vec::new(), After::Close));
    let says = &["connection closed before the answer"];
    tells(&proxy, "/closed", Story { status: 502, reason: "backend_reset", says }).await;
    origin.fault(Fault::Bytes(b"220 mail.example.com ESMTP\r\n\r\n".to_vec(), After::Close));
    let says = &[];
    tells(&proxy, "/mail", Story { status: 502, reason: "bad_response", says }).await;
    origin.fault(Fault::HangInHead);
    let says = &["no answer within 300ms"];
    tells(&proxy, "/hangs", Story { status: 504, reason: "backend_header_timeout", says }).await;
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".to_vec();
    origin.fault(Fault::Bytes(half, After::Close));
    let says = &["the connection ended within the answer"];
    tells(&proxy, "/half", Story { status: 200, reason: "backend_body_aborted", says }).await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_with_its_request_is_no_fault_of_its_backend() {
    let origin = Origin::start("a");
    let proxy = front(&origin, "", "").await;
    let begun = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".to_vec();
    origin.fault(Fault::Bytes(begun, After::Hold));
    let head = "POST /mixed HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut raw = proxy.raw().await;
    raw.write(format!("{head}1\r\na\r\n")).await;
    raw.until("half").await;
    raw.write("no chunk\r\n").await;
    let line = proxy.logged("/mixed").await;
    assert_eq!((&line["status"], &line["reason"]), (&200.into(), &"bad_request".into()), "{line}");
}
