//! Accepts connections of one address on one worker, and finds each the worker to serve it.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use crate::http::local;
use crate::net::pressure::{self, Level};
use crate::snapshot::Listener;
use crate::task;
use crate::telemetry::counters::RefuseCause;

use super::connection::{Arrival, HandedOver};
use super::drain::Ending;
use super::worker::Place;

/// After a failure that will not pass by itself at once: no file descriptors, no memory.
const PAUSE: Duration = Duration::from_millis(50);

/// Whose connections an address brings.
#[derive(Debug, Clone)]
struct Owner {
    slot: usize,
    ending: Ending,
}

/// A running acceptor.
#[derive(Debug)]
pub(super) struct Acceptor {
    owner: Arc<Mutex<Owner>>,
    ended: Ending,
}

impl Acceptor {
    /// New connections belong to another listener from now on.
    pub(super) fn reassign(&self, slot: usize, ending: Ending) {
        *self.owner.lock().unwrap_or_else(PoisonError::into_inner) = Owner { slot, ending };
    }

    /// Takes what waits in its queue, then closes.
    pub(super) fn end(&self) {
        self.ended.begin();
    }
}

/// Starts an acceptor on this worker.
pub(super) fn start(
    socket: std::net::TcpListener,
    slot: usize,
    ending: Ending,
    place: &Place,
) -> io::Result<Acceptor> {
    let socket = TcpListener::from_std(socket)?;
    let owner = Arc::new(Mutex::new(Owner { slot, ending }));
    let acceptor = Acceptor { owner: Arc::clone(&owner), ended: Ending::new() };
    let ended = acceptor.ended.clone();
    let place = place.clone();
    task::spawn("acceptor", async move {
        run(&socket, &owner, &ended, &place).await;
        // A socket that shares its port is not closed with a queue: the kernel would reset it.
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Ok((stream, address))) = socket.poll_accept(&mut cx) {
            take(stream, address, &owner, &place);
        }
    });
    Ok(acceptor)
}

async fn run(socket: &TcpListener, owner: &Mutex<Owner>, ended: &Ending, place: &Place) {
    let ending = ended.wait();
    tokio::pin!(ending);
    loop {
        if !place.limits.has_room() {
            // They wait in the kernel's queue, where they cost nothing.
            tokio::select! {
                () = &mut ending => return,
                () = tokio::time::sleep(PAUSE) => continue,
            }
        }
        let accepted = tokio::select! {
            () = &mut ending => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => take(stream, address, owner, place),
            // The client left before it was accepted (accept(2)).
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Whether memory is too short for another connection: one of TLS needs much of it, one without may
/// be a visitor who is known.
pub(super) fn is_too_much(listener: &Listener) -> bool {
    let most = if listener.tls.is_some() { Level::Handshakes } else { Level::Everybody };
    pressure::level() >= most
}

fn take(stream: TcpStream, address: SocketAddr, owner: &Mutex<Owner>, place: &Place) {
    let Owner { slot, ending } = owner.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let Some((snapshot, index)) = local::snapshot_for(slot) else { return };
    let Some(listener) = snapshot.listeners.get(index) else { return };
    if is_too_much(listener) {
        listener.counters.get(place.number).connection_refused(RefuseCause::Memory);
        return;
    }
    let client = address.ip().to_canonical();
    let exempt = listener.trusted.contains(client);
    let most = (!exempt).then_some(listener.limits.connections_per_client);
    let worker = place.limits.choose(place.number);
    let Some(permit) = place.limits.admit(client, most, worker) else {
        listener.counters.get(place.number).connection_refused(RefuseCause::PerClient);
        return;
    };
    let arrival = Arrival { address, slot, ending, permit };
    let sibling = place.siblings.get().and_then(|siblings| siblings.get(worker));
    let Some(sibling) = sibling.filter(|_| worker != place.number) else {
        return arrival.serve(stream);
    };
    // Leaves this runtime, to be registered with the other.
    let Ok(stream) = stream.into_std() else { return };
    if let Err(refused) = sibling.try_send(HandedOver { arrival, stream }) {
        use tokio::sync::mpsc::error::TrySendError::{Closed, Full};
        // A worker that takes nothing is served for.
        let (Closed(back) | Full(back)) = refused;
        back.serve();
    }
}
