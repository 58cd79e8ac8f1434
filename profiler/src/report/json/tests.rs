use serde_json::{Value, json};

use super::*;
use crate::views::sample;

fn render(recording: &Recording) -> Value {
    let mut out = Vec::new();
    write(recording, Selection::default(), &mut out).expect("it can be written");
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
    let edits: [(&str, &str, Value); 11] = [
        ("", "schema_version", json!(2)),
        ("", "functions", json!({})),
        ("", "surprise", json!(1)),
        ("/about", "duration_ns", json!("60 s")),
        ("/containers/0", "on_cpu_percent", json!(101)),
        ("/functions/0", "self_ns", json!(-1)),
        ("/flame/frames", "address", json!(["12"])),
        ("/containers/0", "kind", json!("lxc")),
        ("", "profile_type", json!("memory")),
        ("/python/functions/0", "percent", json!(101)),
        ("/gil/processes/0", "wait_ns", json!(-1)),
    ];
    for (place, key, value) in edits {
        let mut broken = good.clone();
        let object = broken.pointer_mut(place).and_then(Value::as_object_mut);
        object.expect("an object").insert(key.to_string(), value);
        assert!(!schema.is_valid(&broken), "{place}/{key}");
    }
    for key in [
        "about", "quality", "cost", "notes", "flame", "on_cpu", "python", "gil",
    ] {
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
    write(&sample::plain(), Selection::default(), &mut out).expect("it can be written");
    let text = String::from_utf8(out).expect("it is text");
    let line = text.lines().find(|line| line.contains(r#""tid": 4243"#));
    let line = line.expect("the thread has a line").trim();
    assert!(line.starts_with('{') && line.ends_with('}') || line.ends_with("},"));
    assert!(text.lines().count() < 240, "{text}");
}

fn sum(rows: &Value, field: &str) -> f64 {
    let rows = rows.as_array().expect("a table");
    rows.iter().filter_map(|row| row[field].as_f64()).sum()
}

#[test]
fn python_functions_are_parts_of_the_python_time() {
    for recording in [sample::plain(), sample::large(2_000, 20)] {
        let python = &render(&recording)["python"];
        let percents =
            sum(&python["functions"], "percent") + python["not_shown_percent"].as_f64().unwrap();
        assert!((percents - 100.0).abs() < 1e-6, "{percents}");
        let weights = sum(&python["functions"], "self_ns")
            + sum(&python["functions"], "native_ns")
            + python["not_shown_ns"].as_f64().unwrap();
        assert_eq!(Some(weights), python["total_ns"].as_f64());
        for row in python["functions"].as_array().expect("rows") {
            for side in ["callers", "callees"] {
                let whole =
                    sum(&row[side], "ns") + row[format!("{side}_not_shown_ns")].as_f64().unwrap();
                assert_eq!(Some(whole), row["cumulative_ns"].as_f64(), "{row}");
            }
        }
    }
    assert!(render(&sample::empty())["python"].is_null());
}

#[test]
fn waits_for_the_gil_by_process_thread_and_function() {
    let recording = sample::plain();
    let report = render(&recording);
    let gil = &report["gil"];
    assert_eq!(gil["wait_ns"], recording.total(Source::GilWait));
    let process = &gil["processes"][0];
    assert_eq!(process["held_percent"], 80.0);
    assert_eq!(process["measured_from_ns"], 2_000_000_000_u64);
    assert_eq!(process["wait_percent"], 100.0);
    assert_eq!(sum(&process["threads"], "wait_percent"), 100.0);
    let thread = &process["threads"][0];
    assert_eq!(thread["name"], "worker");
    // 4.5 s of the 58 s that were measured.
    assert_eq!(thread["percent_of_wall_time"], 7.76);
    assert_eq!(thread["functions"][0]["name"], "walk");
    assert!(thread["functions"][1]["name"].is_null());
    assert_eq!(sum(&thread["functions"], "wait_percent"), 100.0);
    let weights = &report["flame"]["samples"]["gil_wait"]["weight_ns"];
    let total: u64 = weights
        .as_array()
        .expect("a column")
        .iter()
        .filter_map(Value::as_u64)
        .sum();
    assert_eq!(total, recording.total(Source::GilWait));

    let mut recording = recording;
    recording.locks[0].measured_from_ns = None;
    let process = &render(&recording)["gil"]["processes"][0];
    assert!(process["measured_ns"].is_null());
    assert!(process["threads"][0]["percent_of_wall_time"].is_null());
}
