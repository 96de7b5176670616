//! Asks the running process over its socket.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::admin::socket;
use crate::admin::view::Nodes;
use crate::task;

use super::fail::Fail;

/// Reading a large file with its certificates takes a while; nothing takes longer than this.
const PATIENCE: Duration = Duration::from_mins(1);
/// Bytes of an answer: the status of the largest configuration fits.
const MAX_ANSWER: usize = 256 << 20;

/// Where the running process may answer.
#[derive(Debug)]
pub(super) struct Places {
    all: Vec<PathBuf>,
    /// Why they may be the wrong ones.
    doubt: Option<String>,
}

impl Places {
    /// In this order: named, in the named file, in the environment, in the file that was found, by
    /// default.
    pub(super) fn new(named: Option<&Path>, file: Option<&Path>, found: Option<&Path>) -> Self {
        Self { all: socket::places(named, file, found), doubt: None }
    }

    /// With what there is to say where nobody answers.
    pub(super) fn doubted(self, doubt: Option<String>) -> Self {
        Self { doubt, ..self }
    }

    /// Asks, and gives the answer of a process that agrees.
    ///
    /// # Errors
    /// Nobody answers, or what the process has against it.
    pub(super) fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Fail> {
        block_on(self.asking(method, path, body))?
    }

    /// As [`Places::ask`], for those who have a runtime already.
    ///
    /// # Errors
    /// As [`Places::ask`].
    pub(super) async fn asking(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Fail> {
        let text = body.map(Value::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "ostler")
            .header("content-type", "application/json")
            .header("content-length", text.len())
            .body(Full::new(Bytes::from(text)))
            .map_err(anyhow::Error::from)?;
        let stream = self.connect().await?;
        tokio::time::timeout(PATIENCE, exchange(stream, request))
            .await
            .map_err(|_| Fail::refused("the running process does not answer in time"))?
    }

    /// Asks for a page of the API.
    ///
    /// # Errors
    /// As [`Places::ask`]; also where the answer is from another version and not understood.
    pub(super) fn get<T: serde::de::DeserializeOwned>(&self, page: &str) -> Result<T, Fail> {
        block_on(self.getting(page))?
    }

    /// As [`Places::get`], for those who have a runtime already.
    ///
    /// # Errors
    /// As [`Places::get`].
    pub(super) async fn getting<T>(&self, page: &str) -> Result<T, Fail>
    where
        T: serde::de::DeserializeOwned,
    {
        understood(self.asking(Method::GET, &format!("/api/v1/{page}"), None).await?)
    }

    /// Live sessions of this node, or of its peers too.
    ///
    /// # Errors
    /// As [`Places::get`]; also where a peer is out of reach.
    pub(super) async fn sessions(&self, this_node: bool, query: &str) -> Result<Nodes, Fail> {
        if this_node {
            let own = self.getting(&format!("sessions?{query}")).await?;
            return Ok(Nodes { nodes: vec![own] });
        }
        self.getting(&format!("cluster/sessions?{query}")).await
    }

    async fn connect(&self) -> Result<UnixStream, Fail> {
        let mut forbidden = None;
        for path in &self.all {
            match UnixStream::connect(path).await {
                Ok(stream) => return Ok(stream),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    forbidden.get_or_insert(path);
                }
                Err(_) => {}
            }
        }
        if let Some(path) = forbidden {
            let path = path.display();
            return Err(Fail::refused(format!(
                "{path} may not be used by this user: be its owner, or have the file say \
                 admin.socket_group and admin.socket_mode"
            )));
        }
        let tried: Vec<String> = self.all.iter().map(|path| path.display().to_string()).collect();
        let tried = tried.join(", ");
        let doubt = self.doubt.as_deref().map(|doubt| format!("; {doubt}")).unwrap_or_default();
        Err(Fail::NoProcess(format!(
            "no running Ostler answers at {tried}{doubt}; start one, or name its socket with \
             --socket (a change of admin.socket takes effect at its next start)"
        )))
    }
}

/// An answer in its shape.
///
/// # Errors
/// Where it is from another version.
pub(super) fn understood<T: serde::de::DeserializeOwned>(answer: Value) -> Result<T, Fail> {
    serde_json::from_value(answer)
        .map_err(|error| Fail::refused(format!("the running process is another version: {error}")))
}

/// Runs one thing to its end on a small runtime.
///
/// # Errors
/// Where the system gives us no runtime.
pub(super) fn block_on<F: Future>(future: F) -> Result<F::Output, Fail> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(future))
}

async fn exchange(stream: UnixStream, request: Request<Full<Bytes>>) -> Result<Value, Fail> {
    let gone = |error: hyper::Error| {
        Fail::Refused(anyhow::Error::from(error).context("the running process broke off"))
    };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(gone)?;
    let driver = task::spawn("admin-client", connection);
    let response = sender.send_request(request).await.map_err(gone)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    let body = body.map_err(|error| Fail::refused(format!("the answer broke off: {error}")))?;
    driver.abort();
    let answer: Value = serde_json::from_slice(&body.to_bytes()).map_err(anyhow::Error::from)?;
    if status.is_success() { Ok(answer) } else { Err(Fail::refused(problem(&answer))) }
}

/// What a problem document (RFC 9457) says, as text.
fn problem(answer: &Value) -> String {
    let member = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
    let title = match member("title") {
        "" => "the running process refused, and did not say why",
        title => title,
    };
    match member("detail") {
        "" => title.to_owned(),
        detail => format!("{title}\n{}", detail.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_problem_is_told_with_its_detail() {
        assert_eq!(problem(&json!({"title": "no such pool"})), "no such pool");
        assert_eq!(problem(&json!({"title": "a", "detail": "b\n"})), "a\nb");
        assert!(problem(&json!([])).contains("refused"));
    }

    #[test]
    fn nobody_at_the_named_place_is_no_running_process() {
        let places = Places::new(Some(Path::new("/nowhere/at/all.sock")), None, None);
        let fail = places.ask(Method::GET, "/api/v1/status", None).unwrap_err();
        assert_eq!(fail.code(), 3);
        assert!(fail.text().contains("/nowhere/at/all.sock"));
    }
}
