//! What is asked of all nodes: their sessions added up, and marks that are set on each.

use bytes::Bytes;
use futures_util::future::join_all;
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::action;
use super::answer::refusal;
use super::api::Api;
use super::facts::Lifted;
use super::peers::of_peer;
use super::sessions::{self, Filter};
use super::view::{Nodes, Sessions};
use crate::config::model::Peer;
use crate::event::{Actor, Event, MarkAction, MarkChange, Refusal};

/// Peers of the configuration in force. A file that names every node may be used on all of them:
/// an entry with our own name is ourselves.
fn peers(api: &Api) -> Vec<Peer> {
    let loaded = api.facts.loaded();
    let peers = loaded.model.admin.peers.iter();
    peers.filter(|peer| *peer.name != *api.facts.node).cloned().collect()
}

/// Live sessions of this node and of all its peers, each under the name that our file gives it.
///
/// # Errors
/// Names the peer that is out of reach.
pub(super) async fn sessions(api: &Api, filter: &Filter) -> Result<Nodes, Refusal> {
    let peers = peers(api);
    let page = format!("/api/v1/sessions?{}", filter.query());
    let asked = peers.iter().map(async |peer| {
        let answer = api.client.ask(peer, Method::GET, &page, Bytes::new()).await?;
        let theirs = serde_json::from_value::<Sessions>(answer).map_err(|error| {
            let text = format!("peer {} is another version: {error}", peer.name);
            of_peer(peer, refusal(502, text))
        })?;
        Ok(Sessions { node: peer.name.to_string(), ..theirs })
    });
    let mut nodes = vec![sessions::gather(&api.facts, filter)];
    for theirs in join_all(asked).await {
        nodes.push(theirs?);
    }
    Ok(Nodes { nodes })
}

/// A mark, as it is asked for.
pub(super) struct Asked {
    /// What is to change.
    pub(super) change: MarkChange,
    /// The page that was asked for, without a query.
    pub(super) page: String,
    /// What it was asked with.
    pub(super) body: Bytes,
}

/// Sets a mark here, and on every peer where `everywhere` says so. The answer says whose it is.
///
/// # Errors
/// Names the peer that is out of reach, before anything has changed; or the peer that failed
/// after that, with what was done already.
pub(super) async fn mark(
    api: &Api,
    actor: Actor,
    asked: Asked,
    everywhere: bool,
) -> Result<Value, Refusal> {
    let peers = if everywhere { peers(api) } else { Vec::new() };
    let reached =
        peers.iter().map(|peer| api.client.ask(peer, Method::GET, "/api/v1/status", Bytes::new()));
    for reached in join_all(reached).await {
        reached?;
    }
    let Asked { change, page, body } = asked;
    let unmarked = (change.action == MarkAction::Unmark).then(|| actor.0.clone());
    let mut told = action::ask(&api.events, |reply| Event::Mark { change, actor, reply }).await?;
    if let Some(who) = unmarked {
        note_lifted(api, &told, &who);
    }
    let passed_on =
        peers.iter().map(|peer| api.client.ask(peer, Method::PATCH, &page, body.clone()));
    let answers = join_all(passed_on).await;
    let own = &api.facts.node;
    let mut nodes = vec![node(own, &told)];
    let mut warnings = Vec::new();
    let mut failed = None;
    for (peer, answer) in peers.iter().zip(answers) {
        match answer {
            Ok(theirs) => {
                nodes.push(node(&peer.name, &theirs));
                warnings.extend(of_node(&peer.name, &theirs));
            }
            Err(refused) => {
                failed.get_or_insert(refused);
            }
        }
    }
    if let Some(mut refused) = failed {
        let names = nodes.iter().filter_map(|node| node.get("node")?.as_str());
        let names = names.collect::<Vec<_>>().join(" and ");
        refused.title = format!("{}; on {names} it is done already", refused.title);
        refused.members.insert("nodes".to_owned(), Value::from(nodes));
        return Err(refused);
    }
    if let Some(members) = told.as_object_mut() {
        members.insert("node".to_owned(), json!(own));
        if everywhere {
            members.insert("nodes".to_owned(), Value::from(nodes));
        }
        if !warnings.is_empty() {
            let all = members.entry("warnings").or_insert_with(|| json!([]));
            all.as_array_mut().into_iter().for_each(|all| all.append(&mut warnings));
        }
    }
    Ok(told)
}

/// Remembers who lifted marks, for those who wait for one of them.
fn note_lifted(api: &Api, answer: &Value, who: &str) {
    let backends = answer.get("backends").and_then(Value::as_array).into_iter().flatten();
    for backend in backends {
        let member = |name: &str| Some(backend.get(name)?.as_str()?.to_owned());
        if let (Some(pool), Some(backend)) = (member("pool"), member("id")) {
            let when = Timestamp::now();
            api.facts.note_lifted(Lifted { pool, backend, who: who.to_owned(), when });
        }
    }
}

fn node(name: &str, answer: &Value) -> Value {
    json!({ "node": name, "backends": answer.get("backends").unwrap_or(&Value::Null) })
}

/// Warnings of a peer, with its name.
fn of_node(name: &str, answer: &Value) -> Vec<Value> {
    let warnings = answer.get("warnings").and_then(Value::as_array).into_iter().flatten();
    let warnings = warnings.filter_map(Value::as_str);
    warnings.map(|text| Value::from(format!("{name}: {text}"))).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    use super::super::facts::Facts;
    use super::super::tests::{change_admin, control, facts, peer, serve, token};
    use super::*;
    use crate::config::model::Role;
    use crate::event::MarkTarget;
    use crate::task;

    fn asked(body: &str) -> Asked {
        let target = MarkTarget::Backend { pool: "shop".to_owned(), backend: "a".to_owned() };
        Asked {
            change: action::change(body.as_bytes(), Some(target)).unwrap(),
            page: "/api/v1/pools/shop/backends/a".to_owned(),
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    /// A node with these peers, and the events that it sends.
    fn node(peers: Vec<Peer>) -> (Api, mpsc::Receiver<Event>) {
        let facts = facts();
        change_admin(&facts, |admin| admin.peers = peers);
        let (events, received) = mpsc::channel(4);
        (Api::new(Arc::new(facts), events, CancellationToken::new()), received)
    }

    fn other() -> Arc<Facts> {
        let facts = facts();
        change_admin(&facts, |admin| {
            admin.tokens = vec![token("lb1", Role::Operate), token("eyes", Role::Read)];
        });
        Arc::new(facts)
    }

    fn actor() -> Actor {
        Actor("uid 0".to_owned())
    }

    #[tokio::test]
    async fn sessions_and_marks_are_those_of_all_nodes() {
        let closing = CancellationToken::new();
        let address = serve(&other(), &closing);
        // A file for all nodes names ourselves too; nobody answers there.
        let ourselves = peer("one", ([127, 0, 0, 1], 1).into(), "lb1");
        let (api, events) = node(vec![ourselves, peer("lb2", address, "lb1")]);
        task::spawn("control", control(events));
        let filter = Filter::of(Some("pool=shop&backend=b"));
        let nodes = sessions(&api, &filter).await.unwrap().nodes;
        let names: Vec<&str> = nodes.iter().map(|node| &*node.node).collect();
        assert_eq!(names, ["one", "lb2"]);
        assert!(nodes.iter().all(|node| node.pools[0].backends.len() == 1));
        let told = mark(&api, actor(), asked(r#"{"state": "drain"}"#), true).await.unwrap();
        assert_eq!(told["node"], "one");
        let names: Vec<&Value> =
            told["nodes"].as_array().unwrap().iter().map(|node| &node["node"]).collect();
        assert_eq!(names, ["one", "lb2"]);
        assert_eq!(told["nodes"][1]["backends"][0]["id"], "a");
        let told = mark(&api, actor(), asked(r#"{"state": "drain"}"#), false).await.unwrap();
        assert_eq!(told.get("nodes"), None);
        closing.cancel();
    }

    #[tokio::test]
    async fn nothing_changes_where_a_peer_is_out_of_reach() {
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = gone.local_addr().unwrap();
        drop(gone);
        let (api, mut events) = node(vec![peer("lb2", address, "lb1")]);
        let refused = mark(&api, actor(), asked(r#"{"state": "drain"}"#), true).await.unwrap_err();
        assert_eq!((refused.status, &refused.members["peer"]), (502, &json!("lb2")));
        assert!(refused.title.contains("is out of reach: connection refused"), "{refused:?}");
        assert!(events.try_recv().is_err());
        assert_eq!(sessions(&api, &Filter::default()).await.unwrap_err().status, 502);
    }

    #[tokio::test]
    async fn a_peer_that_refuses_is_named_with_what_was_done_already() {
        let closing = CancellationToken::new();
        let address = serve(&other(), &closing);
        let (api, mut events) = node(vec![peer("lb2", address, "lb1")]);
        // Here it is fine, there it is not.
        task::spawn("control", async move {
            while let Some(Event::Mark { reply, .. }) = events.recv().await {
                drop(reply.send(Ok(json!({"backends": []}))));
            }
        });
        let refused = mark(&api, actor(), asked(r#"{"state": "maint"}"#), true).await.unwrap_err();
        let title = "peer lb2 refused: this would empty shop; on one it is done already";
        assert_eq!((refused.status, &*refused.title), (409, title));
        change_admin(&api.facts, |admin| admin.peers = vec![peer("lb2", address, "eyes")]);
        let refused = mark(&api, actor(), asked(r#"{"state": "drain"}"#), true).await.unwrap_err();
        assert!(refused.title.contains("does not let us in"), "{refused:?}");
        closing.cancel();
    }
}
