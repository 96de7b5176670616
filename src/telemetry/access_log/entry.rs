//! One exchange as one line.

use std::net::IpAddr;
use std::time::Duration;

use super::json;
use crate::config::model::QueryPolicy;
use crate::telemetry::address;
use crate::telemetry::reason::Reason;

/// What is told about one exchange, borrowed from where it is. An exchange that never reached a
/// point has `None` for what is known from there on.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// When it began: microseconds since 1970, UTC.
    pub time: u64,
    /// `X-Request-Id`.
    pub request_id: &'a [u8],
    /// From `traceparent`: 32 hexadecimal digits.
    pub trace_id: &'a [u8],
    /// Name of this node.
    pub node: &'a str,
    /// Configured name.
    pub listener: &'a str,
    /// Who asked, by what trusted proxies say; none where that is the peer.
    pub client: Option<IpAddr>,
    /// Who is at the other end of the connection: address and port, as `SocketAddr` writes them.
    pub peer: &'a str,
    /// `http/1.0`, `http/1.1`, `h2`, `websocket`.
    pub protocol: &'static str,
    /// TLS version of the client's connection, `1.2` or `1.3`.
    pub tls: Option<&'a str>,
    /// As it came.
    pub method: &'a str,
    /// As it came, any bytes.
    pub host: &'a [u8],
    /// As it came, without the query; any bytes.
    pub path: &'a [u8],
    /// As it came, without the question mark; the log's policy decides what of it is written.
    pub query: Option<&'a [u8]>,
    /// What was answered; 0 where the stream was cut before any answer.
    pub status: u16,
    /// Why it failed, or that it did not.
    pub reason: Reason,
    /// More about the reason, for operators.
    pub cause: Option<&'a str>,
    /// Configured name.
    pub route: Option<&'a str>,
    /// Configured name.
    pub pool: Option<&'a str>,
    /// Id of the backend of the last attempt.
    pub backend: Option<&'a str>,
    /// Attempts in all.
    pub attempts: u32,
    /// `none`, or a word of `StickyOutcome`.
    pub session: &'static str,
    /// A word of `StickyToken`.
    pub token: &'static str,
    /// Bytes of the request body.
    pub bytes_in: u64,
    /// Bytes of the response body.
    pub bytes_out: u64,
    /// In the queue for a place at a backend.
    pub t_queue: Duration,
    /// Until the connection to the backend was there.
    pub t_connect: Option<Duration>,
    /// Until the response head was there.
    pub t_first_byte: Option<Duration>,
    /// The exchange as a whole.
    pub t_total: Option<Duration>,
    /// Whether the last attempt went over a connection that was there already.
    pub upstream_reused: bool,
}

impl Entry<'_> {
    /// Appends the line, newline included.
    pub(super) fn format(&self, query: QueryPolicy, stamp: &mut Stamp, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"");
        stamp.write(self.time, out);
        safe(out, b"\",\"request_id\":\"", self.request_id);
        safe(out, b"\",\"trace_id\":\"", self.trace_id);
        text(out, b"\",\"node\":\"", self.node.as_bytes());
        safe(out, b"\",\"listener\":\"", self.listener.as_bytes());
        match self.client {
            Some(client) => {
                out.extend_from_slice(b"\",\"client\":\"");
                address::ip(out, client);
            }
            None => safe(out, b"\",\"client\":\"", address(self.peer).as_bytes()),
        }
        safe(out, b"\",\"peer\":\"", self.peer.as_bytes());
        safe(out, b"\",\"protocol\":\"", self.protocol.as_bytes());
        name(out, b"\",\"tls\":", self.tls);
        text(out, b",\"method\":\"", self.method.as_bytes());
        text(out, b"\",\"host\":\"", self.host);
        text(out, b"\",\"path\":\"", self.path);
        out.extend_from_slice(b"\",\"query\":");
        write_query(out, self.query, query);
        number(out, b",\"status\":", self.status.into());
        safe(out, b",\"reason\":\"", self.reason.as_str().as_bytes());
        safe(out, b"\",\"source\":\"", self.reason.source().as_str().as_bytes());
        out.extend_from_slice(b"\",\"cause\":");
        json::optional(out, self.cause);
        name(out, b",\"route\":", self.route);
        name(out, b",\"pool\":", self.pool);
        name(out, b",\"backend\":", self.backend);
        number(out, b",\"attempts\":", self.attempts.into());
        safe(out, b",\"session\":\"", self.session.as_bytes());
        safe(out, b"\",\"token\":\"", self.token.as_bytes());
        number(out, b"\",\"bytes_in\":", self.bytes_in);
        number(out, b",\"bytes_out\":", self.bytes_out);
        let queued = self.attempts > 0 || !self.t_queue.is_zero();
        millis(out, b",\"t_queue\":", queued.then_some(self.t_queue));
        millis(out, b",\"t_connect\":", self.t_connect);
        millis(out, b",\"t_first_byte\":", self.t_first_byte);
        millis(out, b",\"t_total\":", self.t_total);
        out.extend_from_slice(if self.upstream_reused {
            b",\"upstream_reused\":true}\n"
        } else {
            b",\"upstream_reused\":false}\n"
        });
    }
}

/// Without port, brackets and scope.
fn address(peer: &str) -> &str {
    // The port is short: to look for its colon by bytes needs no search of a library's.
    let colon = peer.bytes().rposition(|byte| byte == b':');
    let address = colon.and_then(|colon| peer.get(..colon)).unwrap_or(peer);
    match address.strip_prefix('[') {
        Some(v6) => v6.trim_end_matches(']').split('%').next().unwrap_or(v6),
        None => address,
    }
}

// The five that follow are called for each value of a line, and not repeated where they are called:
// the code of a line is carried out once a request, and is mostly waited for.

/// A key, and a value that can have nothing to escape, as valid ids have not.
#[inline(never)]
fn safe(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    debug_assert!(!json::needs_escape(value), "{value:?}");
    out.extend_from_slice(key);
    out.extend_from_slice(value);
}

#[inline(never)]
fn text(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    out.extend_from_slice(key);
    json::text(out, value);
}

/// A configured name.
#[inline(never)]
fn name(out: &mut Vec<u8>, key: &[u8], value: Option<&str>) {
    out.extend_from_slice(key);
    json::name(out, value);
}

#[inline(never)]
fn number(out: &mut Vec<u8>, key: &[u8], value: u64) {
    out.extend_from_slice(key);
    json::number(out, value);
}

#[inline(never)]
fn millis(out: &mut Vec<u8>, key: &[u8], value: Option<Duration>) {
    out.extend_from_slice(key);
    json::millis(out, value);
}

fn write_query(out: &mut Vec<u8>, query: Option<&[u8]>, policy: QueryPolicy) {
    let Some(query) = query.filter(|_| policy != QueryPolicy::Drop) else {
        return out.extend_from_slice(b"null");
    };
    out.push(b'"');
    if policy == QueryPolicy::Keep {
        json::text(out, query);
    } else {
        redact(out, query);
    }
    out.push(b'"');
}

/// Names stay, values become `***`. What has no `=` may be a bare secret, and is a value.
fn redact(out: &mut Vec<u8>, query: &[u8]) {
    for (index, pair) in query.split(|byte| *byte == b'&').enumerate() {
        if index > 0 {
            out.push(b'&');
        }
        if let Some(equals) = pair.iter().position(|byte| *byte == b'=') {
            json::text(out, pair.get(..=equals).unwrap_or_default());
        }
        if !pair.is_empty() {
            out.extend_from_slice(b"***");
        }
    }
}

/// The last second that was formatted: most lines fall into the same one.
#[derive(Debug, Default)]
pub(super) struct Stamp {
    second: Option<u64>,
    /// `2026-01-31T12:00:00`.
    text: String,
}

impl Stamp {
    /// RFC 3339 in UTC with milliseconds.
    fn write(&mut self, micros: u64, out: &mut Vec<u8>) {
        let second = micros / 1_000_000;
        if self.second != Some(second) {
            let time = i64::try_from(second)
                .ok()
                .and_then(|second| jiff::Timestamp::from_second(second).ok())
                .unwrap_or(jiff::Timestamp::MAX);
            self.text.clear();
            self.text.push_str(time.strftime("%FT%T").to_string().as_str());
            self.second = Some(second);
        }
        out.extend_from_slice(self.text.as_bytes());
        out.push(b'.');
        json::decimals(out, micros / 1000 % 1000);
        out.push(b'Z');
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::telemetry::counters::{StickyOutcome, StickyToken};

    pub(in crate::telemetry::access_log) fn entry() -> Entry<'static> {
        Entry {
            time: 1_769_860_800_123_456,
            request_id: b"4f1e",
            trace_id: b"0af7651916cd43dd8448eb211c80319c",
            node: "lb-1",
            listener: "web",
            client: Some(IpAddr::from([203, 0, 113, 9])),
            peer: "10.0.0.1:40000",
            protocol: "h2",
            tls: Some("1.3"),
            method: "GET",
            host: b"shop.example.com",
            path: b"/cart",
            query: Some(b"id=7&token=secret"),
            status: 200,
            reason: Reason::None,
            cause: None,
            route: Some("shop"),
            pool: Some("shop"),
            backend: Some("a"),
            attempts: 1,
            session: "kept",
            token: "valid",
            bytes_in: 0,
            bytes_out: 1234,
            t_queue: Duration::ZERO,
            t_connect: None,
            t_first_byte: Some(Duration::from_micros(1_500)),
            t_total: Some(Duration::from_micros(2_042)),
            upstream_reused: true,
        }
    }

    fn line(entry: &Entry<'_>, policy: QueryPolicy) -> String {
        let mut out = Vec::new();
        entry.format(policy, &mut Stamp::default(), &mut out);
        String::from_utf8(out).unwrap()
    }

    /// What docs/access-log.md has in the first column of the tables under a title, in its order.
    fn documented(title: &str) -> Vec<&'static str> {
        let text = include_str!("../../../docs/access-log.md");
        let (_, rest) = text.split_once(title).expect(title);
        let rows = rest.lines().skip_while(|line| !line.starts_with('|'));
        let rows = rows.take_while(|line| line.starts_with('|'));
        let first = rows.filter_map(|row| row.split('|').nth(1));
        first.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
    }

    #[test]
    fn the_fields_and_words_of_the_log_are_those_that_are_documented() {
        let mut out = Vec::new();
        entry().format(QueryPolicy::Keep, &mut Stamp::default(), &mut out);
        let line = String::from_utf8(out).unwrap();
        let fields: Vec<&str> = documented("\n## Fields\n");
        let at = |field: &&str| line.find(&format!("\"{field}\":")).expect(field);
        let places: Vec<usize> = fields.iter().map(at).collect();
        assert!(places.is_sorted(), "{fields:?}");
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line.as_object().unwrap().len(), fields.len());

        let sorted = |mut words: Vec<&'static str>| {
            words.sort_unstable();
            words
        };
        let reasons = Reason::ALL.iter().map(|word| word.as_str()).collect();
        assert_eq!(sorted(documented("\n`reason`, ")), sorted(reasons));
        let outcomes = StickyOutcome::ALL.iter().map(|word| word.as_str());
        assert_eq!(sorted(documented("\n`session`:")), sorted(outcomes.chain(["none"]).collect()));
        let tokens = StickyToken::ALL.iter().map(|word| word.as_str()).collect();
        assert_eq!(sorted(documented("\n`token`:")), sorted(tokens));
    }

    #[test]
    fn a_line_has_every_key_of_the_contract_in_its_order() {
        assert_eq!(
            line(&entry(), QueryPolicy::Redact),
            concat!(
                r#"{"time":"2026-01-31T12:00:00.123Z","request_id":"4f1e","#,
                r#""trace_id":"0af7651916cd43dd8448eb211c80319c","node":"lb-1","#,
                r#""listener":"web","client":"203.0.113.9","peer":"10.0.0.1:40000","#,
                r#""protocol":"h2","tls":"1.3","method":"GET","host":"shop.example.com","#,
                r#""path":"/cart","query":"id=***&token=***","status":200,"reason":"none","#,
                r#""source":"none","cause":null,"route":"shop","pool":"shop","backend":"a","#,
                r#""attempts":1,"session":"kept","token":"valid","bytes_in":0,"#,
                r#""bytes_out":1234,"t_queue":0.000,"t_connect":null,"t_first_byte":1.500,"#,
                r#""t_total":2.042,"upstream_reused":true}"#,
                "\n",
            )
        );
    }

    #[test]
    fn what_was_never_forwarded_has_no_times_of_a_backend() {
        let refused = Entry { attempts: 0, t_first_byte: None, route: None, ..entry() };
        let line: Value = serde_json::from_str(&line(&refused, QueryPolicy::Keep)).unwrap();
        assert!(line["t_queue"].is_null() && line["t_first_byte"].is_null());
        assert!(line["route"].is_null());
    }

    #[test]
    fn the_policy_decides_what_of_a_query_is_written() {
        let query = |query: Option<&'static [u8]>, policy| {
            let line = line(&Entry { query, ..entry() }, policy);
            serde_json::from_str::<Value>(&line).unwrap()["query"].clone()
        };
        assert_eq!(query(Some(b"a=1&b"), QueryPolicy::Keep), "a=1&b");
        assert_eq!(query(Some(b"a=1=2&b&&c=&=x"), QueryPolicy::Redact), "a=***&***&&c=***&=***");
        assert_eq!(query(Some(b"a=1"), QueryPolicy::Drop), Value::Null);
        assert_eq!(query(None, QueryPolicy::Keep), Value::Null);
    }

    #[test]
    fn a_time_beyond_the_calendar_is_still_a_line() {
        let late = Entry { time: u64::MAX, ..entry() };
        serde_json::from_str::<Value>(&line(&late, QueryPolicy::Drop)).unwrap();
    }

    proptest! {
        #[test]
        fn any_entry_is_one_line_that_reads_back(
            method in "\\PC*", host in any::<String>(), path in any::<String>(),
            query in any::<Option<Vec<u8>>>(), cause in any::<Option<String>>(),
            time in 0..4_000_000_000_000_000_u64, peer in any::<SocketAddr>(),
            micros in any::<Option<u32>>(),
        ) {
            let line = line(
                &Entry {
                    method: &method, host: host.as_bytes(), path: path.as_bytes(),
                    query: query.as_deref(), cause: cause.as_deref(), time,
                    client: None, peer: &peer.to_string(),
                    t_total: micros.map(|m| Duration::from_micros(m.into())), ..entry()
                },
                QueryPolicy::Redact,
            );
            prop_assert_eq!(line.matches('\n').count(), 1);
            prop_assert!(line.ends_with('\n'));
            let value: Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(&value["method"], &method);
            prop_assert_eq!(&value["host"], &host);
            prop_assert_eq!(&value["path"], &path);
            prop_assert_eq!(value["cause"].as_str(), cause.as_deref());
            prop_assert_eq!(&value["client"], &peer.ip().to_string());
            prop_assert_eq!(&value["peer"], &peer.to_string());
            let stamp: jiff::Timestamp = value["time"].as_str().unwrap().parse().unwrap();
            prop_assert_eq!(stamp.as_millisecond(), i64::try_from(time / 1000).unwrap());
        }
    }
}
