//! Signals as events: SIGHUP reloads, SIGUSR1 opens logs again, SIGTERM and SIGINT stop.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

use crate::event::{Actor, Event, Sender};
use crate::task;

/// Listens for signals until nobody takes the events any more.
///
/// # Errors
/// Where the system refuses a handler.
pub(super) fn listen(events: &Sender) -> io::Result<()> {
    let signals = [
        ("SIGHUP", SignalKind::hangup()),
        ("SIGUSR1", SignalKind::user_defined1()),
        ("SIGTERM", SignalKind::terminate()),
        ("SIGINT", SignalKind::interrupt()),
    ];
    for (name, kind) in signals {
        let mut stream = signal(kind)?;
        let events = events.clone();
        drop(task::spawn("signal", async move {
            while stream.recv().await.is_some() {
                if events.send(event_of(name)).await.is_err() {
                    return;
                }
            }
        }));
    }
    Ok(())
}

fn event_of(name: &str) -> Event {
    let actor = Actor(name.to_owned());
    match name {
        "SIGHUP" => Event::Reload { actor, reply: None },
        "SIGUSR1" => Event::ReopenLogs,
        _ => Event::Stop { actor, reply: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_signal_is_its_event() {
        assert!(matches!(event_of("SIGHUP"), Event::Reload { .. }));
        assert!(matches!(event_of("SIGUSR1"), Event::ReopenLogs));
        for stop in ["SIGTERM", "SIGINT"] {
            assert!(matches!(event_of(stop), Event::Stop { actor, .. } if actor.0 == stop));
        }
    }
}
