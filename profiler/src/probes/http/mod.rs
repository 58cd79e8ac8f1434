//! Load on an HTTP server, and what its answers took.
//!
//! A [`target`] is resolved once and may only be this host unless more is
//! allowed. A [`plan`] says which endpoints are asked with which requests, from
//! the command line or from an [`openapi`] description. [`drive`] sends the
//! load to one after the other; [`report`] shows what was measured.

pub mod connection;
mod drive;
mod fetch;
mod lane;
pub mod load;
mod locality;
pub mod measurements;
pub mod openapi;
pub mod outcome;
mod pace;
pub mod plan;
pub mod report;
pub mod request;
mod schema;
pub mod server;
pub mod target;
pub mod tls;
pub mod usage;
mod wire;
mod yaml;

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use hyper::{Method, body::Bytes};
use tokio::sync::watch;

use load::Load;
use openapi::Description;
use plan::{Plan, Terms};
use report::{EndpointReport, LoadReport};
use request::PreparedRequest;
use server::Server;
use usage::Processes;

/// Largest description that is read.
const MAX_DESCRIPTION: usize = 16 << 20;

/// Fetches a description from the server.
///
/// # Errors
///
/// If it cannot be had or is not understood; the line names its path.
pub async fn describe(server: &Server, path: &str, terms: &Terms) -> anyhow::Result<Description> {
    let headers = terms.headers.clone();
    let request = PreparedRequest::new(&server.target, Method::GET, path, headers, Bytes::new())?;
    let text = fetch::fetch(server, &request, MAX_DESCRIPTION)
        .await
        .with_context(|| format!("cannot get {}{path}", server.target))?;
    Description::parse(&text).with_context(|| format!("{}{path}", server.target))
}

/// Loads each endpoint of the plan in turn, so that one does not slow another
/// down. The use of `processes` is measured beside it. `stop` ends it early; `tell` hears what is next.
///
/// # Errors
///
/// If this machine cannot send it. What the server does is in the report.
pub async fn run(
    server: &Server,
    plan: &Plan,
    load: &Load,
    processes: Option<&Processes>,
    command_line: String,
    stop: &watch::Receiver<bool>,
    tell: &dyn Fn(&str),
) -> anyhow::Result<LoadReport> {
    let start = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut report = LoadReport::new(server, load, command_line, start);
    report.skipped = plan.skipped.clone();
    for (number, endpoint) in plan.endpoints.iter().enumerate() {
        if *stop.borrow() {
            report.skipped.push(plan::Skipped {
                endpoint: endpoint.name.clone(),
                reason: "the run was ended before".to_owned(),
            });
            continue;
        }
        tell(&format!(
            "{}/{} {}",
            number + 1,
            plan.endpoints.len(),
            endpoint.name
        ));
        let request = &endpoint.request;
        let before = processes.map(Processes::read);
        let driven = drive::drive(load, request, &server.dialer, server.protocol, stop).await?;
        let used = processes
            .zip(before)
            .map(|(processes, before)| processes.read().since(&before));
        report
            .endpoints
            .push(EndpointReport::new(endpoint, load, &driven, used));
        report.interrupted |= driven.interrupted;
    }
    Ok(report)
}
