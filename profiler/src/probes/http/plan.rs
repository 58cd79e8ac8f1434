//! Which endpoints are asked, and with which requests.

use anyhow::{Context as _, bail};
use hyper::{
    HeaderMap, Method,
    body::Bytes,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde::Serialize;
use serde_json::Value;

use super::{
    openapi::{Description, Operation},
    request::PreparedRequest,
    target::Target,
};
use crate::privacy;

/// Where the values of a request's parameters and body come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ValuesFrom {
    /// It has none, or they are the user's.
    CommandLine,
    File,
    /// Examples and defaults of the description.
    Examples,
    /// Made up, at least one of them, to fit its schema: the server may well
    /// not know it.
    Schema,
}

/// An endpoint, and how it is asked.
#[derive(Clone)]
pub struct Endpoint {
    /// Method and path, as described.
    pub name: String,
    /// Method and path, as sent; secrets are masked.
    pub sent: String,
    pub values_from: ValuesFrom,
    pub request: PreparedRequest,
}

/// An endpoint that is not asked, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    pub endpoint: String,
    pub reason: String,
}

#[derive(Default)]
pub struct Plan {
    pub endpoints: Vec<Endpoint>,
    pub skipped: Vec<Skipped>,
}

/// What is sent with every request, and what may be.
#[derive(Clone)]
pub struct Terms {
    pub headers: HeaderMap,
    /// Methods that change something are sent too.
    pub allow_writes: bool,
    /// Values by name of parameter, or `METHOD /path` and then by name, `body`
    /// for the body.
    pub values: Value,
}

/// Methods that are safe by definition: RFC 9110, 9.2.1.
fn is_safe(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE].contains(method)
}

const NEEDS_WRITES: &str = "it may change data; --allow-writes sends it all the same";

/// `/path`, or `POST /path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    pub method: Option<Method>,
    pub path: String,
}

impl Pattern {
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let (method, path) = match text.trim().split_once(char::is_whitespace) {
            None => (None, text.trim()),
            Some((method, path)) => {
                let method = method
                    .to_ascii_uppercase()
                    .parse()
                    .with_context(|| format!("`{text}`: `{method}` is no method"))?;
                (Some(method), path.trim())
            }
        };
        if !path.starts_with('/') && !path.starts_with('*') {
            bail!("`{text}` is no endpoint: a path starts with /");
        }
        Ok(Self {
            method,
            path: path.to_owned(),
        })
    }

    /// Whether only the server's description can say what this is.
    pub fn needs_description(&self) -> bool {
        self.path.contains(['*', '{'])
    }

    pub fn matches(&self, operation: &Operation) -> bool {
        self.method
            .as_ref()
            .is_none_or(|method| *method == operation.method)
            && (self.path == operation.path
                || glob(self.path.as_bytes(), operation.path.as_bytes()))
    }
}

/// `*` is any text within a segment, `**` any text.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', b'*', rest @ ..] => (0..=text.len()).any(|at| glob(rest, &text[at..])),
        [b'*', rest @ ..] => {
            let end = text.iter().position(|&byte| byte == b'/');
            (0..=end.unwrap_or(text.len())).any(|at| glob(rest, &text[at..]))
        }
        [first, rest @ ..] => text.first() == Some(first) && glob(rest, &text[1..]),
    }
}

impl Plan {
    /// One request that the user wrote.
    pub fn of_request(
        target: &Target,
        method: Method,
        path: &str,
        body: Bytes,
        terms: &Terms,
    ) -> anyhow::Result<Self> {
        let mut plan = Self::default();
        plan.add(target, method, path, body, terms)?;
        Ok(plan)
    }

    /// The endpoints of a list, as `--endpoints` or the critical ones of a
    /// targets file: paths and globs. The description is needed for globs.
    ///
    /// # Errors
    ///
    /// If a pattern matches nothing, or no request can be made of it.
    pub fn of_patterns(
        target: &Target,
        patterns: &[Pattern],
        description: Option<&Description>,
        terms: &Terms,
    ) -> anyhow::Result<Self> {
        let mut plan = Self::default();
        for pattern in patterns {
            let operations: Vec<&Operation> = description
                .into_iter()
                .flat_map(|description| &description.operations)
                .filter(|operation| pattern.matches(operation))
                .collect();
            if pattern.needs_description() || !operations.is_empty() {
                if operations.is_empty() {
                    bail!("no endpoint of the description matches `{}`", pattern.path);
                }
                for operation in operations {
                    plan.add_operation(target, operation, terms)?;
                }
            } else {
                let method = pattern.method.clone().unwrap_or(Method::GET);
                plan.add(target, method, &pattern.path, Bytes::new(), terms)?;
            }
        }
        Ok(plan)
    }

    /// Every endpoint of the description.
    pub fn of_all(
        target: &Target,
        description: &Description,
        terms: &Terms,
    ) -> anyhow::Result<Self> {
        let mut plan = Self {
            skipped: description.skipped.clone(),
            ..Self::default()
        };
        for operation in &description.operations {
            plan.add_operation(target, operation, terms)?;
        }
        Ok(plan)
    }

    fn add(
        &mut self,
        target: &Target,
        method: Method,
        path: &str,
        body: Bytes,
        terms: &Terms,
    ) -> anyhow::Result<()> {
        let sent = shown(&method, path);
        if !terms.allow_writes && !is_safe(&method) {
            self.skip(&sent, NEEDS_WRITES);
            return Ok(());
        }
        let headers = terms.headers.clone();
        let request = PreparedRequest::new(target, method, path, headers, body)?;
        self.push(Endpoint {
            name: sent.clone(),
            sent,
            values_from: ValuesFrom::CommandLine,
            request,
        });
        Ok(())
    }

    fn add_operation(
        &mut self,
        target: &Target,
        operation: &Operation,
        terms: &Terms,
    ) -> anyhow::Result<()> {
        let name = operation.name();
        if !terms.allow_writes && !is_safe(&operation.method) {
            self.skip(&name, NEEDS_WRITES);
            return Ok(());
        }
        let filled = match operation.fill(&terms.values) {
            Ok(filled) => filled,
            Err(reason) => {
                self.skip(&name, &reason);
                return Ok(());
            }
        };
        let mut headers = filled.headers;
        if let Some(content_type) = filled.content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        // The user's come last: they win.
        headers.extend(terms.headers.clone());
        let sent = shown(&operation.method, &filled.path);
        let method = operation.method.clone();
        let request = PreparedRequest::new(target, method, &filled.path, headers, filled.body)?;
        self.push(Endpoint {
            name,
            sent,
            values_from: filled.values_from,
            request,
        });
        Ok(())
    }

    /// Two patterns may match the same endpoint.
    fn push(&mut self, endpoint: Endpoint) {
        if !self
            .endpoints
            .iter()
            .any(|known| known.sent == endpoint.sent)
        {
            self.endpoints.push(endpoint);
        }
    }

    fn skip(&mut self, endpoint: &str, reason: &str) {
        let skipped = Skipped {
            endpoint: endpoint.to_owned(),
            reason: reason.to_owned(),
        };
        if !self.skipped.contains(&skipped) {
            self.skipped.push(skipped);
        }
    }
}

/// With the secrets of a query masked.
fn shown(method: &Method, path: &str) -> String {
    format!("{method} {}", privacy::command_line(&[path.to_owned()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(allow_writes: bool) -> Terms {
        Terms {
            headers: HeaderMap::new(),
            allow_writes,
            values: Value::Null,
        }
    }

    #[test]
    fn globs() {
        for (pattern, text, expected) in [
            ("/a", "/a", true),
            ("/a", "/ab", false),
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/b/c", false),
            ("/a/**", "/a/b/c", true),
            ("**/c", "/a/b/c", true),
            ("/*/b*", "/a/bc", true),
            ("*", "/a", false),
            ("**", "/a", true),
        ] {
            assert_eq!(
                glob(pattern.as_bytes(), text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn patterns() -> anyhow::Result<()> {
        let pattern = Pattern::parse("post /items")?;
        assert_eq!(pattern.method, Some(Method::POST));
        assert_eq!(pattern.path, "/items");
        assert!(Pattern::parse("items").is_err());
        assert!(Pattern::parse("").is_err());
        assert!(Pattern::parse("G@T /x").is_err());
        Ok(())
    }

    #[test]
    fn what_writes_is_sent_only_if_allowed() -> anyhow::Result<()> {
        let target = Target::parse("http://localhost/")?;
        let patterns = [
            Pattern::parse("DELETE /a")?,
            Pattern::parse("/b?password=hunter2")?,
        ];
        let plan = Plan::of_patterns(&target, &patterns, None, &terms(false))?;
        assert_eq!(plan.skipped[0].endpoint, "DELETE /a");
        assert_eq!(plan.endpoints.len(), 1);
        assert_eq!(plan.endpoints[0].sent, "GET /b?password=***");
        let plan = Plan::of_patterns(&target, &patterns, None, &terms(true))?;
        assert_eq!(plan.endpoints.len(), 2);
        Ok(())
    }
}
