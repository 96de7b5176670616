//! How an answer keeps pace with its client, and how it ends where the client does not.

use std::task::{Context, Poll};

use crate::net::pressure::{self, Level};
use crate::telemetry::reason::Reason;

use super::super::local;
use super::Record;

/// Bytes that are sealed for a client at once: more of them are cold when their turn has come.
const SEALED: usize = 64 * 1024;

impl Record {
    /// Ready while more of the answer can go to the client; else it stays at the backend. `given`:
    /// what [`Self::flushes`] said when the last part was given to the client.
    pub(in crate::http) fn poll_unblocked(&self, given: Option<u64>, cx: &Context<'_>) -> Poll<()> {
        let handle = &self.peer.handle;
        // One of HTTP/1 has a connection of its own, which is held up together with it. While
        // memory is short it is not even filled.
        if handle.is_framed() || pressure::level() > Level::Calm {
            handle.poll_unblocked(given, cx.waker())
        } else {
            Poll::Ready(())
        }
    }

    /// How often the client's connection has been flushed, where its answers are so many that each
    /// may have only one part on its way.
    pub(in crate::http) fn flushes(&self) -> Option<u64> {
        self.peer.handle.is_crowded().then(|| self.peer.handle.flushes())
    }

    /// How much of the answer may be taken from its backend at once (bytes).
    pub(in crate::http) fn share(&self) -> usize {
        let share = self.peer.handle.share();
        if self.peer.tls.is_some() { share.min(SEALED) } else { share }
    }

    /// The backend is waited for, not the client.
    pub(in crate::http) fn waits(&self) {
        self.peer.handle.turns().ours();
    }

    /// Why an answer that had begun was dropped before it was told to be whole, or given up
    /// although it was.
    pub(super) fn broken_off(&self) -> Option<Reason> {
        if self.reason != Reason::None {
            return None;
        }
        let handle = &self.peer.handle;
        if handle.turns().gives_up() {
            // It may be whole as far as its backend goes.
            let pressed = handle.was_pressed();
            return Some(if pressed {
                Reason::OverloadedMemory
            } else {
                Reason::ClientReadTimeout
            });
        }
        if self.complete {
            return None;
        }
        Some(if local::is_ending() {
            Reason::Stopping
        } else if handle.was_pressed() {
            Reason::OverloadedMemory
        } else if handle.was_stalled() {
            Reason::ClientReadTimeout
        } else {
            Reason::ClientGone
        })
    }
}
