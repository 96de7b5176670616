//! The thread that writes the access log, and where it writes to.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use super::{Batch, Shared};
use crate::config::model::LogTarget;

/// A failing file is opened again at most so often.
const RETRY: Duration = Duration::from_secs(1);
/// How long to wait when standard output was made non-blocking by someone we share it with.
const PAUSE: Duration = Duration::from_millis(5);

/// How often the writer looks for batches. Nobody wakes it: that would be a system call of a
/// worker's. The queue holds what comes in between.
const LOOK: Duration = Duration::from_millis(20);

/// Writes batches until the log is shut down or nobody can send any more.
pub(super) fn run(queue: &Receiver<Batch>, mut sink: Sink, shared: &Shared) {
    let _end = End(shared);
    let reopen = |sink: &mut Sink| {
        if shared.reopen.swap(false, Ordering::AcqRel) {
            sink.reopen();
        }
    };
    loop {
        // Asked first: what was handed over before the stop is still written.
        let stopping = shared.stopping.load(Ordering::Acquire);
        match queue.try_recv() {
            Ok(batch) => {
                // Looked at after a batch has come: what comes after the wish is in the new file.
                reopen(&mut sink);
                take(batch, &mut sink, shared);
            }
            Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) if stopping => return,
            Err(TryRecvError::Empty) => {
                // The new file is there even if nothing is to be written.
                reopen(&mut sink);
                std::thread::park_timeout(LOOK);
            }
        }
    }
}

fn take(batch: Batch, sink: &mut Sink, shared: &Shared) {
    let lost = sink.write(&batch);
    if lost > 0 {
        shared.dropped.fetch_add(lost, Ordering::Relaxed);
    }
    batch.recycle();
}

/// Tells who waits in `shutdown`, however the thread ends.
struct End<'a>(&'a Shared);

impl Drop for End<'_> {
    fn drop(&mut self) {
        *self.0.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.end.notify_all();
    }
}

/// Where lines go. There is always something open: what cannot be opened again stays in use.
#[derive(Debug)]
pub(super) struct Sink {
    target: LogTarget,
    file: File,
    /// The last line written is not whole.
    torn: bool,
    /// Since when writing fails, or the last time the file was opened again since then.
    failing: Option<Instant>,
}

impl Sink {
    pub(super) fn open(target: LogTarget) -> io::Result<Self> {
        let file = open(&target)?;
        Ok(Self { target, file, torn: false, failing: None })
    }

    fn reopen(&mut self) {
        match open(&self.target) {
            Ok(file) => {
                self.file = file;
                self.torn = false;
            }
            Err(error) => tracing::error!(%error, "the access log could not be opened again"),
        }
    }

    /// Writes a batch and says how many of its lines are lost.
    fn write(&mut self, batch: &Batch) -> u64 {
        if self.failing.is_some_and(|since| since.elapsed() >= RETRY) {
            self.failing = Some(Instant::now());
            self.reopen();
        }
        match self.write_lines(&batch.bytes) {
            Ok(()) => {
                if self.failing.take().is_some() {
                    tracing::info!("the access log is written again");
                }
                0
            }
            Err((written, error)) => {
                if self.failing.is_none() {
                    tracing::error!(%error, "the access log cannot be written: lines are dropped");
                    self.failing = Some(Instant::now());
                }
                batch.lines.saturating_sub(written)
            }
        }
    }

    /// Writes all bytes, or says how many whole lines were written before the error.
    fn write_lines(&mut self, lines: &[u8]) -> Result<(), (u64, io::Error)> {
        if self.torn {
            // What is left of a torn line must not spoil the next one.
            self.write_some(b"\n").map_err(|error| (0, error))?;
            self.torn = false;
        }
        let mut rest = lines;
        while !rest.is_empty() {
            match self.write_some(rest) {
                Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                Err(error) => {
                    let written = lines.get(..lines.len() - rest.len()).unwrap_or_default();
                    self.torn = written.last().is_some_and(|byte| *byte != b'\n');
                    let whole = written.split(|byte| *byte == b'\n').count() - 1;
                    return Err((whole as u64, error));
                }
            }
        }
        Ok(())
    }

    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.file.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => return Ok(n),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    std::thread::park_timeout(PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// The standard streams are duplicated, to write to them without the lock and the line buffer
/// that the library puts before them.
fn open(target: &LogTarget) -> io::Result<File> {
    match target {
        LogTarget::Stdout => Ok(io::stdout().as_fd().try_clone_to_owned()?.into()),
        LogTarget::Stderr => Ok(io::stderr().as_fd().try_clone_to_owned()?.into()),
        LogTarget::File(path) => {
            // A pipe is opened for reading too: else opening waits until somebody reads it.
            OpenOptions::new().append(true).create(true).read(is_pipe(path)).mode(0o640).open(path)
        }
    }
}

fn is_pipe(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_fifo())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::super::entry::tests::entry;
    use super::super::{AccessLog, BATCH, LineBuffer, QUEUE};
    use super::*;
    use crate::config::model::QueryPolicy;

    const DEADLINE: Duration = Duration::from_secs(20);

    fn start(path: &Path) -> AccessLog {
        AccessLog::start(LogTarget::File(path.to_owned()), QueryPolicy::Redact).unwrap()
    }

    fn lines(path: &Path) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn every_workers_lines_are_in_the_file_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let log = start(&path);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let mut worker = log.writer();
                scope.spawn(move || (0..1000).for_each(|_| worker.write(&entry())));
            }
        });
        assert!(log.shutdown(DEADLINE));
        assert_eq!(lines(&path).len() as u64 + log.dropped(), 3000);
        assert_eq!(log.dropped(), 0);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
    }

    #[test]
    fn a_moved_file_is_followed_by_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("access.log"), folder.path().join("old.log"));
        fs::write(&path, "{}\n").unwrap();
        let log = start(&path);
        fs::rename(&path, &old).unwrap();
        log.reopen();
        let mut worker = log.writer();
        worker.write(&entry());
        worker.flush();
        assert!(log.shutdown(DEADLINE));
        assert_eq!((lines(&old).len(), lines(&path).len()), (1, 1));
    }

    #[test]
    fn a_full_disk_costs_counted_lines_and_nothing_else() {
        let log = start(Path::new("/dev/full"));
        let mut worker = log.writer();
        for _ in 0..100 {
            worker.write(&entry());
        }
        worker.flush();
        assert!(log.shutdown(DEADLINE));
        assert_eq!(log.dropped(), 100);
    }

    #[test]
    fn a_pipe_that_nobody_reads_stops_no_worker() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let log = start(&path);
        let mut worker = log.writer();
        let mut written = 0;
        while log.dropped() == 0 {
            worker.write(&entry());
            written += 1;
            assert!(written < 4 * QUEUE * BATCH, "the queue has no end");
        }
        assert!(!log.shutdown(Duration::from_millis(1)));
    }

    #[test]
    fn a_torn_line_does_not_spoil_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let mut sink = Sink::open(LogTarget::File(path.clone())).unwrap();
        sink.file.write_all(b"{\"time\":").unwrap();
        sink.torn = true;
        sink.write_lines(b"{}\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"time\":\n{}\n");
    }

    #[test]
    fn what_comes_after_the_end_is_counted_and_a_disabled_log_takes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let log = start(&folder.path().join("access.log"));
        let mut late = log.writer();
        assert!(log.shutdown(DEADLINE));
        late.write(&entry());
        // The writer has said that it is done a moment before it lets go of the queue.
        let give_up = Instant::now() + DEADLINE;
        while log.dropped() == 0 {
            assert!(Instant::now() < give_up, "a line after the end is neither kept nor counted");
            late.write(&entry());
            late.flush();
        }
        let mut off = LineBuffer::disabled();
        off.write(&entry());
        off.flush();
        assert!(!off.enabled() && late.enabled());
    }
}
