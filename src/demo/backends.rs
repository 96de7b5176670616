//! Small backends inside the process, on a thread of their own.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::page::Memory;
use crate::task;

/// After so many requests somebody has seen it work.
const A_FEW: u32 = 5;
/// When the system has no descriptor left, so long until we look again.
const PAUSE: Duration = Duration::from_millis(100);

/// What is called once, after a few requests.
type Told = Box<dyn FnOnce() + Send>;

/// What the backends share.
struct Shared {
    left: u32,
    told: Option<Told>,
}

/// Starts so many backends and gives their names and addresses. They end with the process.
/// `told` is called after a few requests, checks not counted.
///
/// # Errors
/// Where a port or the thread cannot be had.
pub(super) fn start(
    count: u16,
    told: impl FnOnce() + Send + 'static,
) -> io::Result<Vec<(String, SocketAddr)>> {
    let mut listeners = Vec::new();
    for number in 1..=count {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        listeners.push((name(number), listener));
    }
    let addresses = listeners
        .iter()
        .map(|(name, listener)| Ok((name.clone(), listener.local_addr()?)))
        .collect::<io::Result<_>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let shared = Arc::new(Mutex::new(Shared { left: A_FEW, told: Some(Box::new(told)) }));
    std::thread::Builder::new().name("demo-backends".to_owned()).spawn(move || {
        runtime.block_on(async {
            for (name, listener) in listeners {
                drop(task::spawn("demo-backend", serve(name, listener, Arc::clone(&shared))));
            }
            std::future::pending::<()>().await;
        });
    })?;
    Ok(addresses)
}

/// `one`, `two`, `three` … as long as people would write them out.
pub(super) fn name(number: u16) -> String {
    const NAMES: [&str; 9] =
        ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
    let written = usize::from(number).checked_sub(1).and_then(|index| NAMES.get(index));
    written.map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

async fn serve(name: String, listener: TcpListener, shared: Arc<Mutex<Shared>>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, name, "a backend of the demo cannot serve"),
    };
    let name: Arc<str> = name.into();
    let memory = Arc::new(Mutex::new(Memory::default()));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (name, memory) = (Arc::clone(&name), Arc::clone(&memory));
                let shared = Arc::clone(&shared);
                let service = service_fn(move |request: Request<Incoming>| {
                    let answer = answer(&name, &request, &memory, &shared);
                    std::future::ready(Ok::<_, Infallible>(answer))
                });
                drop(task::spawn("demo-connection", async move {
                    // How a connection ends is the balancer's business.
                    drop(
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service).await,
                    );
                }));
            }
            Err(error) => {
                tracing::warn!(%error, "a backend of the demo cannot accept");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn answer(
    name: &str,
    request: &Request<Incoming>,
    memory: &Mutex<Memory>,
    shared: &Mutex<Shared>,
) -> Response<Full<Bytes>> {
    if request.uri().path() == "/healthz" {
        return Response::new(Full::new(Bytes::from_static(b"fine\n")));
    }
    if let Some(told) = counted(shared) {
        told();
    }
    memory.lock().unwrap_or_else(PoisonError::into_inner).answer(name, request.headers())
}

/// Counts one request; gives what is to be said with the last of the first few.
fn counted(shared: &Mutex<Shared>) -> Option<Told> {
    let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
    shared.left = shared.left.saturating_sub(1);
    if shared.left == 0 { shared.told.take() } else { None }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::sync::mpsc;

    use super::*;

    fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn each_backend_has_a_name_and_it_is_told_once_after_a_few_requests() {
        let (sender, told) = mpsc::channel();
        let all = start(3, move || sender.send(()).unwrap()).unwrap();
        assert_eq!(all.iter().map(|(name, _)| name).collect::<BTreeSet<_>>().len(), 3);
        for (_, address) in &all {
            assert!(get(*address, "/healthz").contains("fine"));
        }
        for request in 0..7 {
            let (name, address) = &all[request % 3];
            assert!(get(*address, "/").contains(&format!("x-backend: {name}")));
        }
        assert_eq!(told.try_iter().count(), 1);
    }

    #[test]
    fn names_are_written_out_as_far_as_people_would() {
        assert_eq!([name(1), name(9), name(10)], ["one", "nine", "10"]);
    }
}
