//! One exchange from head to head: the whole story on one screen.

use std::sync::Arc;

use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::net::clock;
use crate::snapshot::pool::{Choice, Visitor};
use crate::snapshot::{Action, Listener, Pool, Route};
use crate::sticky::{Issue, Presented};
use crate::task;
use crate::telemetry::counters::ClientProtocol;
use crate::telemetry::reason::Reason;

use super::admit::{self, Admitted};
use super::attempt::{self, Waits};
use super::body::Body;
use super::failure::Failure;
use super::forward::{self, Outbound, Way};
use super::header::forwarded::{self, Client};
use super::header::seen::Seen;
use super::local;
use super::peer::Peer;
use super::record::Record;
use super::respond::{self, Shape};
use super::retry::{Attempts, Verdict};
use super::tunnel;

/// Serves one request. Whatever happens, there is an answer, and a record of it.
pub async fn serve(request: Request<Incoming>, peer: Arc<Peer>) -> Response<Body> {
    let number = peer.next_head();
    let Some((snapshot, index)) = local::snapshot_for(peer.listener) else {
        // Its listener has left the configuration, and this connection is being closed.
        peer.handle.done(clock::now());
        return Failure::from(Reason::Stopping).response(request.headers(), false);
    };
    let (mut head, body) = request.into_parts();
    let accept = head.headers.get(http::header::ACCEPT).cloned();
    let head_only = head.method == Method::HEAD;
    let mut record =
        Box::new(Record::begin(Arc::clone(&snapshot), Arc::clone(&peer), index, &head));
    let listener = snapshot.listeners.get(index).map(AsRef::as_ref);
    let refused = peer.handle.refused(number).map(Failure::from);
    let result = match (listener, refused) {
        (None, _) => Err(Reason::Internal.into()),
        (_, Some(refused)) => {
            record.refused();
            Err(refused)
        }
        (Some(listener), None) => {
            let story = run(&mut head, body, &peer, listener, &mut record);
            task::catch(story).await.unwrap_or_else(|_| Err(Reason::Internal.into()))
        }
    };
    let mut response = result.unwrap_or_else(|failure| {
        record.fail(&failure);
        let trusted = listener.is_some_and(|l| l.trusted.contains(peer.address.ip()));
        let wanted = accept.map(|accept| (http::header::ACCEPT, accept)).into_iter().collect();
        let mut response = failure.response(&wanted, trusted);
        if failure.closes() && peer.protocol == ClientProtocol::Http1 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    });
    if head_only && let Some(length) = response.body().full_length() {
        // RFC 9110 §9.3.2; hyper sees to it over HTTP/1 only.
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
        *response.body_mut() = Body::empty();
    }
    record.answer(response.status());
    if http_body::Body::is_end_stream(response.body()) {
        record.complete();
    }
    // A tunnel has a line of its own; its record ends with the 101.
    response.body_mut().carry(record);
    response
}

async fn run(
    head: &mut Parts,
    body: Incoming,
    peer: &Arc<Peer>,
    listener: &Listener,
    record: &mut Record,
) -> Result<Response<Body>, Failure> {
    let seen = Seen::of(&head.headers);
    if seen.any(Seen::REPEATED) {
        forward::join_crumbs(&mut head.headers);
    }
    let tls = peer.tls.is_some();
    let client = forwarded::client(&head.headers, peer.address.ip(), tls, &listener.trusted);
    record.client = client.address;
    let admitted = admit::check(head, seen, peer, listener)?;
    if let Some(plan) = &listener.redirect_https {
        return redirect(plan, head, &admitted, client);
    }
    let route = listener.routes.find(admitted.host.as_deref(), admitted.path(head));
    let route = route.ok_or(Reason::NoRoute)?;
    record.routed(route);
    let limit = route.body_size.unwrap_or(listener.limits.body_size);
    if seen.any(Seen::CONTENT_LENGTH) && admit::too_large(head, limit) {
        return Err(Reason::BodyTooLarge.into());
    }
    let pool = match &route.action {
        _ if admitted.last_hop => return Ok(own_options()),
        Action::Redirect(plan) => return redirect(plan, head, &admitted, client),
        Action::Respond(plan) => {
            let mut response = Response::new(Body::full(plan.body.clone()));
            *response.status_mut() = plan.status;
            if let Some(content_type) = &plan.content_type {
                response.headers_mut().insert(CONTENT_TYPE, content_type.clone());
            }
            return Ok(response);
        }
        Action::Forward(pool) => pool,
    };
    let visitor = visitor(head, seen, pool, peer, listener, client, record);
    let upgrade = admitted.websocket.then(|| tunnel::Upgrade::take(head, peer));
    let way = Way { admitted: &admitted, seen, route, listener, peer, client };
    let outbound = forward::prepare(head, body, way, record);
    let mut asked = Asked { pool, route, listener, peer, client, visitor, outbound };
    asked.answer(record, upgrade).await
}

/// Who asks, by the cookie it brings; and takes that cookie out of the backend's sight.
fn visitor(
    head: &mut Parts,
    seen: Seen,
    pool: &Pool,
    peer: &Peer,
    listener: &Listener,
    client: Client,
    record: &Record,
) -> Visitor {
    let mut visitor = Visitor {
        presented: Presented::None,
        join: None,
        fresh: local::random(),
        now: record.now(),
    };
    let cookies = seen.any(Seen::COOKIE);
    let Some(sticky) = &pool.sticky else {
        if cookies {
            forward::hide_cookies(&mut head.headers, None);
        }
        return visitor;
    };
    if cookies {
        let cookie = head.headers.get(http::header::COOKIE).map(HeaderValue::as_bytes);
        visitor.presented = sticky.read(cookie, client.https, visitor.now, &mut peer.memo());
    }
    let carries_many = listener.trusted.contains(peer.address.ip());
    if visitor.presented == Presented::None
        && peer.protocol == ClientProtocol::Http2
        && !carries_many
    {
        visitor.join = peer.join(pool.slot);
    }
    if cookies && !sticky.pass() {
        forward::hide_cookies(&mut head.headers, Some(sticky));
    }
    visitor
}

/// A request for a pool, with all that its attempts share.
struct Asked<'a> {
    pool: &'a Pool,
    route: &'a Route,
    listener: &'a Listener,
    peer: &'a Arc<Peer>,
    client: Client,
    visitor: Visitor,
    outbound: Outbound,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        // Answered, failed or given up by the client: nobody joins it any more.
        if self.offers() {
            self.peer.answered(self.pool.slot);
        }
    }
}

impl Asked<'_> {
    async fn answer(
        &mut self,
        record: &mut Record,
        mut upgrade: Option<tunnel::Upgrade>,
    ) -> Result<Response<Body>, Failure> {
        let timeouts = &self.route.timeouts;
        let waits = Waits {
            response_header: timeouts.response_header,
            total: timeouts.request,
            write: timeouts.write.unwrap_or(self.listener.timeouts.write),
        };
        let mut attempts = Attempts::new(self.route.retry);
        let mut last: Option<Failure> = None;
        // What the next attempt is to be paid for: why, and whether the request was sent.
        let mut owed: Option<(Reason, bool)> = None;
        local::position(self.pool, |_, budget| budget.earn(self.route.retry.budget_percent));
        loop {
            if waits.total.is_some_and(|limit| record.elapsed() >= limit) {
                return Err(Failure::because(Reason::Deadline, "timeouts.request"));
            }
            let choice = local::position(self.pool, |cursor, _| {
                self.pool.select(&self.visitor, &attempts.tried, cursor)
            });
            let choice = match choice {
                Ok(choice) => choice,
                // Nobody else is left: what was tried tells more than that.
                Err(reason) => return Err(last.unwrap_or_else(|| reason.into())),
            };
            // Only now that there is somebody to ask.
            if let Some((reason, sent)) = owed.take()
                && !self.afford(reason, sent)
            {
                return Err(last.unwrap_or_else(|| reason.into()));
            }
            let member = self.pool.members.get(choice.member).ok_or(Reason::Internal)?;
            let told = choice.told.filter(|_| !self.outbound.preflight);
            record.chosen(choice.member, told);
            self.offer(&choice);
            let sent =
                attempt::send(self.pool, member, &mut self.outbound, attempts.fresh, waits, record);
            let missed = match sent.await {
                Ok(reply) if reply.response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                    let shape = self.shape(choice.issue, record);
                    let upgrade = upgrade.take();
                    let idle = timeouts.tunnel.unwrap_or(self.listener.timeouts.tunnel);
                    return tunnel::begin(reply, upgrade, &shape, idle, record);
                }
                Ok(mut reply) => {
                    if let Some(missed) = self.unwanted(&mut reply, &mut attempts, &choice) {
                        last = Some(missed);
                        continue;
                    }
                    return respond::build(reply, &self.shape(choice.issue, record), record);
                }
                Err(missed) => missed,
            };
            let bound = matches!(self.visitor.presented, Presented::Valid(_));
            let verdict =
                attempts.after(missed.failed, &self.outbound.method, choice.member, bound);
            if verdict == Verdict::Stop {
                return Err(missed.failure);
            }
            owed = Some((missed.failure.reason, missed.failed.sent));
            last = Some(missed.failure);
        }
    }

    /// A backend's 5xx, where the route says that another one may be asked.
    fn unwanted(
        &mut self,
        reply: &mut attempt::Reply,
        attempts: &mut Attempts,
        choice: &Choice,
    ) -> Option<Failure> {
        let status = reply.response.status();
        if !self.route.retry.status_5xx || !status.is_server_error() {
            return None;
        }
        let failed = super::retry::Failed {
            reason: Reason::BackendStatus,
            sent: true,
            reused: false,
            untouched: self.outbound.untouched(),
        };
        let verdict = attempts.after(failed, &self.outbound.method, choice.member, false);
        // Without anybody else to ask, the backend's own answer is the best there is.
        let others = local::position(self.pool, |cursor, _| {
            self.pool.select(&self.visitor, &attempts.tried, cursor).is_ok()
        });
        if verdict == Verdict::Stop || !others || !self.afford(Reason::BackendStatus, true) {
            return None;
        }
        if self.outbound.repeatable
            && let Some(connection) = reply.loan.connection()
        {
            self.outbound.written = connection.take_written();
        }
        Some(Failure::because(Reason::BackendStatus, status.as_str().to_owned()))
    }

    /// Pays for a retry out of the pool's budget, where a backend may have seen the request.
    fn afford(&self, reason: Reason, sent: bool) -> bool {
        let paid = !sent || local::position(self.pool, |_, budget| budget.spend(clock::now()));
        let counters = self.pool.counters.get(local::worker());
        if paid {
            counters.retry(reason);
        } else {
            counters.retry_budget_exhausted.add(1);
        }
        paid
    }

    fn shape(&self, issue: Issue, record: &Record) -> Shape<'_> {
        let body = self.route.timeouts.body.unwrap_or(self.listener.timeouts.body);
        // A preflight has no cookies to remember the binding by.
        let preflight = self.outbound.preflight;
        let issue = if preflight { Issue::Nothing } else { issue };
        let joined = self.visitor.join.is_some();
        let left = self.route.timeouts.request;
        let left = left.map(|limit| limit.saturating_sub(record.elapsed()));
        Shape { pool: self.pool, issue, joined, https: self.client.https, body, left }
    }

    /// Whether siblings on this connection may join what begins here.
    fn offers(&self) -> bool {
        self.pool.sticky.is_some()
            && self.peer.protocol == ClientProtocol::Http2
            && self.visitor.presented == Presented::None
            && !self.outbound.preflight
            && !self.listener.trusted.contains(self.peer.address.ip())
    }

    fn offer(&self, choice: &Choice) {
        if let Issue::Bind(token) = choice.issue
            && self.offers()
        {
            self.peer.offer(self.pool.slot, token);
        }
    }
}

fn redirect(
    plan: &crate::route::action::RedirectPlan,
    head: &Parts,
    admitted: &Admitted,
    client: Client,
) -> Result<Response<Body>, Failure> {
    let host = match &admitted.host {
        Some(host) => &**host,
        None if plan.needs_host() => return Err(Failure::bad_request("host_missing")),
        None => "",
    };
    let path = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let scheme = if client.https { "https" } else { "http" };
    let location = HeaderValue::try_from(plan.location(scheme, host, path));
    let location = location.map_err(|_| Failure::bad_request("target_form"))?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = plan.status();
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

/// RFC 9110 §7.6.2: `Max-Forwards: 0` makes us the one that answers.
fn own_options() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let allow = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    response.headers_mut().insert(ALLOW, allow);
    response
}
