use serde_json::json;

use super::*;

fn description(root: &Value) -> Description {
    Description::parse(root.to_string().as_bytes()).expect("a description")
}

/// As FastAPI writes them.
fn items() -> Value {
    json!({
        "openapi": "3.1.0",
        "servers": [{"url": "https://elsewhere.example/v1/"}],
        "paths": {
            "/items/{item_id}": {
                "parameters": [{"name": "item_id", "in": "path", "required": true,
                    "schema": {"type": "integer", "minimum": 7}}],
                "get": {"parameters": [
                    {"name": "q", "in": "query", "required": false, "schema": {"type": "string"}},
                    {"name": "tags", "in": "query", "required": true,
                     "schema": {"type": "array", "items": {"$ref": "#/components/schemas/Tag"}}},
                    {"name": "X-Kind", "in": "header", "required": true, "example": "a b"},
                ]},
            },
            "/items": {"post": {"requestBody": {"required": true, "content":
                {"application/json": {"schema": {"$ref": "#/components/schemas/Item"}}}}}},
            "/upload": {"post": {"requestBody": {"required": true, "content":
                {"multipart/form-data": {"schema": {}}}}}},
            "/odd/{what}": {"get": {}},
            "/any": {"get": {"parameters": [{"name": "x", "in": "query", "required": true}]}},
        },
        "components": {"schemas": {
            "Tag": {"enum": ["new & old"]},
            "Item": {"type": "object", "required": ["name", "price", "parent"], "properties": {
                "name": {"type": "string", "minLength": 6},
                "price": {"type": "number"},
                "note": {"type": "string"},
                "parent": {"anyOf": [{"type": "null"}, {"type": "object"}]},
            }},
        }},
    })
}

fn operation<'d>(description: &'d Description, name: &str) -> &'d Operation {
    description
        .operations
        .iter()
        .find(|operation| operation.name() == name)
        .expect(name)
}

#[test]
fn parameters_are_filled_from_schemas_examples_and_files() {
    let description = description(&items());
    let get = operation(&description, "GET /v1/items/{item_id}");
    let filled = get.fill(&Value::Null).expect("a request");
    assert_eq!(filled.path, "/v1/items/7?tags=new%20%26%20old");
    assert_eq!(filled.headers["x-kind"], "a b");
    assert_eq!(filled.values_from, ValuesFrom::Schema);
    let values = json!({
        "item_id": 1, "q": "ü",
        "GET /v1/items/{item_id}": {"item_id": "a/b", "tags": [1, 2]},
    });
    let filled = get.fill(&values).expect("a request");
    assert_eq!(filled.path, "/v1/items/a%2Fb?q=%C3%BC&tags=1&tags=2");
    assert_eq!(filled.values_from, ValuesFrom::Examples);
}

#[test]
fn bodies() {
    let description = description(&items());
    let post = operation(&description, "POST /v1/items");
    let filled = post.fill(&Value::Null).expect("a request");
    let body: Value = serde_json::from_slice(&filled.body).expect("JSON");
    assert_eq!(body, json!({"name": "textxx", "price": 1.5, "parent": {}}));
    let values = json!({"POST /v1/items": {"body": {"name": "x"}}});
    let filled = post.fill(&values).expect("a request");
    assert_eq!(&filled.body[..], br#"{"name":"x"}"#);
    assert_eq!(filled.values_from, ValuesFrom::File);
}

#[test]
fn what_cannot_be_asked_says_why() {
    let description = description(&items());
    for (name, reason) in [
        ("POST /v1/upload", "multipart/form-data"),
        ("GET /v1/odd/{what}", "`what` is not described"),
        ("GET /v1/any", "no value for its parameter `x`"),
    ] {
        let error = operation(&description, name)
            .fill(&Value::Null)
            .expect_err(name);
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn hostile_descriptions_end() {
    for text in [
        "",
        "[]",
        "{}",
        r#"{"openapi":"2.0"}"#,
        r#"{"openapi":"3.0.0"}"#,
    ] {
        assert!(Description::parse(text.as_bytes()).is_err(), "{text}");
    }
    let endless = json!({
        "openapi": "3.0.0",
        "paths": {
            "/a": {"$ref": "#/paths/~1a"},
            "/b": {"post": {"requestBody": {"required": true, "content": {"application/json":
                {"schema": {"$ref": "#/components/schemas/Tree"}}}}}},
            "no-slash": {"get": {}},
            "/c": {"get": {"parameters": [{"$ref": "http://elsewhere/x"}, 5, null]}},
            "/d": 5,
        },
        "components": {"schemas": {"Tree": {"type": "object", "required": ["left", "right"],
            "properties": {"left": {"$ref": "#/components/schemas/Tree"},
                           "right": {"$ref": "#/components/schemas/Tree"}}}}},
    });
    let description = description(&endless);
    assert_eq!(description.skipped.len(), 1);
    assert!(
        operation(&description, "POST /b")
            .fill(&Value::Null)
            .is_err()
    );
    let _ = operation(&description, "GET /c").fill(&Value::Null);
}

#[test]
fn a_description_in_yaml() {
    let text = "# As written by hand.
openapi: 3.0.3
servers:
  - url: /v2
paths:
  /items/{id}:
    get:
      parameters:
        - {name: id, in: path, required: true, example: 7}
      responses:
        200: {description: found}
";
    let description = Description::parse(text.as_bytes()).expect("a description");
    let operation = &description.operations[0];
    assert_eq!(operation.path, "/v2/items/{id}");
    assert_eq!(operation.parameters[0].value.example, Some(json!(7)));
    let error = Description::parse(b"a: [").err().expect("no YAML");
    assert!(format!("{error:#}").contains("neither JSON nor YAML"));
    assert!(Description::parse(b"<html></html>").is_err());
}
