use serde_json::{Value, json};

use super::*;
use crate::{
    compare::{
        input::{self, Round},
        measure::{Group, Key, Measured},
        metrics::{Better, Host, Metric, MetricsFile},
        quantity::Dimension,
        statistics::Observation,
        targets::{self, Aliases},
        verdict::Rules,
    },
    profile::{Recording, Source},
    views::sample,
};

fn schema(name: &str) -> jsonschema::Validator {
    let path = format!("{}/../reports/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("the schema is there");
    let schema: Value = serde_json::from_str(&text).expect("the schema is JSON");
    jsonschema::draft202012::meta::validate(&schema).expect("the schema is a schema");
    jsonschema::draft202012::new(&schema).expect("the schema can be used")
}

fn rounds(recordings: &[Recording]) -> Vec<Round> {
    let of = |recording| input::round("x.profile".as_ref(), recording, Source::OnCpu);
    recordings.iter().map(of).collect()
}

/// Rounds of one metric with a hostile name.
fn probed(values: &[f64]) -> Vec<Round> {
    let of = |(start, &value): (u64, &f64)| {
        let measured = Measured {
            observation: Observation {
                value,
                events: Some(5_000),
            },
            dimension: Dimension::Time,
            better: Better::Lower,
        };
        Round {
            name: "load.json".into(),
            start_unix_ms: Some(start),
            metrics: [(Key::new(Group::Probe, HOSTILE), measured)].into(),
            ..Round::default()
        }
    };
    (0..).zip(values).map(of).collect()
}

const HOSTILE: &str = "GET /a|b?<x>&\"`\n::error::owned\u{1b}[31m p99";

fn worse() -> Comparison {
    let baseline = [100e6, 101e6, 99e6, 100.5e6, 99.5e6];
    let candidate = baseline.map(|value| value * 1.3);
    Comparison::new(
        &probed(&baseline),
        &probed(&candidate),
        &[],
        Rules::default(),
    )
}

/// Of hostile recordings, ordinary ones, and such that differ.
fn comparisons() -> Vec<Comparison> {
    let mut all = vec![worse()];
    let plain = rounds(&[sample::plain(), sample::plain(), sample::plain()]);
    let empty = rounds(&[sample::empty()]);
    let large = rounds(&[sample::large(300, 20)]);
    for (baseline, candidate) in [(&plain, &plain), (&plain, &large), (&empty, &plain)] {
        all.push(Comparison::new(baseline, candidate, &[], Rules::default()));
    }
    for seed in 0..20 {
        let nasty = rounds(&[sample::nasty(seed), sample::nasty(seed + 1)]);
        let other = rounds(&[sample::nasty(seed + 2), sample::nasty(seed + 3)]);
        all.push(Comparison::new(&nasty, &other, &[], Rules::default()));
    }
    let mut checked = Comparison::of_targets(&plain, Rules::default());
    let file = std::env::temp_dir().join(format!("targets-{}.yaml", std::process::id()));
    std::fs::write(
        &file,
        "system:\n  cpu_usage: <70%\n  memory_usage: <80%\nx: fast\n",
    )
    .expect("it can be written");
    let targets = targets::read(&file);
    std::fs::remove_file(&file).expect("it is there");
    checked.targets = targets::check(&targets.expect("it is YAML"), &plain, &Aliases::new());
    checked.targets_file = "a,b:c.yaml".into();
    all.push(checked);
    all
}

fn rendered(comparison: &Comparison, format: Format) -> String {
    let mut out = Vec::new();
    write(comparison, format, &mut out).expect("it can be written");
    String::from_utf8(out).expect("it is text")
}

#[test]
fn every_comparison_is_as_the_schema_says() {
    let schema = schema("comparison.schema.json");
    for comparison in comparisons() {
        let report: Value =
            serde_json::from_str(&rendered(&comparison, Format::Json)).expect("it is JSON");
        let errors: Vec<_> = schema
            .iter_errors(&report)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
    let good: Value = serde_json::from_str(&rendered(&worse(), Format::Json)).expect("JSON");
    for (place, key, value) in [
        ("", "version", json!(2)),
        ("", "surprise", json!(1)),
        ("", "outcome", json!("great")),
        ("/metrics/0", "verdict", json!("pass")),
        ("/metrics/0", "change", json!("10 %")),
        ("/rules", "threshold", json!(-1)),
    ] {
        let mut broken = good.clone();
        let object = broken.pointer_mut(place).and_then(Value::as_object_mut);
        object.expect("an object").insert(key.to_owned(), value);
        assert!(!schema.is_valid(&broken), "{place}/{key}");
    }
}

#[test]
fn files_of_metrics_are_as_their_schema_says() {
    let schema = schema("metrics.schema.json");
    let mut file = MetricsFile::new(Host::current());
    file.metrics.push(Metric {
        name: "GET /users p99".into(),
        unit: "ms".into(),
        better: Better::Lower,
        values: vec![Some(1.5), None],
        events: vec![5_000, 0],
    });
    file.check().expect("it is sound");
    let good = serde_json::to_value(&file).expect("it is JSON");
    assert!(schema.is_valid(&good), "{good}");
    for (place, value) in [
        ("/format", json!("other")),
        ("/version", json!(2)),
        ("/metrics", json!([])),
        ("/metrics/0/better", json!("faster")),
        ("/metrics/0/values/0", json!(-1)),
        ("/metrics/0/values/0", json!("1.5")),
    ] {
        let mut broken = good.clone();
        *broken.pointer_mut(place).expect(place) = value;
        assert!(!schema.is_valid(&broken), "{place}");
        let read: Result<MetricsFile, _> = serde_json::from_value(broken);
        let refused = read.is_err() || read.is_ok_and(|file| file.check().is_err());
        // The format is looked at before the rest is read.
        assert!(refused || place == "/format", "{place}");
    }
}

#[test]
fn what_got_worse_is_in_every_format() {
    let comparison = worse();
    assert_eq!(comparison.outcome(), Outcome::Missed);
    let text = rendered(&comparison, Format::Text);
    assert!(text.contains("Worse") && text.contains("+30.0 %"), "{text}");
    assert!(
        text.ends_with("1 worse: regressed (exit code 1)\n"),
        "{text}"
    );
    let junit = rendered(&comparison, Format::Junit);
    assert!(junit.contains(r#"failures="1""#) && junit.contains("<failure message=\"worse: "));
    let github = rendered(&comparison, Format::Github);
    let lines: Vec<&str> = github.lines().collect();
    assert!(
        lines[0].starts_with("::error title=Worse::GET /a"),
        "{github}"
    );
    // A name cannot give a command of its own.
    assert!(
        lines
            .iter()
            .all(|line| line.starts_with("::") && !line.starts_with("::error::"))
    );
    let markdown = rendered(&comparison, Format::Markdown);
    assert!(
        markdown.contains("| **worse** | `GET /a\\|b?<x>&\"' ::error::owned"),
        "{markdown}"
    );
}

/// Every JUnit file is XML, whatever the names: tags close in order, and what is
/// between them has no bare `<` or `&`.
#[test]
fn hostile_names_break_no_format() {
    for comparison in comparisons() {
        for format in [
            Format::Text,
            Format::Markdown,
            Format::Junit,
            Format::Github,
        ] {
            let text = rendered(&comparison, format);
            let bad = |c: char| c.is_control() && c != '\n';
            assert!(!text.contains(bad), "{format:?}: {text:?}");
        }
        let junit = rendered(&comparison, Format::Junit);
        let mut open: Vec<&str> = Vec::new();
        for part in junit.split('<').skip(1) {
            let (tag, after) = part.split_once('>').expect("a tag ends");
            assert!(after.trim().is_empty(), "{after}");
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            for entity in tag.split('&').skip(1) {
                let known = ["amp;", "lt;", "gt;", "quot;"];
                assert!(known.iter().any(|name| entity.starts_with(name)), "{tag}");
            }
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name));
            } else if !tag.ends_with('/') && !tag.starts_with('?') {
                open.push(tag.split(' ').next().unwrap_or_default());
            }
        }
        assert!(open.is_empty());
    }
}

#[test]
fn vanished_and_new_stacks_are_told_and_drawn() {
    let baseline = rounds(&[sample::plain()]);
    let candidate = rounds(&[sample::large(300, 20)]);
    let comparison = Comparison::new(&baseline, &candidate, &[], Rules::default());
    assert!(!comparison.vanished.stacks.is_empty() && !comparison.appeared.stacks.is_empty());
    let folded = rendered(&comparison, Format::Folded);
    for line in folded.lines() {
        let words: Vec<&str> = line.rsplitn(3, ' ').collect();
        assert!(
            words[..2].iter().all(|word| word.parse::<u64>().is_ok()),
            "{line}"
        );
    }
    for (format, list) in [
        (Format::FlamegraphBaseline, &comparison.vanished),
        (Format::Flamegraph, &comparison.appeared),
    ] {
        let svg = rendered(&comparison, format);
        assert!(svg.starts_with("<?xml"), "{format:?}");
        assert!(svg.trim_end().ends_with("</svg>"), "{format:?}");
        let stack = &list.stacks[0].stack;
        let innermost = stack.rsplit(';').next().expect("a frame");
        let escaped = innermost
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        assert!(svg.contains(&escaped), "{format:?}: {escaped}");
    }
    let mut out = Vec::new();
    assert!(write(&worse(), Format::Flamegraph, &mut out).is_err());
}

#[test]
fn files_say_their_format() {
    for (name, format) in [
        ("a.json", Some(Format::Json)),
        ("results.XML", Some(Format::Junit)),
        ("x.svg", Some(Format::Flamegraph)),
        ("x.baseline.svg", Some(Format::FlamegraphBaseline)),
        ("x.html", None),
    ] {
        assert_eq!(Format::from_path(name.as_ref()), format, "{name}");
    }
}
