//! A service's own description of its endpoints: OpenAPI 3.0 and 3.1,
//! <https://spec.openapis.org/oas/v3.1.1.html>.

use std::fmt::Write as _;

use anyhow::{Context as _, bail};
use hyper::{
    HeaderMap, Method,
    body::Bytes,
    header::{HeaderName, HeaderValue},
};
use serde_json::{Map, Value};

use super::{
    plan::{Skipped, ValuesFrom},
    schema, yaml,
};

/// Fields of a path item that are operations.
const METHODS: [&str; 8] = [
    "get", "put", "post", "delete", "options", "head", "patch", "trace",
];

pub struct Description {
    pub operations: Vec<Operation>,
    /// What is described in a way that is not understood.
    pub skipped: Vec<Skipped>,
}

/// An endpoint: its parameters and body with all references resolved as far
/// as they are needed.
#[derive(Clone, Debug)]
pub struct Operation {
    pub method: Method,
    /// With the prefix of the server: `/v1/items/{id}`.
    pub path: String,
    /// `operationId`, empty if it has none.
    id: String,
    parameters: Vec<Parameter>,
    body: Option<Described>,
    body_required: bool,
    /// The body is of a kind that is not made here.
    foreign_body: Option<String>,
}

#[derive(Clone, Debug)]
struct Parameter {
    name: String,
    /// `path`, `query`, `header` or `cookie`.
    place: String,
    required: bool,
    value: Described,
}

/// What the description has for a value.
#[derive(Clone, Debug, Default)]
struct Described {
    example: Option<Value>,
    /// Made to fit the schema.
    made: Option<Value>,
}

/// A request for an operation.
#[derive(Debug)]
pub struct Filled {
    /// Path and query, escaped.
    pub path: String,
    pub headers: HeaderMap,
    pub content_type: Option<&'static str>,
    pub body: Bytes,
    pub values_from: ValuesFrom,
}

impl Description {
    /// # Errors
    ///
    /// If it is no OpenAPI 3 in JSON or YAML.
    pub fn parse(text: &[u8]) -> anyhow::Result<Self> {
        // JSON is YAML too, but said more clearly when it is wrong.
        let root: Value = if text.trim_ascii_start().starts_with(b"{") {
            serde_json::from_slice(text).context("the description is no JSON")?
        } else {
            let text = str::from_utf8(text).context("the description is not in UTF-8")?;
            yaml::parse(text).context("the description is neither JSON nor YAML")?
        };
        match root["openapi"].as_str() {
            Some(version) if version.starts_with("3.") => {}
            Some(version) => bail!("the description is of OpenAPI {version}; 3.x is understood"),
            None => bail!("the description is no OpenAPI 3: it has no field `openapi`"),
        }
        let Some(paths) = root["paths"].as_object() else {
            bail!("the description has no paths");
        };
        let prefix = prefix(&root);
        let mut description = Self {
            operations: Vec::new(),
            skipped: Vec::new(),
        };
        for (path, item) in paths {
            let item = schema::resolve(&root, item);
            for method in METHODS {
                if let Some(operation) = item.get(method) {
                    description.add(&root, &prefix, path, method, item, operation);
                }
            }
        }
        Ok(description)
    }

    fn add(
        &mut self,
        root: &Value,
        prefix: &str,
        path: &str,
        method: &str,
        item: &Value,
        operation: &Value,
    ) {
        let Ok(name) = method.to_ascii_uppercase().parse::<Method>() else {
            return;
        };
        if !path.starts_with('/') {
            self.skipped.push(Skipped {
                endpoint: format!("{name} {path}"),
                reason: "its path does not start with /".to_owned(),
            });
            return;
        }
        let mut parameters: Vec<Parameter> = Vec::new();
        // An operation's own parameters replace those of the path.
        for list in [&operation["parameters"], &item["parameters"]] {
            for parameter in list.as_array().into_iter().flatten() {
                let parameter = parameter_of(root, parameter);
                let known = parameters
                    .iter()
                    .any(|it| it.name == parameter.name && it.place == parameter.place);
                if !known {
                    parameters.push(parameter);
                }
            }
        }
        let body = schema::resolve(root, &operation["requestBody"]);
        let json = body["content"].as_object().and_then(|content| {
            let is_json = |kind: &str| kind == "application/json" || kind.ends_with("+json");
            content
                .iter()
                .find(|(kind, _)| is_json(kind))
                .map(|(_, media)| media)
        });
        let foreign_body = body["content"]
            .as_object()
            .filter(|_| json.is_none())
            .and_then(|content| content.keys().next().cloned());
        self.operations.push(Operation {
            method: name,
            path: format!("{prefix}{path}"),
            id: operation["operationId"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            parameters,
            body: json.map(|media| described(root, media)),
            body_required: body["required"].as_bool().unwrap_or(false),
            foreign_body,
        });
    }
}

/// The path of the first server, which stands before all others'.
fn prefix(root: &Value) -> String {
    let url = root["servers"][0]["url"].as_str().unwrap_or_default();
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |at| &rest[at..]),
        None => url,
    };
    let path = path.trim_end_matches('/');
    if path.starts_with('/') && !path.contains('{') {
        path.to_owned()
    } else {
        String::new()
    }
}

fn parameter_of(root: &Value, parameter: &Value) -> Parameter {
    let parameter = schema::resolve(root, parameter);
    let text = |field: &str| parameter[field].as_str().unwrap_or_default().to_owned();
    // Instead of a schema there may be one media type.
    let described = match parameter["content"]
        .as_object()
        .and_then(|it| it.values().next())
    {
        Some(media) => described(root, media),
        None => described(root, parameter),
    };
    Parameter {
        name: text("name"),
        place: text("in"),
        required: parameter["required"].as_bool().unwrap_or(false),
        value: described,
    }
}

/// Of a parameter or media type: its example, else the first of its examples,
/// else what its schema says.
fn described(root: &Value, holder: &Value) -> Described {
    let first = holder["examples"]
        .as_object()
        .and_then(|examples| examples.values().next())
        .map(|example| schema::resolve(root, example)["value"].clone());
    let example = holder
        .get("example")
        .cloned()
        .or(first)
        .filter(|value| !value.is_null())
        .or_else(|| schema::example(root, &holder["schema"]));
    let made = match example {
        Some(_) => None,
        None => schema::make(root, &holder["schema"]),
    };
    Described { example, made }
}

impl Described {
    fn value(&self) -> Option<(&Value, ValuesFrom)> {
        let example = self
            .example
            .as_ref()
            .map(|value| (value, ValuesFrom::Examples));
        example.or_else(|| self.made.as_ref().map(|value| (value, ValuesFrom::Schema)))
    }
}

impl Operation {
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Whether it is the endpoint that a program calls so. FastAPI's ids are the
    /// name of the function, then path and method: `create_item_items_post`
    /// (`generate_unique_id` in fastapi/utils.py, 0.115).
    pub fn is_called(&self, name: &str) -> bool {
        self.id
            .strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    }

    /// A request: with the user's values, else the description's.
    ///
    /// # Errors
    ///
    /// Why there is none, in a few words.
    pub fn fill(&self, values: &Value) -> Result<Filled, String> {
        let own = &values[self.name()];
        let given = |name: &str| {
            [&own[name], &values[name]]
                .into_iter()
                .find(|it| !it.is_null())
        };
        let mut filled = Filled {
            path: self.path.clone(),
            headers: HeaderMap::new(),
            content_type: None,
            body: Bytes::new(),
            values_from: ValuesFrom::CommandLine,
        };
        let mut query = String::new();
        for parameter in &self.parameters {
            let in_path = parameter.place == "path";
            let (value, from) = match (given(&parameter.name), parameter.value.value()) {
                (Some(value), _) => (value, ValuesFrom::File),
                (None, Some(described)) if parameter.required || in_path => described,
                (None, None) if parameter.required || in_path => {
                    return Err(format!(
                        "no value for its parameter `{}`; --params gives one",
                        parameter.name
                    ));
                }
                // What is optional is left out.
                _ => continue,
            };
            filled.values_from = filled.values_from.max(from);
            parameter.put(value, &mut filled, &mut query)?;
        }
        if let Some(open) = filled.path.find('{') {
            let name = filled.path[open..]
                .split(['{', '}'])
                .nth(1)
                .unwrap_or_default();
            return Err(format!("its parameter `{name}` is not described"));
        }
        if !query.is_empty() {
            filled.path = format!("{}?{query}", filled.path);
        }
        self.fill_body(&own["body"], &mut filled)?;
        Ok(filled)
    }

    fn fill_body(&self, given: &Value, filled: &mut Filled) -> Result<(), String> {
        let described = self.body.as_ref().and_then(Described::value);
        let (value, from) = match (given, described) {
            (Value::Null, Some(described)) => described,
            (Value::Null, None) => {
                return match &self.foreign_body {
                    Some(kind) if self.body_required => Err(format!(
                        "its body is {kind}, of which only JSON is made here"
                    )),
                    _ if self.body_required => {
                        Err("nothing says what its body is; --params gives one".to_owned())
                    }
                    _ => Ok(()),
                };
            }
            (given, _) => (given, ValuesFrom::File),
        };
        filled.values_from = filled.values_from.max(from);
        filled.content_type = Some("application/json");
        filled.body = value.to_string().into();
        Ok(())
    }
}

impl Parameter {
    fn put(&self, value: &Value, filled: &mut Filled, query: &mut String) -> Result<(), String> {
        let text = plain(value);
        match self.place.as_str() {
            "path" => {
                // An empty segment would be another endpoint.
                if text.is_empty() {
                    return Err(format!("its parameter `{}` is empty", self.name));
                }
                filled.path = filled
                    .path
                    .replace(&format!("{{{}}}", self.name), &escape(&text));
            }
            "query" => {
                // Style form, exploded: an item of a list each.
                let items: Vec<String> = match value {
                    Value::Array(items) => items.iter().map(plain).collect(),
                    _ => vec![text],
                };
                for item in items {
                    let separator = if query.is_empty() { "" } else { "&" };
                    let _ = write!(query, "{separator}{}={}", escape(&self.name), escape(&item));
                }
            }
            "header" => {
                let name = HeaderName::from_bytes(self.name.as_bytes());
                match (name, HeaderValue::from_str(&text)) {
                    (Ok(name), Ok(value)) => filled.headers.append(name, value),
                    _ => return Err(format!("its header `{}` cannot be sent", self.name)),
                };
            }
            _ => {
                let cookie = format!("{}={}", self.name, escape(&text));
                let value = HeaderValue::from_str(&cookie)
                    .map_err(|_| format!("its cookie `{}` cannot be sent", self.name))?;
                filled.headers.append(hyper::header::COOKIE, value);
            }
        }
        Ok(())
    }
}

/// Style simple: as it is, lists with commas, objects as names and values.
fn plain(value: &Value) -> String {
    let join = |parts: Vec<String>| parts.join(",");
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => join(items.iter().map(plain).collect()),
        Value::Object(fields) => join(flat(fields)),
        other => other.to_string(),
    }
}

fn flat(fields: &Map<String, Value>) -> Vec<String> {
    fields
        .iter()
        .flat_map(|(name, value)| [name.clone(), plain(value)])
        .collect()
}

/// All but the unreserved characters of RFC 3986, 2.3.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
#[path = "openapi_tests.rs"]
mod tests;
