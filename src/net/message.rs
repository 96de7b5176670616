//! Requests and answers on their way through: heads as they came, and what their bodies come by.
// The `http` crate's own types hold a map of the fields; see `fields`. At the edge to hyper one
// becomes the other.

use http::{Extensions, Method, StatusCode, Uri, Version};

use super::fields::Fields;

/// What a request says before its body.
#[derive(Debug, Clone, Default)]
pub struct RequestHead {
    /// What is to be done.
    pub method: Method,
    /// The target, in the form in which it came.
    pub uri: Uri,
    /// Of the one that has sent it.
    pub version: Version,
    /// Its fields, in the order in which they came, or in which hyper has put them.
    pub headers: Fields,
    /// What is said beside HTTP: hyper's hand-over of a connection and the like.
    pub extensions: Extensions,
}

/// What an answer says before its body.
#[derive(Debug, Clone, Default)]
pub struct ResponseHead {
    /// What has come of it.
    pub status: StatusCode,
    /// Of the one that has sent it, or is to be.
    pub version: Version,
    /// Its fields, in the order in which they came, or in which hyper has put them.
    pub headers: Fields,
    /// What is said beside HTTP: a reason of its own.
    pub extensions: Extensions,
}

/// A request and its body.
#[derive(Debug)]
pub struct Request<B> {
    /// Before the body.
    pub head: RequestHead,
    /// What the body comes by.
    pub body: B,
}

/// An answer and its body.
#[derive(Debug)]
pub struct Response<B> {
    /// Before the body.
    pub head: ResponseHead,
    /// What the body comes by.
    pub body: B,
}

impl<B> Response<B> {
    /// 200 with this body, and no fields.
    pub fn new(body: B) -> Self {
        Self { head: ResponseHead::default(), body }
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    /// Its fields.
    pub fn headers(&self) -> &Fields {
        &self.head.headers
    }

    /// Its fields, to be changed.
    pub fn headers_mut(&mut self) -> &mut Fields {
        &mut self.head.headers
    }

    /// The same with another body.
    pub fn map<C>(self, other: impl FnOnce(B) -> C) -> Response<C> {
        Response { head: self.head, body: other(self.body) }
    }
}

impl From<http::request::Parts> for RequestHead {
    fn from(parts: http::request::Parts) -> Self {
        let http::request::Parts { method, uri, version, headers, extensions, .. } = parts;
        Self { method, uri, version, headers: headers.into(), extensions }
    }
}

impl<B> From<Request<B>> for http::Request<B> {
    fn from(Request { head, body }: Request<B>) -> Self {
        let mut request = Self::new(body);
        *request.method_mut() = head.method;
        *request.uri_mut() = head.uri;
        *request.version_mut() = head.version;
        *request.headers_mut() = head.headers.into();
        *request.extensions_mut() = head.extensions;
        request
    }
}

impl<B> From<http::Response<B>> for Response<B> {
    fn from(response: http::Response<B>) -> Self {
        let (parts, body) = response.into_parts();
        let http::response::Parts { status, version, headers, extensions, .. } = parts;
        Self { head: ResponseHead { status, version, headers: headers.into(), extensions }, body }
    }
}

impl<B> From<Response<B>> for http::Response<B> {
    fn from(Response { head, body }: Response<B>) -> Self {
        let mut response = Self::new(body);
        *response.status_mut() = head.status;
        *response.version_mut() = head.version;
        *response.headers_mut() = head.headers.into();
        *response.extensions_mut() = head.extensions;
        response
    }
}
