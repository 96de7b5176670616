//! What checks over HTTP/2 share: the connection, what is said on it, a request like HTTP/1.1's.

use ::http::header::{CONNECTION, HOST};
use ::http::{Request, Response, Uri};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::AbortOnDropHandle;

use super::conversation::{Notes, fields};
use super::http::{self, Answer, wrong};
use crate::task;
use crate::telemetry::chain;

/// What [`http::request`] asks, as HTTP/2 has it (RFC 9113 §8.3.1).
pub(super) fn request(
    method: &str,
    path: &str,
    (https, host): (bool, &str),
    more: &[(String, String)],
) -> Result<Request<Empty<Bytes>>, String> {
    let mut request = http::request(method, path, host, more)?;
    request.headers_mut().remove(HOST);
    request.headers_mut().remove(CONNECTION);
    let uri = Uri::builder().scheme(if https { "https" } else { "http" }).authority(host);
    *request.uri_mut() = uri.path_and_query(path).build().map_err(|_| wrong("host"))?;
    Ok(request)
}

/// One request over a connection of its own; the answer, once it is complete.
pub(super) async fn exchange<S>(
    stream: S,
    request: Request<Empty<Bytes>>,
    notes: &mut Notes,
) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (response, _driver) = send(stream, request, notes).await?;
    http::read(response).await
}

/// One request over a connection of its own, which lasts as long as what comes with the answer's
/// head.
pub(super) async fn send<S, B>(
    stream: S,
    request: Request<B>,
    notes: &mut Notes,
) -> Result<(Response<Incoming>, AbortOnDropHandle<()>), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static,
{
    let (mut sender, connection) = http2::handshake(task::Executor, TokioIo::new(stream))
        .await
        .map_err(|error| chain(&error))?;
    let driver = AbortOnDropHandle::new(task::spawn("check connection", async {
        // Whoever waits for the answer is told why it failed.
        let _ = connection.await;
    }));
    notes.note("sent", || {
        fields(format!("{} {} HTTP/2", request.method(), request.uri()), request.headers())
    });
    let response = sender.send_request(request).await.map_err(|error| chain(&error))?;
    notes.note("received", || fields(format!("HTTP/2 {}", response.status()), response.headers()));
    Ok((response, driver))
}
