//! Values that fit a JSON schema, for parameters and bodies of requests.

use serde_json::{Map, Value, json};

/// Longest chain of references, and deepest value: schemas may contain
/// themselves.
const DEPTH: u32 = 8;
/// Schemas that are looked at for one value: few refer to each other in a way
/// that makes it more.
const STEPS: u32 = 10_000;

/// Follows references within the document. What leads nowhere is null.
pub fn resolve<'v>(root: &'v Value, value: &'v Value) -> &'v Value {
    let mut value = value;
    for _ in 0..DEPTH {
        let Some(reference) = value.get("$ref").and_then(Value::as_str) else {
            return value;
        };
        // Only of this document: no file and no address is opened for it.
        value = reference
            .strip_prefix('#')
            .and_then(|pointer| root.pointer(pointer))
            .unwrap_or(&Value::Null);
    }
    &Value::Null
}

/// What the schema itself gives as a value: its example, default or constant.
pub fn example(root: &Value, schema: &Value) -> Option<Value> {
    let schema = resolve(root, schema);
    ["example", "default", "const"]
        .iter()
        .filter_map(|field| schema.get(field))
        .chain(schema["examples"].get(0))
        .find(|value| !value.is_null())
        .cloned()
}

/// A value that fits the schema as far as its types, limits and formats go.
/// `None` where it says nothing.
pub fn make(root: &Value, schema: &Value) -> Option<Value> {
    Maker { root, left: STEPS }.value(schema, 0)
}

struct Maker<'v> {
    root: &'v Value,
    left: u32,
}

impl Maker<'_> {
    fn value(&mut self, schema: &Value, depth: u32) -> Option<Value> {
        let root = self.root;
        self.left = self.left.checked_sub(1)?;
        if depth > DEPTH {
            return None;
        }
        let schema = resolve(root, schema);
        if let Some(value) = example(root, schema) {
            return Some(value);
        }
        if let Some(value) = schema["enum"].get(0) {
            return Some(value.clone());
        }
        for field in ["oneOf", "anyOf"] {
            let variants = schema[field].as_array().into_iter().flatten();
            let not_null = |variant: &&Value| resolve(root, variant)["type"] != "null";
            if let Some(value) = variants
                .filter(not_null)
                .find_map(|variant| self.value(variant, depth + 1))
            {
                return Some(value);
            }
        }
        if let Some(parts) = schema["allOf"].as_array() {
            let mut values = parts.iter().filter_map(|part| self.value(part, depth + 1));
            let first = values.next()?;
            return Some(values.fold(first, merged));
        }
        match type_of(schema)? {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, depth),
            "string" => Some(Value::String(string(schema))),
            "integer" => Some(integer(schema)),
            "number" => Some(schema.get("minimum").cloned().unwrap_or(json!(1.5))),
            "boolean" => Some(json!(true)),
            _ => None,
        }
    }

    /// Only what is required: what is optional may not go together.
    fn object(&mut self, schema: &Value, depth: u32) -> Option<Value> {
        let mut fields = Map::new();
        for name in schema["required"].as_array().into_iter().flatten() {
            let name = name.as_str()?;
            let value = self.value(&schema["properties"][name], depth + 1)?;
            fields.insert(name.to_owned(), value);
        }
        Some(Value::Object(fields))
    }

    fn array(&mut self, schema: &Value, depth: u32) -> Option<Value> {
        let least = schema["minItems"].as_u64().unwrap_or(0).clamp(1, 100);
        let item = self.value(&schema["items"], depth + 1)?;
        Some(Value::Array(vec![item; least as usize]))
    }
}

fn type_of(schema: &Value) -> Option<&str> {
    match &schema["type"] {
        Value::String(name) => Some(name),
        // Since 3.1 there may be several; null is the least telling.
        Value::Array(names) => names
            .iter()
            .filter_map(Value::as_str)
            .find(|name| *name != "null"),
        _ if schema["properties"].is_object() => Some("object"),
        _ if schema["items"].is_object() => Some("array"),
        _ => None,
    }
}

fn merged(one: Value, other: Value) -> Value {
    match (one, other) {
        (Value::Object(mut one), Value::Object(other)) => {
            one.extend(other);
            Value::Object(one)
        }
        (one, _) => one,
    }
}

/// Limits are numbers of any kind, 5.0 of integers too. What excludes them was
/// true or false in 3.0, and is a limit itself since.
fn integer(schema: &Value) -> Value {
    let limit = |field: &str| schema[field].as_f64();
    let next = |inclusive: &str, exclusive: &str, step: f64| {
        let apart = if schema[exclusive] == true { step } else { 0.0 };
        limit(inclusive)
            .map(|limit| limit + apart)
            .or_else(|| Some(limit(exclusive)? + step))
    };
    let least = next("minimum", "exclusiveMinimum", 1.0).map_or(i64::MIN, |it| it.ceil() as i64);
    let most = next("maximum", "exclusiveMaximum", -1.0).map_or(i64::MAX, |it| it.floor() as i64);
    json!(1.max(least).min(most))
}

fn string(schema: &Value) -> String {
    let text = match schema["format"].as_str() {
        Some("date") => "2026-01-31",
        Some("date-time") => "2026-01-31T12:00:00Z",
        Some("time") => "12:00:00Z",
        Some("uuid") => "00000000-0000-4000-8000-000000000000",
        Some("email") => "user@example.com",
        Some("uri" | "url") => "https://example.com/",
        Some("ipv4") => "192.0.2.1",
        Some("ipv6") => "2001:db8::1",
        Some("byte") => "AA==",
        _ => "text",
    };
    let least = schema["minLength"].as_u64().unwrap_or(0).min(4096) as usize;
    let most = schema["maxLength"]
        .as_u64()
        .map_or(usize::MAX, |most| most as usize);
    let mut text = text.to_owned();
    while text.len() < least {
        text.push('x');
    }
    text.truncate(most);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_keep_their_limits() {
        for (schema, expected) in [
            (json!({}), 1),
            (json!({"minimum": 5.0, "maximum": 9.0}), 5),
            (json!({"minimum": 5, "exclusiveMinimum": true}), 6),
            (json!({"exclusiveMinimum": 5}), 6),
            (json!({"maximum": 0}), 0),
            (json!({"exclusiveMaximum": -3.5}), -5),
        ] {
            assert_eq!(integer(&schema), json!(expected), "{schema}");
        }
    }
}
