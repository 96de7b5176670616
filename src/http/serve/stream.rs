//! A stream of an HTTP/2 connection, which ends when its client does not take what it asked for.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{Either, select};
use pin_project_lite::pin_project;

use crate::net::clock::{self, Patience};
use crate::net::wire::{Handle, Turn};
use crate::task;

/// Starts the streams of one connection.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    pub(super) handle: Arc<Handle>,
    /// How long a client may take nothing.
    pub(super) patience: Option<Duration>,
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        if let Some(cut) = self.handle.turns().take_tunnel() {
            drop(task::spawn("http2 tunnel", async move {
                // `h2` resets a stream that is dropped; one that ends well has more to write. The
                // cut first: what ends badly looks to hyper as if it had ended well.
                if let Either::Left((Err(_), rest)) = select(cut, pin!(future)).await {
                    rest.await;
                }
            }));
            return;
        }
        let (handle, limit) = (Arc::clone(&self.handle), self.patience);
        let patience = Patience::new(limit);
        // Boxed: a task is moved three times before it runs, and three times when it has.
        let future = Some(Box::pin(future));
        drop(task::spawn("http2", Stream { future, handle, limit, patience }));
    }
}

struct Stream<F> {
    /// Gone when it was given up: `h2` resets a stream that is dropped.
    future: Option<Pin<Box<F>>>,
    handle: Arc<Handle>,
    limit: Option<Duration>,
    patience: Patience,
}

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let Some(future) = &mut this.future else { return Poll::Ready(()) };
        let turns = this.handle.turns();
        turns.begin();
        let poll = future.as_mut().poll(cx);
        // One that hyper did not begin after all is not the next stream's.
        drop(turns.take_tunnel());
        if poll.is_ready() {
            return Poll::Ready(());
        }
        match turns.end() {
            Turn::Ours => {
                this.patience.moved();
                return Poll::Pending;
            }
            Turn::Taken => {
                this.patience.moved();
            }
            Turn::Clients => {}
        }
        let pressed = this.patience.is_pressed();
        if this.patience.poll_lost(cx).is_pending() && !pressed {
            return Poll::Pending;
        }
        if pressed {
            this.handle.press(true);
            turns.give_up(|| this.future = None);
            this.handle.press(false);
            return Poll::Ready(());
        }
        if this.limit.is_some_and(|limit| turns.blocked_within(limit, clock::now())) {
            this.patience.moved();
            return this.patience.poll_lost(cx);
        }
        turns.give_up(|| this.future = None);
        Poll::Ready(())
    }
}

pin_project! {
    /// An exchange on a stream: while it has no answer, nobody waits for the client.
    pub(super) struct Answering<F> {
        #[pin]
        pub(super) exchange: F,
        pub(super) handle: Arc<Handle>,
    }
}

impl<F: Future> Future for Answering<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let poll = this.exchange.poll(cx);
        if poll.is_pending() {
            this.handle.turns().ours();
        }
        poll
    }
}
