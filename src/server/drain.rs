//! The end of a listener or of the process, which many connections wait for.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// The end of a listener or of the process, for those who must go.
#[derive(Debug, Clone)]
pub struct Ending {
    begun: Arc<AtomicBool>,
    token: CancellationToken,
}

impl Ending {
    /// Not yet.
    #[expect(clippy::new_without_default, reason = "an end is begun, not defaulted")]
    pub fn new() -> Self {
        Self { begun: Arc::default(), token: CancellationToken::new() }
    }

    /// It begins now.
    pub fn begin(&self) {
        self.begun.store(true, Ordering::Release);
        self.token.cancel();
    }

    /// Resolves when it begins. To be awaited by one task only.
    pub fn wait(&self) -> Waiting {
        Waiting {
            begun: Arc::clone(&self.begun),
            token: Box::pin(self.token.clone().cancelled_owned()),
            registered: false,
        }
    }
}

/// See [`Ending::wait`]. A connection polls it at every turn, so it takes the token's lock once
/// and looks at a flag from then on.
#[derive(Debug)]
pub struct Waiting {
    begun: Arc<AtomicBool>,
    token: Pin<Box<WaitForCancellationFutureOwned>>,
    registered: bool,
}

impl Future for Waiting {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.begun.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        if self.registered {
            return Poll::Pending;
        }
        self.registered = true;
        self.token.as_mut().poll(cx)
    }
}
