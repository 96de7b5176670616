//! Backends of DNS come and go, ghosts end: another generation of the same configuration.

use tokio::time::Instant;

use super::discover::wanted;
use super::reload::ListenerSockets;
use super::{Control, unix};
use crate::admin::facts::{Phase, lock};

impl<S: ListenerSockets> Control<S> {
    /// At a start: waits for a first word on every name, and takes it over before anybody is
    /// served.
    pub(super) async fn discover(&mut self, deadline: Instant) {
        let loaded = self.facts.loaded();
        self.discovery.prepare(&loaded.model, deadline).await;
        self.rediscover().await;
    }

    /// Once a second, so that however many names change at once it is one generation: takes over
    /// what DNS tells by now, and lets go of who has left.
    pub(super) async fn rediscover(&mut self) {
        if self.loader.book.is_empty() || self.facts.phase.get() == Phase::Stopping {
            return;
        }
        let (loaded, snapshot, now) = (self.facts.loaded(), self.facts.current.load(), unix());
        let mut book = self.loader.book.clone();
        let drain_timeout = loaded.model.runtime.drain_timeout.as_secs();
        let grace = u32::try_from(drain_timeout).unwrap_or(u32::MAX);
        book.let_go(&wanted(&snapshot, now, grace));
        book.follow(&loaded.model, now);
        self.loader.answers.enter(&mut book, &loaded.model, now);
        if book != self.loader.book {
            match self.loader.recompile(&loaded, &book, &snapshot) {
                Ok(compiled) => self.swap(compiled, book, None).await,
                Err(report) => {
                    let report = report.render(false);
                    tracing::error!("what DNS tells cannot be taken over\n{report}");
                }
            }
        }
        *lock(&self.facts.discovered) = self.discovery.told(&self.loader.book);
    }

    /// Without the ghosts that have ended: nobody is told of them any more, and no check asks them.
    pub(super) async fn go_on_without_ghosts(&mut self) {
        if self.facts.phase.get() == Phase::Stopping {
            return;
        }
        let (loaded, snapshot) = (self.facts.loaded(), self.facts.current.load());
        let book = self.loader.book.clone();
        match self.loader.recompile(&loaded, &book, &snapshot) {
            Ok(compiled) => self.swap(compiled, book, None).await,
            Err(report) => {
                let report = report.render(false);
                tracing::error!("ghosts that have ended stay until the next reload\n{report}");
            }
        }
    }

    /// Asks about the names of the configuration in force, and about no others.
    pub(super) fn follow_names(&mut self) {
        let loaded = self.facts.loaded();
        self.lookup.ask(&loaded.model.runtime.resolvers);
        self.discovery.follow(&loaded.model);
        *lock(&self.facts.discovered) = self.discovery.told(&self.loader.book);
    }
}
