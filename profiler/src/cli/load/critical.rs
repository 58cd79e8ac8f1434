//! The critical endpoints of a service: those that have targets.

use anyhow::{Context as _, bail};
use hyper::Method;

use crate::{
    cli::compare::Wanted,
    probes::http::{openapi::Description, plan::Pattern},
};

/// Section of a targets file whose names are endpoints.
pub const SECTION: &str = "api_endpoints";

/// The endpoints, by their aliases, else by the description's names of
/// operations. Their targets find them afterwards.
///
/// # Errors
///
/// If there are none, or nothing says which endpoint a name is.
pub fn patterns(
    targets: Option<&mut Wanted>,
    description: Option<&Description>,
) -> anyhow::Result<Vec<Pattern>> {
    let targets = targets.context(
        "--endpoints critical needs --targets FILE: the critical endpoints are those with targets",
    )?;
    let names: Vec<String> = targets
        .names(SECTION)
        .into_iter()
        .map(str::to_owned)
        .collect();
    if names.is_empty() {
        bail!("the targets file has nothing under `{SECTION}`");
    }
    let mut patterns = Vec::new();
    for name in names {
        let pattern = match targets.alias(&name) {
            Some(alias) => Pattern::parse(alias).with_context(|| format!("--alias {name}"))?,
            None => described(&name, description)?,
        };
        let method = pattern.method.clone().unwrap_or(Method::GET);
        targets.call(name, format!("{method} {}", pattern.path));
        patterns.push(Pattern {
            method: Some(method),
            ..pattern
        });
    }
    Ok(patterns)
}

/// As [`patterns`], for one of several services: of the names that have targets
/// those that it knows.
pub fn patterns_of(targets: &mut Wanted, description: &Description) -> Vec<Pattern> {
    let names: Vec<String> = targets
        .names(SECTION)
        .into_iter()
        .map(str::to_owned)
        .collect();
    let mut patterns = Vec::new();
    for name in names {
        let pattern = match targets.alias(&name) {
            Some(alias) => Pattern::parse(alias)
                .ok()
                .filter(|pattern| description.operations.iter().any(|it| pattern.matches(it))),
            None => described(&name, Some(description)).ok(),
        };
        if let Some(pattern) = pattern {
            let method = pattern.method.clone().unwrap_or(Method::GET);
            targets.call(name, format!("{method} {}", pattern.path));
            patterns.push(Pattern {
                method: Some(method),
                ..pattern
            });
        }
    }
    patterns
}

fn described(name: &str, description: Option<&Description>) -> anyhow::Result<Pattern> {
    let mut operations = description
        .into_iter()
        .flat_map(|description| &description.operations)
        .filter(|operation| operation.is_called(name));
    match (operations.next(), operations.next()) {
        (Some(only), None) => Ok(Pattern {
            method: Some(only.method.clone()),
            path: only.path.clone(),
        }),
        (Some(one), Some(other)) => bail!(
            "`{name}` may be {} or {}: --alias {name}='METHOD /path' says which",
            one.name(),
            other.name()
        ),
        (None, _) => bail!(
            "nothing says which endpoint `{name}` is: --alias {name}='METHOD /path' does, or an \
             operationId in the OpenAPI description"
        ),
    }
}
