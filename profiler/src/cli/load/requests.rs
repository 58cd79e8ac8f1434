//! Which requests are sent: from the options, the server's description and a
//! targets file.

use std::{fs, path::Path};

use anyhow::Context as _;
use hyper::header::{HeaderValue, USER_AGENT};
use serde_json::Value;

use super::{
    args::{ConnectionArgs, RequestArgs},
    critical, headers,
};
use crate::{
    cli::compare::Wanted,
    probes::http::{
        self,
        openapi::Description,
        plan::{Pattern, Plan, Terms},
        server::Server,
    },
};

/// Endpoints as they were asked for.
pub struct Endpoints {
    pub all: bool,
    pub critical: bool,
    pub patterns: Vec<Pattern>,
}

impl Endpoints {
    pub fn parse(words: &[String]) -> anyhow::Result<Self> {
        let has = |what: &str| words.iter().any(|word| word == what);
        Ok(Self {
            all: has("all"),
            critical: has("critical"),
            patterns: words
                .iter()
                .filter(|word| !["all", "critical"].contains(&word.as_str()))
                .map(|text| Pattern::parse(text))
                .collect::<anyhow::Result<_>>()?,
        })
    }
}

/// The plan of a server that was reached.
///
/// # Errors
/// If no request can be made of what was asked for.
pub async fn plan(
    words: &[String],
    request: &RequestArgs,
    targets: Option<&mut Wanted>,
    server: &Server,
    terms: &Terms,
) -> anyhow::Result<Plan> {
    let Endpoints {
        all,
        critical,
        mut patterns,
    } = Endpoints::parse(words)?;
    let needed = all || patterns.iter().any(Pattern::needs_description);
    let description = if needed || request.params.is_some() {
        Some(description(request, server, terms).await?)
    } else {
        // Examples for a path as it stands are welcome, and no more than that.
        description(request, server, terms).await.ok()
    };
    if critical {
        patterns.extend(critical::patterns(targets, description.as_ref())?);
    }
    match &description {
        Some(description) if all => Plan::of_all(&server.target, description, terms),
        description => Plan::of_patterns(&server.target, &patterns, description.as_ref(), terms),
    }
}

/// The description of a server, from a file or itself.
///
/// # Errors
/// If it cannot be had or is not understood.
pub async fn description(
    request: &RequestArgs,
    server: &Server,
    terms: &Terms,
) -> anyhow::Result<Description> {
    let place = &request.openapi;
    let path = Path::new(place);
    if place.starts_with('/') && !path.is_file() {
        return http::describe(server, place, terms).await;
    }
    let text = fs::read(path).with_context(|| format!("cannot read --openapi {place}"))?;
    Description::parse(&text).with_context(|| place.clone())
}

/// What is sent with every request.
///
/// # Errors
/// If a header or the file of values cannot be used.
pub fn terms(request: &RequestArgs, connection: &ConnectionArgs) -> anyhow::Result<Terms> {
    let mut headers = headers::read(connection)?;
    headers
        .entry(USER_AGENT)
        .or_insert(HeaderValue::from_static(concat!(
            "profiler/",
            env!("CARGO_PKG_VERSION")
        )));
    let values = match &request.params {
        None => Value::Null,
        Some(file) => {
            let unreadable = || format!("cannot read --params {}", file.display());
            let text = fs::read(file).with_context(unreadable)?;
            serde_json::from_slice(&text).with_context(unreadable)?
        }
    };
    Ok(Terms {
        headers,
        allow_writes: request.allow_writes,
        values,
    })
}
