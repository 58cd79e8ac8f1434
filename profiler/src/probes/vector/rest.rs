//! Questions in JSON over one HTTP connection that is kept.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{HeaderMap, Method, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::provider::VectorError;
use crate::probes::http::{
    outcome::{Failure, FailureKind},
    request::PreparedRequest,
    server::Server,
};

/// Most that a server may send in one answer, bytes.
const LARGEST_ANSWER: usize = 64 << 20;

pub struct Rest {
    server: Rc<Server>,
    headers: HeaderMap,
    timeout: Duration,
    sender: Option<http1::SendRequest<Full<Bytes>>>,
}

/// A whole answer.
pub struct Answer {
    pub status: u16,
    pub body: Bytes,
    /// From sending until all of it was there; making a connection is not in it.
    pub took: Duration,
}

impl Answer {
    /// The body of a success.
    ///
    /// # Errors
    /// When it is none, with what `explain` finds in its body, or is not as
    /// expected.
    pub fn json<T: DeserializeOwned>(
        &self,
        explain: impl Fn(&Value) -> Option<&str>,
    ) -> Result<T, VectorError> {
        if (200..300).contains(&self.status) {
            return Ok(serde_json::from_slice(&self.body)?);
        }
        let said: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let message = explain(&said).unwrap_or("the server refused it");
        Err(VectorError::refused(
            format!("HTTP {}", self.status),
            message,
        ))
    }
}

impl Rest {
    pub fn new(server: Rc<Server>, headers: HeaderMap, timeout: Duration) -> Self {
        Self {
            server,
            headers,
            timeout,
            sender: None,
        }
    }

    /// # Errors
    /// When there is no whole answer in time.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, VectorError> {
        let mut headers = self.headers.clone();
        let body = match body {
            None => Bytes::new(),
            Some(body) => {
                let json = header::HeaderValue::from_static("application/json");
                headers.insert(header::CONTENT_TYPE, json);
                serde_json::to_vec(body)?.into()
            }
        };
        let base = self.server.target.path.trim_end_matches('/').to_owned();
        let path = format!("{base}{path}");
        let request = PreparedRequest::new(&self.server.target, method, &path, headers, body)
            .map_err(|error| VectorError::Unable(error.to_string()))?;
        let mut answer = self.exchange(&request).await;
        // A connection that was kept may be closed by the server at any time:
        // RFC 9112, 9.3.1.
        if matches!(&answer, Err(failure) if failure.on_reused_connection) {
            answer = self.exchange(&request).await;
        }
        Ok(answer?)
    }

    async fn exchange(&mut self, request: &PreparedRequest) -> Result<Answer, Failure> {
        let is_reused = self.sender.is_some();
        let mut sender = match self.sender.take() {
            Some(sender) => sender,
            None => self.dial().await?,
        };
        let limit = self.timeout;
        let answer = tokio::time::timeout(limit, receive(&mut sender, request, is_reused)).await;
        let answer = answer.unwrap_or_else(|_| {
            let message = format!("no complete answer within {} s", limit.as_secs_f64());
            Err(Failure::new(FailureKind::Timeout, message))
        })?;
        if sender.ready().await.is_ok() {
            self.sender = Some(sender);
        }
        Ok(answer)
    }

    async fn dial(&self) -> Result<http1::SendRequest<Full<Bytes>>, Failure> {
        let (wire, _) = self.server.dialer.dial().await?;
        let (sender, connection) = http1::handshake(TokioIo::new(wire))
            .await
            .map_err(|error| Failure::of_http(&error))?;
        // Its error reaches the request that it breaks.
        tokio::task::spawn_local(async { drop(connection.await) });
        Ok(sender)
    }
}

async fn receive(
    sender: &mut http1::SendRequest<Full<Bytes>>,
    request: &PreparedRequest,
    is_reused: bool,
) -> Result<Answer, Failure> {
    let sent = Instant::now();
    let response = sender.send_request(request.http1()).await;
    let response = response.map_err(|error| {
        let failure = Failure::of_http(&error);
        Failure {
            on_reused_connection: is_reused
                && matches!(failure.kind, FailureKind::ClosedEarly | FailureKind::Reset),
            ..failure
        }
    })?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect();
    let body = body.await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            let message = format!("an answer of more than {} MiB", LARGEST_ANSWER >> 20);
            return Failure::new(FailureKind::BodyTooLarge, message);
        }
        match error.downcast_ref::<hyper::Error>() {
            Some(error) => Failure::of_http(error),
            None => Failure::new(FailureKind::Protocol, error.to_string()),
        }
    })?;
    Ok(Answer {
        status,
        body: body.to_bytes(),
        took: sent.elapsed(),
    })
}

/// Text as a segment of a path: RFC 3986, 3.3.
pub fn segment(text: &str) -> String {
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            segment.push(byte as char);
        } else {
            segment += &format!("%{byte:02X}");
        }
    }
    segment
}
