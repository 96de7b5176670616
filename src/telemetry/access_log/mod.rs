//! One JSON line an exchange: formatted by the worker, written by one thread, never waited for.

mod entry;
mod json;
mod place;
mod writer;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::config::model::{LogTarget, QueryPolicy};
pub use entry::Entry;
use entry::Stamp;
pub use place::{look, unusable};
use writer::Sink;

/// A batch goes to the writer when it is this large (bytes): more than a hundred lines.
const BATCH: usize = 64 * 1024;
/// Batches that may wait for the writer, over all workers: about 4 MiB, which is what a disk that
/// stops for a moment costs at full load. What comes on top is dropped and counted.
const QUEUE: usize = 64;
/// Written buffers that come back to a worker to be filled again.
const SPARE: usize = 4;
/// A buffer that one monstrous line has blown up is not kept (bytes).
const KEEP: usize = 2 * BATCH;

/// What is known to workers, writer and control alike.
#[derive(Debug, Default)]
struct Shared {
    dropped: AtomicU64,
    reopen: AtomicBool,
    stopping: AtomicBool,
    ended: Mutex<bool>,
    end: Condvar,
}

#[derive(Debug)]
struct Batch {
    bytes: Vec<u8>,
    lines: u64,
    back: SyncSender<Vec<u8>>,
}

/// The handle of the writer thread.
#[derive(Debug, Clone)]
pub struct AccessLog {
    queue: SyncSender<Batch>,
    query: QueryPolicy,
    shared: Arc<Shared>,
    writer: std::thread::Thread,
}

impl AccessLog {
    /// Opens the target (a file is appended to, and made with mode 0640) and starts the writer.
    ///
    /// # Errors
    /// When the file cannot be opened or the thread cannot be started.
    pub fn start(target: LogTarget, query: QueryPolicy) -> io::Result<Self> {
        let sink = Sink::open(target)?;
        let shared = Arc::new(Shared::default());
        let (queue, batches) = sync_channel(QUEUE);
        let writers = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || writer::run(&batches, sink, &writers))?;
        Ok(Self { queue, query, shared, writer: thread.thread().clone() })
    }

    /// The formatting end, one for each worker.
    pub fn writer(&self) -> LineBuffer {
        let (back, spare) = sync_channel(SPARE);
        let outlet = Outlet { log: self.clone(), back, spare };
        LineBuffer { bytes: Vec::new(), lines: 0, stamp: Stamp::default(), outlet: Some(outlet) }
    }

    /// Opens the file again before the next lines, after it was moved away (SIGUSR1). When that
    /// fails the open file stays in use and an event says so.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
    }

    /// Lines that are not in the log: the queue was full, or writing failed.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Writes what was handed over and ends the writer; the caller waits, at most until the
    /// deadline. Says whether everything was written by then. Flush the workers' buffers before:
    /// what comes later is dropped and counted.
    pub fn shutdown(&self, deadline: Duration) -> bool {
        self.shared.stopping.store(true, Ordering::Release);
        let ended = self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.shared.end.wait_timeout_while(ended, deadline, |ended| !*ended);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

#[derive(Debug)]
struct Outlet {
    log: AccessLog,
    back: SyncSender<Vec<u8>>,
    spare: Receiver<Vec<u8>>,
}

/// One worker's lines on their way to the writer. Nothing here blocks.
#[derive(Debug)]
pub struct LineBuffer {
    bytes: Vec<u8>,
    lines: u64,
    stamp: Stamp,
    /// None: there is no access log.
    outlet: Option<Outlet>,
}

impl LineBuffer {
    /// For `access = "off"`: takes everything and keeps nothing.
    pub fn disabled() -> Self {
        Self { bytes: Vec::new(), lines: 0, stamp: Stamp::default(), outlet: None }
    }

    /// Whether lines are wanted at all.
    pub fn enabled(&self) -> bool {
        self.outlet.is_some()
    }

    /// Formats one line, and hands the batch over when it is large enough.
    pub fn write(&mut self, entry: &Entry<'_>) {
        let Some(outlet) = &self.outlet else { return };
        entry.format(outlet.log.query, &mut self.stamp, &mut self.bytes);
        self.lines += 1;
        if self.bytes.len() >= BATCH {
            self.flush();
        }
    }

    /// Hands over what there is. Call it every 100 ms or so, for a quiet worker's lines.
    pub fn flush(&mut self) {
        let Some(outlet) = &self.outlet else { return };
        if self.bytes.is_empty() {
            return;
        }
        let next = match outlet.spare.try_recv() {
            Ok(spare) => spare,
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => {
                Vec::with_capacity(BATCH + BATCH / 4)
            }
        };
        let bytes = std::mem::replace(&mut self.bytes, next);
        let lines = std::mem::take(&mut self.lines);
        let batch = Batch { bytes, lines, back: outlet.back.clone() };
        match outlet.log.queue.try_send(batch) {
            Ok(()) => {}
            Err(TrySendError::Full(batch)) if batch.bytes.len() < KEEP => {
                // Many workers with a few lines each: they wait for the next time.
                outlet.log.writer.unpark();
                self.bytes = batch.bytes;
                self.lines = batch.lines;
            }
            Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) => {
                outlet.log.shared.dropped.fetch_add(lines, Ordering::Relaxed);
                batch.recycle();
            }
        }
    }
}

impl Drop for LineBuffer {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Batch {
    /// Gives the buffer back to the worker that filled it.
    fn recycle(mut self) {
        if self.bytes.capacity() <= KEEP {
            self.bytes.clear();
            // With enough spare ones there already this one is freed.
            let _ = self.back.try_send(self.bytes);
        }
    }
}
