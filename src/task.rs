//! The crate's only `tokio::spawn`: it names a task and ends a panic with that task.

use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::task::JoinHandle;

static PANICS: AtomicU64 = AtomicU64::new(0);

tokio::task_local! {
    static NAME: &'static str;
}

thread_local! {
    /// Set while the hook reports, so that a panic inside the report ends there.
    static REPORTING: Cell<bool> = const { Cell::new(false) };
}

/// Starts a task on this thread's runtime. A panic in it ends only this task: it is counted, and
/// reported under `name`, by the hook of [`install_panic_hook`].
///
/// # Panics
/// When called outside a tokio runtime.
#[expect(clippy::disallowed_methods, reason = "the one place that may: it names the task")]
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    // A scope, and not an async block around the future, which would hold it twice.
    tokio::spawn(NAME.scope(name, future))
}

/// Name of the task that runs on this thread now.
pub fn current() -> Option<&'static str> {
    NAME.try_with(|name| *name).ok()
}

/// The code under [`catch`] panicked; the hook has told the log why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a panic was caught")]
pub struct Panicked;

/// Runs `future` in place and turns a panic in it into a value, so that one exchange can be
/// answered with a 500 while its connection goes on. Allocates nothing unless it panics.
// Not `futures`' own, by which an answer would be moved half a dozen times on its way out.
pub fn catch<F: Future>(future: F) -> Catch<F> {
    Catch { future }
}

pin_project! {
    /// See [`catch`].
    #[must_use = "futures do nothing unless they are polled"]
    #[derive(Debug)]
    pub struct Catch<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Catch<F> {
    type Output = Result<F::Output, Panicked>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let future = self.project().future;
        match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(_payload) => Poll::Ready(Err(Panicked)),
        }
    }
}

/// Panics in any thread or task since the hook was installed, those caught by [`catch`] included.
pub fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// Counts every panic and reports it as one log event with thread, task, location and message.
/// Until a log subscriber is there the hook before this one reports, and afterwards only ours, so
/// that nothing is told twice. Call it once, at start.
pub fn install_panic_hook() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        if !tracing::dispatcher::has_been_set() {
            return before(info);
        }
        if !REPORTING.replace(true) {
            report(info);
            REPORTING.set(false);
        }
    }));
}

fn report(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let location = info.location().map_or_else(String::new, ToString::to_string);
    tracing::error!(
        thread = thread.name().unwrap_or("unnamed"),
        task = current().unwrap_or("none"),
        location,
        "panic: {}",
        info.payload_as_str().unwrap_or("(no message)")
    );
}

/// Lets hyper's HTTP/2 server start its streams through [`spawn`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Executor;

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        drop(spawn("http2", future));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn a_panic_ends_its_own_task_and_is_counted() {
        install_panic_hook();
        let before = panics();
        block_on(async {
            let bad = spawn("bad", async { panic!("expected by this test") });
            let good = spawn("good", async { 7 });
            assert!(bad.await.unwrap_err().is_panic());
            assert_eq!(good.await.unwrap(), 7);
        });
        assert!(panics() > before);
    }

    #[test]
    fn a_task_knows_its_name() {
        block_on(async {
            assert_eq!(current(), None);
            assert_eq!(spawn("named", async { current() }).await.unwrap(), Some("named"));
        });
    }

    #[test]
    fn a_caught_panic_is_a_value() {
        block_on(async {
            assert_eq!(catch(async { 1 }).await, Ok(1));
            let caught = catch(async {
                tokio::task::yield_now().await;
                panic!("expected by this test")
            });
            assert_eq!(caught.await, Err::<(), _>(Panicked));
        });
    }

    #[test]
    fn catching_and_naming_add_no_second_copy_of_a_future() {
        let big = || async {
            let bytes = [0_u8; 4096];
            tokio::task::yield_now().await;
            bytes.len()
        };
        let bare = size_of_val(&big());
        assert!(size_of_val(&catch(big())) < bare + 64);
        assert!(size_of_val(&NAME.scope("big", big())) < bare + 64);
    }
}
