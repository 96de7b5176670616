//! From end to end: any bytes of a backend, and the client gets a whole answer where they are one,
//! an error or a broken one where they are not, and nobody gets what is left of them.

#![no_main]

use std::sync::{LazyLock, Mutex};

use libfuzzer_sys::fuzz_target;
use ostler_fuzz::farm::{After, Client, Farm, PATIENCE, Seen, lock};
use ostler_fuzz::reader::{self, Read, Response, Unread};

static FARM: LazyLock<Farm> = LazyLock::new(|| Farm::start(Box::new(answer)));
/// What the backend says.
static BYTES: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static PROBES: Mutex<u64> = Mutex::new(0);

fn answer(seen: &Seen) -> (Vec<u8>, After) {
    if let Some(number) = seen.target.strip_prefix("/probe/") {
        let length = number.len();
        let said = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{number}");
        return (said.into(), After::Keep);
    }
    let bytes = lock(&BYTES).clone();
    let whole = is_whole(&bytes, seen.method == "HEAD");
    (bytes, if whole { After::Keep } else { After::Close })
}

/// Whether a reader knows where the answer ends. Then the connection stays open, and what is behind
/// the answer lies in wait for the next one.
fn is_whole(bytes: &[u8], head: bool) -> bool {
    let read = reader::final_response(bytes, 0, head, false);
    read.is_ok_and(|answer| answer.status != 101 && answer.body.is_ok())
}

fuzz_target!(|input: &[u8]| {
    let [flags, bytes @ ..] = input else { return };
    let farm = &*FARM;
    let method = match flags & 3 {
        0 | 1 => "GET",
        2 => "HEAD",
        _ => "POST",
    };
    let head = method == "HEAD";
    *lock(&BYTES) = bytes.to_vec();
    let body = if method == "POST" { "Content-Length: 3\r\n\r\nabc" } else { "\r\n" };
    let mut client = Client::connect(farm.http1);
    client.send(format!("{method} /x HTTP/1.1\r\nHost: a\r\n{body}").as_bytes());
    let over = |client: &Client| {
        let answer = reader::final_response(&client.received, 0, head, client.ended);
        answer.is_ok_and(|answer| answer.body.is_ok())
    };
    client.read_until(PATIENCE, over);
    let got = reader::final_response(&client.received, 0, head, client.ended);
    let said = reader::final_response(bytes, 0, head, !is_whole(bytes, head));
    let end = compare(&got, &said, &client.received);
    assert_eq!(end.unwrap_or(client.received.len()), client.received.len(), "more than an answer");
    drop((got, said));
    probe(farm, client, end.is_some());
    if let Some(fault) = lock(&farm.faults).first() {
        panic!("{fault}");
    }
    lock(&farm.seen).clear();
    lock(&farm.lines).clear();
});

/// Where the client's answer ends, if it is whole.
fn compare(got: &Read<Response<'_>>, said: &Read<Response<'_>>, received: &[u8]) -> Option<usize> {
    let got = match got {
        Ok(got) => got,
        Err(why) => panic!("no answer ({why:?}): {}", received.escape_ascii()),
    };
    let end = got.body.as_ref().ok().map(|(_, end)| *end);
    if let Ok(said) = said
        && said.status == got.status
    {
        match (&said.body, &got.body) {
            (Ok(_), _) if got.status == 205 => return end,
            (Ok((said, _)), Ok((got, _))) if said == got => return end,
            (Err(_), Err(_)) => return end,
            // hyper does not look into what it drops.
            (Err(Unread::Wrong("chunk extension" | "trailer")), Ok(_)) => return end,
            _ => {}
        }
    }
    // An error of ours.
    assert!(
        matches!(got.status, 502..=504) && end.is_some(),
        "the backend said {said:?}, the client got {got:?}"
    );
    end
}

/// The next request, on the same connection where it is still there, gets its own answer.
fn probe(farm: &Farm, mut client: Client, whole: bool) {
    let mut probes = lock(&PROBES);
    *probes += 1;
    let expected = probes.to_string();
    let request = format!("GET /probe/{expected} HTTP/1.1\r\nHost: a\r\n\r\n");
    for attempt in 0..3 {
        if attempt > 0 || client.ended || !whole {
            client = Client::connect(farm.http1);
        }
        client.received.clear();
        client.send(request.as_bytes());
        let over = |client: &Client| {
            let answer = reader::final_response(&client.received, 0, false, client.ended);
            answer.is_ok_and(|answer| answer.body.is_ok())
        };
        client.read_until(PATIENCE, over);
        if client.received.is_empty() && client.ended {
            // It was closed at that moment, as is its right.
            continue;
        }
        let answer = reader::final_response(&client.received, 0, false, client.ended);
        let body = answer.ok().filter(|it| it.status == 200).and_then(|it| it.body.ok());
        let (body, end) = body.unwrap_or_else(|| {
            panic!("the probe was answered by {}", client.received.escape_ascii())
        });
        assert_eq!(body, expected.as_bytes());
        assert_eq!(end, client.received.len(), "more than an answer");
        return;
    }
    panic!("the probe was never answered");
}
