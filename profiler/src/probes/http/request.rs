//! A request that is made once and sent many times.

use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, Uri,
    body::Bytes,
    header::{HOST, HeaderValue},
};
use thiserror::Error;

use super::target::Target;

/// What to send. The headers may hold secrets, so it cannot be printed.
#[derive(Clone)]
pub struct PreparedRequest {
    method: Method,
    /// HTTP/1.1: only path and query; RFC 9112, 3.2.1.
    path: Uri,
    /// HTTP/2: the whole; RFC 9113, 8.3.1.
    url: Uri,
    headers: HeaderMap,
    with_host: HeaderMap,
    body: Bytes,
}

#[derive(Debug, Error)]
pub enum RequestError {
    #[error("`{path}` is no path of a URL: {why}")]
    Path { path: String, why: String },
    #[error("`{0}` is no host name for a header")]
    Host(String),
}

impl PreparedRequest {
    /// `path` starts with a slash and may have a query.
    pub fn new(
        target: &Target,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Self, RequestError> {
        let wrong = |error: &dyn std::fmt::Display| RequestError::Path {
            path: path.to_owned(),
            why: error.to_string(),
        };
        let url = Uri::builder()
            .scheme(target.scheme.name())
            .authority(target.authority.as_str())
            .path_and_query(path)
            .build()
            .map_err(|error| wrong(&error))?;
        let path = path.parse().map_err(|error| wrong(&error))?;
        let mut with_host = headers.clone();
        if !with_host.contains_key(HOST) {
            let host = HeaderValue::from_str(&target.authority)
                .map_err(|_| RequestError::Host(target.authority.clone()))?;
            with_host.insert(HOST, host);
        }
        Ok(Self {
            method,
            path,
            url,
            headers,
            with_host,
            body,
        })
    }

    pub fn http1(&self) -> Request<Full<Bytes>> {
        self.with(&self.path, &self.with_host)
    }

    pub fn http2(&self) -> Request<Full<Bytes>> {
        self.with(&self.url, &self.headers)
    }

    fn with(&self, uri: &Uri, headers: &HeaderMap) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers.clone();
        request
    }
}
