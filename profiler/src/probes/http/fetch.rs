//! One request whose answer is kept.

use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, Limited};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;

use super::{
    connection::{Here, Protocol},
    request::PreparedRequest,
    server::Server,
};

/// # Errors
///
/// If there is no answer in time, it is no success, or its body is larger than
/// `limit`.
pub async fn fetch(
    server: &Server,
    request: &PreparedRequest,
    limit: usize,
) -> anyhow::Result<Vec<u8>> {
    let answer = tokio::time::timeout(server.dialer.timeout, fetch_untimed(server, request, limit));
    answer.await.context("no answer in time")?
}

async fn fetch_untimed(
    server: &Server,
    request: &PreparedRequest,
    limit: usize,
) -> anyhow::Result<Vec<u8>> {
    let (wire, _) = server
        .dialer
        .dial()
        .await
        .map_err(|failure| anyhow::anyhow!(failure.message))?;
    let wire = TokioIo::new(wire);
    let response = match server.protocol {
        Protocol::Http1 => {
            let (mut sender, connection) = http1::handshake(wire).await?;
            tokio::task::spawn_local(connection);
            sender.send_request(request.http1()).await?
        }
        Protocol::Http2 => {
            let (mut sender, connection) = http2::handshake(Here, wire).await?;
            tokio::task::spawn_local(connection);
            sender.send_request(request.http2()).await?
        }
    };
    if !response.status().is_success() {
        bail!("the answer is {}", response.status());
    }
    match Limited::new(response.into_body(), limit).collect().await {
        Ok(body) => Ok(body.to_bytes().to_vec()),
        Err(error) => bail!("{error}"),
    }
}
