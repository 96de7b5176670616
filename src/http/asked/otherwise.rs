//! What is done where no backend of the pool can be asked now.

use std::sync::Arc;

use http::header::{CACHE_CONTROL, HeaderValue, RETRY_AFTER};

use crate::backend::BackendState;
use crate::net::message::Response;
use crate::snapshot::Pool;
use crate::snapshot::choice::{Selected, Visitor};
use crate::snapshot::pool::WhenAllDown;
use crate::sticky::Presented;
use crate::telemetry::reason::Reason;

use super::super::body::Body;
use super::super::failure::Failure;
use super::super::local;
use super::super::record::Record;
use super::super::respond;
use super::super::retry::Attempts;
use super::super::turn::{Turn, Waiting};
use super::super::visitor;
use super::Asked;

/// What is done in place of a pool's own backends.
pub(super) enum Fallback {
    /// Another choice is made.
    Ask,
    /// This is the answer.
    Answer(Response<Body>),
}

impl<'a> Asked<'a> {
    /// Somebody new, while the pool has too few backends for new visitors: another pool serves, if
    /// it can. Too few are better than none.
    pub(in crate::http) fn leave_the_short(&mut self, record: &mut Record) {
        let elsewhere = self.pool.elsewhere(self.sticky, &self.visitor);
        let spare = elsewhere.and_then(|index| self.snapshot.pools.get(index));
        if let Some(spare) = spare.filter(|spare| spare.usable() > 0) {
            self.hand_over(spare, record);
        }
    }

    /// Another pool serves. Nobody is bound there by it: they go back when their own pool serves
    /// again.
    fn hand_over(&mut self, pool: &'a Pool, record: &mut Record) {
        self.pool = pool;
        self.sticky = None;
        self.visitor.desperate = false;
        self.visitor.key = self.key(pool);
        record.forwarded(pool);
    }

    /// What the pool does where it has nobody that serves, before anybody was asked.
    pub(super) fn fall_back(
        &mut self,
        reason: Reason,
        attempts: &Attempts,
        record: &mut Record,
    ) -> Option<Fallback> {
        let down = matches!(
            reason,
            Reason::NoBackendDown | Reason::NoBackendAdmin | Reason::NoBackendUnchecked
        );
        if !down || !attempts.tried.is_empty() {
            return None;
        }
        match &self.pool.when_all_down {
            WhenAllDown::Fail => None,
            WhenAllDown::TryAll if self.visitor.desperate => None,
            WhenAllDown::TryAll => {
                self.visitor.desperate = true;
                Some(Fallback::Ask)
            }
            WhenAllDown::Pool(index) => {
                self.hand_over(self.snapshot.pools.get(*index)?, record);
                Some(Fallback::Ask)
            }
            WhenAllDown::Respond(_) if self.decides => None,
            WhenAllDown::Respond(plan) => {
                let mut response = respond::fixed(plan);
                let headers = response.headers_mut();
                headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
                headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                record.fail(&reason.into());
                Some(Fallback::Answer(response))
            }
        }
    }

    /// What another pool is asked by that hashes, before anything was sent: by its own rule, as
    /// for those who come to it first. Fields that we write are read as it would be sent them.
    pub(super) fn key(&self, pool: &Pool) -> Option<u64> {
        let (on, _) = pool.hashing.as_ref()?;
        let request = self.outbound.request.as_ref()?;
        visitor::key(&request.head.headers, &request.head.uri, on, self.client)
    }

    /// A place that would do now, were it our turn.
    pub(super) fn place(&self, attempts: &Attempts) -> Option<&'a Arc<BackendState>> {
        let visitor = Visitor { called: true, ..self.visitor };
        let selected = local::position(self.pool, |cursor| {
            self.pool.select(self.sticky, &visitor, &attempts.tried, cursor)
        });
        let Ok(Selected::Now(choice)) = selected else { return None };
        self.pool.members.get(choice.member).map(|member| &member.backend.state)
    }

    /// Nobody is left to ask. What was tried tells more than that, but for a session that is
    /// refused rather than moved.
    pub(super) fn refuse(
        &self,
        reason: Reason,
        last: Option<Failure>,
        record: &mut Record,
    ) -> Failure {
        if self.sticky.is_some() && reason.refuses_session() {
            record.session_refused(self.visitor.word(reason));
        }
        let strict = reason == Reason::SessionBackendDown
            && !matches!(self.visitor.presented, Presented::Look(_));
        match last {
            Some(last) if !strict => last,
            _ => reason.into(),
        }
    }

    /// What a turn in the queue, or the end of the wait for one, means for the next choice.
    pub(super) fn came(
        &mut self,
        turn: Turn,
        at: Option<usize>,
        waiting: &mut Waiting,
    ) -> Result<(), Reason> {
        let bound = !matches!(self.visitor.presented, Presented::None | Presented::Invalid);
        match turn {
            Turn::Come => self.visitor.called = waiting.has_ticket(),
            // It has waited for its own backend: this once another one will do.
            Turn::Late | Turn::NoRoom if bound && at.is_some() && !self.visitor.spill => {
                waiting.leave();
                self.visitor.called = false;
                self.visitor.spill = true;
            }
            Turn::Late => return Err(Reason::QueueTimeout),
            Turn::NoRoom => return Err(Reason::QueueFull),
        }
        Ok(())
    }
}
