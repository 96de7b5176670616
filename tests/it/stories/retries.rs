//! Retries, by the one table of failures: never a POST twice, never a GET lost needlessly.

use std::io::{Read as _, Write as _};
use std::net::TcpListener as StdListener;

use crate::harness::{
    After, Config, Fault, Jar, Origin, PLAIN, Proxy, SOON, default_route, soon, spawn, sticky_farm,
    unchecked, within,
};

/// One worker and no checks, so that the turn of each backend is known.
async fn front(origins: &[&Origin], route: &str) -> Proxy {
    let backends: Vec<String> = origins
        .iter()
        .map(|it| format!("{{ id = \"{}\", address = \"{}\" }}", it.name(), it.address()))
        .collect();
    let body = format!(
        "{PLAIN}{}{route}\n[pools.web]\npolicy = \"round-robin\"\nbackends = [{}]\n",
        default_route("web"),
        backends.join(", ")
    );
    Proxy::start(Config::new(body).runtime("workers = 1")).await
}

/// A budget that never ends, where the story is not about it.
const FREELY: &str = "retry = { budget = \"100%\" }";

#[tokio::test]
async fn a_refused_connection_goes_elsewhere_with_any_method() {
    let mut origins = Origin::three();
    let proxy = front(&[&origins[0], &origins[1]], FREELY).await;
    origins[0].kill();
    let door = proxy.door();
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "PURGE"] {
        for _ in 0..2 {
            let answer = door.send(door.request(method, "/any"), "body").await;
            assert_eq!(answer.status, 200, "{method}");
        }
    }
    assert_eq!(origins[1].count(), 14, "each arrived once");
    let retries = proxy.metric("ostler_retries_total", &["reason=\"connect_refused\""]).await;
    assert!(retries >= 1.0, "{retries}");
}

#[tokio::test]
async fn a_get_that_was_reset_is_sent_again() {
    let origins = Origin::three();
    let proxy = front(&[&origins[0], &origins[1]], FREELY).await;
    origins[0].fault(Fault::ResetAfterHead);
    let door = proxy.door();
    for method in ["GET", "HEAD", "OPTIONS"] {
        for _ in 0..2 {
            assert_eq!(door.send(door.request(method, "/again"), "").await.status, 200, "{method}");
        }
    }
    assert_eq!(origins[1].count(), 6);
    assert!(origins[0].count() >= 1, "it was asked as well");
}

#[tokio::test]
async fn a_post_that_was_sent_is_never_sent_again() {
    let origins = Origin::three();
    let proxy = front(&[&origins[0], &origins[1]], FREELY).await;
    for origin in &origins {
        origin.fault(Fault::ResetAfterHead);
    }
    let door = proxy.door();
    for (round, method) in ["POST", "PATCH", "PURGE"].into_iter().enumerate() {
        let answer = door.send(door.request(method, "/once"), "body").await;
        assert_eq!(answer.status, 502, "{method}");
        assert_eq!(origins[0].count() + origins[1].count(), round + 1, "{method} went out once");
    }
    let line = proxy.logged("/once").await;
    assert_eq!(line["reason"], "backend_reset");
    assert_eq!(line["attempts"], 1);
}

#[tokio::test]
async fn a_put_is_sent_again_on_a_stale_connection_only() {
    let origins = Origin::three();
    let proxy = front(&[&origins[0]], FREELY).await;
    let door = proxy.door();
    origins[0].fault(Fault::ResetAfterHead);
    assert_eq!(door.send(door.request("PUT", "/fresh"), "").await.status, 502);
    assert_eq!(origins[0].count(), 1, "on a fresh connection it was reset for a reason");
}

#[tokio::test]
async fn a_kept_connection_that_the_backend_closed_costs_nobody_anything() {
    let mut origins = Origin::three();
    let proxy = front(&[&origins[0]], FREELY).await;
    let door = proxy.door();
    for round in 0..5 {
        assert_eq!(door.send(door.request("POST", "/keep"), "body").await.status, 200);
        // The idle connection dies with the process, and a new process is there at once.
        origins[0].kill();
        origins[0].revive();
        let answer = door.get("/after").await;
        assert_eq!(answer.status, 200, "round {round}");
    }
}

/// Whether some connection to this port has not heard of a close.
fn is_open(port: u16) -> bool {
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let (port, established) = (format!(":{port:04X}"), "01");
    sockets.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(2);
        let to = fields.next().is_some_and(|remote| remote.ends_with(&port));
        to && fields.next() == Some(established)
    })
}

#[tokio::test]
async fn a_post_never_comes_to_a_connection_that_its_backend_has_closed_already() {
    // It closes unannounced after each answer.
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"body") {
                let mut piece = [0; 1024];
                match stream.read(&mut piece) {
                    Ok(count) if count > 0 => head.extend_from_slice(&piece[..count]),
                    _ => break,
                }
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let origin = Origin::start("busy");
    let body = format!(
        "{PLAIN}{}[[routes]]\nhosts = [\"closing\"]\npool = \"closing\"\n\
         [pools.web]\nbackends = [{{ address = \"{}\" }}]\n\
         [pools.closing]\nbackends = [{{ address = \"{address}\" }}]\nejection = \"off\"\n",
        default_route("web"),
        origin.address(),
    );
    let proxy = Proxy::start(Config::new(body).runtime("workers = 1")).await;
    // Its worker has something to do between two looks at what has happened.
    let crowd: Vec<_> = (0..4)
        .map(|_| {
            let door = proxy.door();
            spawn(async move {
                let mut kept = door.connect().await;
                loop {
                    kept.get("/busy").await;
                }
            })
        })
        .collect();
    let door = proxy.door().host("closing");
    let mut kept = door.connect().await;
    for round in 0..200 {
        let answer = kept.send(door.request("POST", "/once"), "body").await;
        assert_eq!(answer.status, 200, "round {round}");
        // A busy kernel may hand on the close later than it was said.
        within(SOON, "the close", async || (!is_open(address.port())).then_some(())).await;
    }
    for one in crowd {
        one.abort();
    }
}

#[tokio::test]
async fn all_refusing_is_a_502_after_three_tries() {
    let mut origins = Origin::three();
    let proxy = front(&[&origins[0], &origins[1], &origins[2]], FREELY).await;
    for origin in &mut origins {
        origin.kill();
    }
    assert_eq!(proxy.door().get("/none").await.status, 502);
    let line = proxy.logged("/none").await;
    assert_eq!(line["reason"], "connect_refused");
    assert_eq!(line["attempts"], 3);
}

#[tokio::test]
async fn one_try_means_one() {
    let origins = Origin::three();
    let proxy = front(&[&origins[0], &origins[1]], "retry = { tries = 1 }").await;
    for origin in &origins {
        origin.fault(Fault::ResetAfterHead);
    }
    assert_eq!(proxy.door().get("/").await.status, 502);
    assert_eq!(origins[0].count() + origins[1].count(), 1);
}

#[tokio::test]
async fn a_5xx_is_sent_again_only_where_the_route_says_so() {
    let origins = Origin::three();
    let proxy = front(&[&origins[0], &origins[1]], FREELY).await;
    origins[0].fault(Fault::Status(503));
    let mut codes = Vec::new();
    for _ in 0..4 {
        codes.push(proxy.door().get("/").await.status);
    }
    assert!(codes.contains(&503) && codes.contains(&200), "{codes:?}");

    let route = "retry = { on = [\"unsent\", \"5xx\"], budget = \"100%\" }";
    let proxy = front(&[&origins[0], &origins[1]], route).await;
    for _ in 0..4 {
        assert_eq!(proxy.door().get("/").await.status, 200);
    }
    let mut codes = Vec::new();
    for _ in 0..4 {
        let door = proxy.door();
        codes.push(door.send(door.request("POST", "/"), "body").await.status);
    }
    assert!(codes.contains(&503), "never a POST: {codes:?}");
}

#[tokio::test]
async fn a_backend_that_does_not_answer_is_a_504() {
    let origins = Origin::three();
    let route = "timeouts = { response_header = \"500ms\" }\nretry = { budget = \"100%\" }";
    let proxy = front(&[&origins[0], &origins[1]], route).await;
    for origin in &origins {
        origin.fault(Fault::HangInHead);
    }
    assert_eq!(proxy.door().get("/hang").await.status, 504);
    assert_eq!(origins[0].count() + origins[1].count(), 1, "it may be at work: not sent again");
    assert_eq!(proxy.logged("/hang").await["reason"], "backend_header_timeout");
}

#[tokio::test]
async fn the_whole_exchange_has_a_deadline_where_the_route_says_so() {
    let origins = Origin::three();
    let proxy = front(&[&origins[0]], "timeouts = { request = \"500ms\" }").await;
    assert_eq!(proxy.door().get("/gate/slow").await.status, 504);
    assert_eq!(proxy.logged("/gate/slow").await["reason"], "deadline");
    // Its body too: the origin gives the first piece and holds the rest back.
    let answer = proxy.door().get("/gated-body").await;
    assert!(answer.broken, "{answer:?}");
    assert_eq!(proxy.logged("/gated-body").await["reason"], "deadline");
}

#[tokio::test]
async fn a_retry_is_counted_only_where_somebody_is_asked() {
    let mut origin = Origin::start("a");
    let proxy = front(&[&origin], "").await;
    origin.kill();
    assert_eq!(proxy.door().get("/alone").await.status, 502);
    let retries = proxy.metric("ostler_retries_total", &["pool=\"web\""]).await;
    assert!(retries < 0.5, "{retries} retries without another backend");
}

#[tokio::test]
async fn a_connection_that_does_not_come_about_is_a_504() {
    // A listener whose queue is full answers no SYN: the one address that hangs everywhere.
    let listener =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let mut held = Vec::new();
    for _ in 0..3 {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        let _ = socket.connect(&address.into());
        held.push(socket);
    }
    let body = format!(
        "{PLAIN}{}retry = {{ tries = 1 }}\n[pools.web]\n\
         backends = [{{ id = \"a\", address = \"{address}\" }}]\n\
         connections = {{ connect_timeout = \"300ms\" }}\n",
        default_route("web")
    );
    let proxy = Proxy::start(Config::new(body)).await;
    assert_eq!(soon("an answer", proxy.door().get("/unreachable")).await.status, 504);
    assert_eq!(proxy.logged("/unreachable").await["reason"], "connect_timeout");
}

#[tokio::test]
async fn the_budget_ends_retries_before_they_become_a_storm() {
    let origins = Origin::three();
    let all: Vec<&Origin> = origins.iter().collect();
    let proxy = front(&all, "").await;
    for origin in &origins {
        origin.fault(Fault::Bytes(Vec::new(), After::Close));
    }
    for _ in 0..60 {
        assert_eq!(proxy.door().get("/storm").await.status, 502);
    }
    let attempts: usize = origins.iter().map(Origin::count).sum();
    assert!(attempts < 60 * 2, "{attempts} attempts for 60 requests");
    let exhausted = proxy.metric("ostler_retry_budget_exhausted_total", &[]).await;
    assert!(exhausted >= 1.0);
}

#[tokio::test]
async fn a_body_that_has_begun_is_never_tried_again() {
    let origins = Origin::three();
    let proxy = front(&[&origins[0], &origins[1]], FREELY).await;
    let answer = proxy.door().get("/abort/1000").await;
    assert!(answer.broken);
    assert_eq!(origins[0].count() + origins[1].count(), 1);
}

#[tokio::test]
async fn idle_connections_are_used_again() {
    let origins = Origin::three();
    let proxy = front(&[&origins[0]], "").await;
    for _ in 0..20 {
        assert_eq!(proxy.door().get("/").await.status, 200);
    }
    assert!(origins[0].connections() <= 2, "{} connections", origins[0].connections());
    assert_eq!(proxy.logged("/").await["upstream_reused"], true);
}

#[tokio::test]
async fn where_half_is_reset_retries_stay_within_their_budget() {
    let origins = Origin::three();
    let pool = unchecked("web", &origins, "ejection = \"off\"");
    let body = format!("{PLAIN}{}{pool}", default_route("web"));
    let proxy = Proxy::start(Config::new(body).runtime("workers = 1")).await;
    for origin in &origins {
        origin.fault(Fault::ResetEachOther);
    }
    let began = std::time::Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let door = proxy.door();
        tasks.push(spawn(async move {
            for _ in 0..75 {
                assert!([200, 502].contains(&door.get("/half").await.status));
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    // A share of the requests; in its place ten a second, where these are few.
    let share = (300 / 5).max(10 * (1 + began.elapsed().as_secs()));
    let most = 300 + 12 + usize::try_from(share).unwrap();
    let attempts: usize = origins.iter().map(Origin::count).sum();
    assert!(attempts > 300 && attempts <= most, "{attempts} attempts, {most} at most");
}

#[tokio::test]
async fn who_waits_for_a_backend_that_goes_down_is_freed_by_the_verdict() {
    let origins = ["a", "b"].map(Origin::start);
    let proxy = Proxy::start(sticky_farm(&origins, "idle = \"1h\"")).await;
    let mut jar = Jar::new();
    while jar.get(&proxy.door(), "/").await.name() != "a" {
        jar = Jar::new();
    }
    origins[0].fault(Fault::HangInHead);
    let before = origins[0].count();
    let (door, mut getter) = (proxy.door(), jar.clone());
    let get = spawn(async move { getter.get(&door, "/get").await });
    let door = proxy.door();
    let post = spawn(async move {
        let mut connection = door.connect().await;
        let request = door.request("POST", "/post");
        jar.send_on(&mut connection, request, "body").await
    });
    within(SOON, "both to wait", async || (origins[0].count() == before + 2).then_some(())).await;
    origins[0].healthy(false);
    assert_eq!(soon("the repetition", get).await.unwrap().name(), "b");
    assert_eq!(soon("the refusal", post).await.unwrap().status, 502);
    assert_eq!(proxy.logged("/post").await["reason"], "backend_reset");
}
