use serde_json::{Value, json};

use super::*;
use crate::views::sample;

fn render(recording: &Recording) -> Value {
    let mut out = Vec::new();
    write(recording, &mut out).expect("it can be written");
    serde_json::from_slice(&out).expect("it is JSON")
}

fn schema() -> jsonschema::Validator {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../reports/schema.json");
    let text = std::fs::read_to_string(path).expect("the schema is there");
    let schema: Value = serde_json::from_str(&text).expect("the schema is JSON");
    jsonschema::draft202012::meta::validate(&schema).expect("the schema is a schema");
    jsonschema::draft202012::new(&schema).expect("the schema can be used")
}

#[test]
fn every_report_is_as_the_schema_says() {
    let schema = schema();
    let mut recordings = vec![sample::empty(), sample::plain(), sample::large(300, 20)];
    recordings.extend((0..30).map(sample::nasty));
    for recording in &recordings {
        let report = render(recording);
        let errors: Vec<_> = schema
            .iter_errors(&report)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(
            errors.is_empty(),
            "change reports/schema.json with the report: {errors:#?}"
        );
    }
}

#[test]
fn the_schema_refuses_broken_reports() {
    let schema = schema();
    let good = render(&sample::plain());
    assert!(schema.is_valid(&good));
    let edits: [(&str, &str, Value); 8] = [
        ("", "schema_version", json!(2)),
        ("", "functions", json!({})),
        ("", "surprise", json!(1)),
        ("/about", "duration_ns", json!("60 s")),
        ("/containers/0", "on_cpu_percent", json!(101)),
        ("/functions/0", "self_ns", json!(-1)),
        ("/flame/frames", "address", json!(["12"])),
        ("/containers/0", "kind", json!("lxc")),
    ];
    for (place, key, value) in edits {
        let mut broken = good.clone();
        let object = broken.pointer_mut(place).and_then(Value::as_object_mut);
        object.expect("an object").insert(key.to_string(), value);
        assert!(!schema.is_valid(&broken), "{place}/{key}");
    }
    for key in ["about", "quality", "cost", "notes", "flame", "on_cpu"] {
        let mut broken = good.clone();
        broken.as_object_mut().expect("an object").remove(key);
        assert!(!schema.is_valid(&broken), "{key}");
    }
}

#[test]
fn the_percentages_of_each_table_add_up() {
    for recording in [sample::plain(), sample::large(2_000, 20)] {
        let report = render(&recording);
        let sum = |table: &str, field: &str| -> f64 {
            let rows = report[table].as_array().expect("a table");
            rows.iter().filter_map(|row| row[field].as_f64()).sum()
        };
        for table in ["containers", "processes", "threads", "modules", "kinds"] {
            let sum = sum(table, "on_cpu_percent");
            assert!((sum - 100.0).abs() < 1e-6, "{table}: {sum}");
        }
        let shown = &report["functions_shown"];
        let sum = sum("functions", "self_percent")
            + shown["not_shown_self_percent"].as_f64().expect("a number")
            + shown["without_stack_self_percent"]
                .as_f64()
                .expect("a number");
        assert!((sum - 100.0).abs() < 1e-6, "functions: {sum}");
    }
}

#[test]
fn stacks_can_be_followed_from_the_report_alone() {
    let report = render(&sample::plain());
    let flame = &report["flame"];
    let at =
        |column: &Value, index: &Value| column[index.as_u64().expect("an id") as usize].clone();
    let mut names = Vec::new();
    let mut stack = flame["samples"]["on_cpu"]["stack"][0].clone();
    while !stack.is_null() {
        let frame = at(&flame["stacks"]["frame"], &stack);
        let function = at(&flame["frames"]["function"], &frame);
        names.push(at(&flame["functions"]["name"], &function));
        stack = at(&flame["stacks"]["caller"], &stack);
    }
    assert_eq!(names, ["walk", "walk", "walk", "<module>", "_start"]);
}

#[test]
fn a_row_of_a_table_is_a_line() {
    let mut out = Vec::new();
    write(&sample::plain(), &mut out).expect("it can be written");
    let text = String::from_utf8(out).expect("it is text");
    let line = text.lines().find(|line| line.contains(r#""tid": 4243"#));
    let line = line.expect("the thread has a line").trim();
    assert!(line.starts_with('{') && line.ends_with('}') || line.ends_with("},"));
    assert!(text.lines().count() < 150, "{text}");
}
