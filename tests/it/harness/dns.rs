//! A name server of its own thread: it answers what it is told to, counts, and fails on demand.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

const A: u16 = 1;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const NXDOMAIN: u8 = 3;

/// How questions are mistreated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Answers as it should.
    Well,
    /// Answers with this response code (2: SERVFAIL, 3: NXDOMAIN).
    Code(u8),
    /// Says nothing.
    Silent,
}

#[derive(Default)]
struct Zone {
    /// By name and type: records as they travel.
    records: HashMap<(String, u16), Vec<Vec<u8>>>,
    mood: Option<Mood>,
}

/// One name server on a port of its own; every record has a TTL of a second.
pub(crate) struct Dns {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    asked: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Dns {
    /// One that knows no name.
    pub(crate) fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let address = socket.local_addr().unwrap();
        let zone = Arc::new(Mutex::new(Zone::default()));
        let (asked, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let mut dns = Self { address, zone, asked, stop, thread: None };
        let (zone, asked, stop) =
            (Arc::clone(&dns.zone), Arc::clone(&dns.asked), Arc::clone(&dns.stop));
        dns.thread = Some(std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while !stop.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                asked.fetch_add(1, Ordering::Relaxed);
                let answer = answer(&buffer[..length], &zone.lock().unwrap());
                if let Some(answer) = answer {
                    let _ = socket.send_to(&answer, from);
                }
            }
        }));
        dns
    }

    /// The line of `[runtime]` that has it asked.
    pub(crate) fn resolvers(&self) -> String {
        format!("resolvers = [\"{}\"]", self.address)
    }

    /// From now on these are the addresses of a name.
    pub(crate) fn addresses(&self, name: &str, addresses: &[IpAddr]) {
        let mut zone = self.zone.lock().unwrap();
        let (mut four, mut six) = (Vec::new(), Vec::new());
        for address in addresses {
            match address {
                IpAddr::V4(ip) => four.push(ip.octets().to_vec()),
                IpAddr::V6(ip) => six.push(ip.octets().to_vec()),
            }
        }
        zone.records.insert((name.to_owned(), A), four);
        zone.records.insert((name.to_owned(), AAAA), six);
    }

    /// From now on these are its SRV records: priority, weight, port, host.
    pub(crate) fn services(&self, name: &str, records: &[(u16, u16, u16, &str)]) {
        let record = |(priority, weight, port, host): &(u16, u16, u16, &str)| {
            let numbers = [priority, weight, port].into_iter().flat_map(|n| n.to_be_bytes());
            numbers.chain(labels(host)).collect()
        };
        let records = records.iter().map(record).collect();
        self.zone.lock().unwrap().records.insert((name.to_owned(), SRV), records);
    }

    /// Mistreats every question from now on.
    pub(crate) fn mood(&self, mood: Mood) {
        self.zone.lock().unwrap().mood = Some(mood);
    }

    /// Questions so far.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A name as it travels.
fn labels(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// The answer to a question (RFC 1035 §4); none where it is to be silence.
fn answer(question: &[u8], zone: &Zone) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    let mood = zone.mood.unwrap_or(Mood::Well);
    if mood == Mood::Silent {
        return None;
    }
    let mut name = String::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*question.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(&String::from_utf8_lossy(question.get(at..at + length)?).to_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes([*question.get(at)?, *question.get(at + 1)?]);
    let asked = question.get(HEADER..at + 4)?;
    let known = zone.records.keys().any(|(other, _)| *other == name);
    let records = zone.records.get(&(name, kind)).cloned().unwrap_or_default();
    let (code, records) = match mood {
        Mood::Code(code) => (code, Vec::new()),
        _ if known => (0, records),
        _ => (NXDOMAIN, Vec::new()),
    };
    let mut answer = question.get(..2)?.to_vec();
    answer.extend_from_slice(&[0x81, 0x80 | code, 0, 1]);
    answer.extend_from_slice(&u16::try_from(records.len()).unwrap().to_be_bytes());
    answer.extend_from_slice(&[0, 0, 0, 0]);
    answer.extend_from_slice(asked);
    for record in records {
        // A pointer to the name of the question, type, class IN, a TTL of a second.
        answer.extend_from_slice(&[0xc0, 0x0c]);
        answer.extend_from_slice(&kind.to_be_bytes());
        answer.extend_from_slice(&[0, 1, 0, 0, 0, 1]);
        answer.extend_from_slice(&u16::try_from(record.len()).unwrap().to_be_bytes());
        answer.extend_from_slice(&record);
    }
    Some(answer)
}
