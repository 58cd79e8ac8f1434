use std::{collections::BTreeMap, io::Read, process::Command};

use flate2::read::GzDecoder;

use super::*;
use crate::views::sample;

fn render(recording: &Recording) -> Vec<u8> {
    let mut out = Vec::new();
    write(recording, Selection::default(), &mut out).expect("it can be written");
    out
}

fn decode(bytes: &[u8]) -> proto::Profile {
    let mut plain = Vec::new();
    GzDecoder::new(bytes)
        .read_to_end(&mut plain)
        .expect("it is compressed");
    proto::Profile::decode(plain.as_slice()).expect("it is a profile")
}

/// What pprof's own check wants, and more: every id leads somewhere.
fn check(profile: &proto::Profile) {
    let string = |id: i64| profile.string_table.get(id as usize).expect("a string");
    assert_eq!(profile.string_table[0], "");
    let functions: BTreeMap<_, _> = profile.function.iter().map(|it| (it.id, it)).collect();
    let locations: BTreeMap<_, _> = profile.location.iter().map(|it| (it.id, it)).collect();
    assert_eq!(functions.len(), profile.function.len());
    assert_eq!(locations.len(), profile.location.len());
    for function in &profile.function {
        assert!(function.id > 0 && !string(function.name).is_empty());
        string(function.filename);
    }
    for location in &profile.location {
        assert!(location.id > 0 && !location.line.is_empty());
        assert!(location.mapping_id as usize <= profile.mapping.len());
        for line in &location.line {
            assert!(functions.contains_key(&line.function_id));
        }
    }
    for sample in &profile.sample {
        assert_eq!(sample.value.len(), profile.sample_type.len());
        assert!(!sample.location_id.is_empty());
        for id in &sample.location_id {
            assert!(locations.contains_key(id));
        }
    }
    for &comment in &profile.comment {
        string(comment);
    }
}

#[test]
fn ids_lead_somewhere_and_values_add_up() {
    let mut recordings = vec![sample::empty(), sample::plain(), sample::large(300, 30)];
    recordings.extend((0..20).map(sample::nasty));
    for recording in &recordings {
        let profile = decode(&render(recording));
        check(&profile);
        let total: i64 = profile.sample.iter().map(|sample| sample.value[1]).sum();
        assert_eq!(total as u64, recording.total(Source::OnCpu));
    }
}

#[test]
fn it_opens_with_the_source_that_is_asked_for() {
    for (source, name) in [(Source::OnCpu, "cpu"), (Source::GilWait, "gil_wait")] {
        let selection = Selection {
            source,
            ..Selection::default()
        };
        let mut out = Vec::new();
        write(&sample::plain(), selection, &mut out).expect("it can be written");
        let profile = decode(&out);
        let text = |id: i64| profile.string_table[id as usize].as_str();
        assert_eq!(text(profile.default_sample_type), name);
        let period = profile.period_type.expect("the sampling clock's");
        assert_eq!(text(period.r#type), "cpu", "only that is sampled");
    }
}

#[test]
fn inlined_frames_are_lines_of_the_location_around_them() {
    let recording = sample::plain();
    let profile = decode(&render(&recording));
    let name = |line: &proto::Line| {
        let function = &profile.function[line.function_id as usize - 1];
        profile.string_table[function.name as usize].as_str()
    };
    let location = profile
        .location
        .iter()
        .find(|location| name(&location.line[0]) == "Py_INCREF");
    let location = location.expect("the inlined function is there");
    assert_eq!(location.line.len(), 2);
    assert_eq!(name(&location.line[1]), "_PyEval_EvalFrame");
    let mapping = &profile.mapping[location.mapping_id as usize - 1];
    let text = |id: i64| profile.string_table[id as usize].as_str();
    assert_eq!(text(mapping.filename), "/usr/bin/python3.11");
    assert_eq!(text(mapping.build_id), "bb".repeat(20));
    assert_eq!(text(profile.default_sample_type), "cpu");
    assert_eq!(profile.period, 10_101_010);
}

/// Output of `go tool pprof` for a recording.
fn pprof(recording: &Recording, options: &[&str]) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("x.pb.gz");
    std::fs::write(&path, render(recording)).expect("the file");
    let output = Command::new("go")
        .args(["tool", "pprof"])
        .args(options)
        .arg(&path)
        .env("PPROF_TMPDIR", directory.path())
        .output()
        .expect("golang-go is installed");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn go_tool_pprof_shows_the_same_totals_and_names() {
    let recording = sample::plain();
    let top = pprof(&recording, &["-top", "-unit=ns", "-nodefraction=0"]);
    let total = recording.total(Source::OnCpu);
    assert!(top.contains("Type: cpu"), "{top}");
    assert!(top.contains(&format!("of {total}ns total")), "{top}");
    let views = crate::views::Views::new(&recording, Source::OnCpu);
    for row in views.functions() {
        let function = &recording.functions[row.function as usize];
        let line = top
            .lines()
            .skip_while(|line| !line.contains("flat%"))
            .find(|line| line.contains(&function.name))
            .unwrap_or_else(|| panic!("{} is not in\n{top}", function.name));
        let ns = |weight: u64| match weight {
            0 => "0".to_string(),
            _ => format!("{weight}ns"),
        };
        let fields: Vec<_> = line.split_whitespace().collect();
        assert_eq!(fields[0], ns(row.own.weight), "{line}");
        assert_eq!(fields[3], ns(row.total.weight), "{line}");
    }
    assert!(top.contains(NO_STACK), "{top}");

    let raw = pprof(&recording, &["-raw"]);
    for expected in [
        "samples/count cpu/nanoseconds[dflt]",
        "container:[web]",
        "thread:[worker]",
        "pid:[4242]",
        "150 of 160 user stacks",
        "Duration: 1m0s",
    ] {
        assert!(raw.contains(expected), "{expected} is not in\n{raw}");
    }
    let tags = pprof(&recording, &["-tags"]);
    assert!(tags.contains("container") && tags.contains("web"), "{tags}");
}

#[test]
fn go_tool_pprof_opens_the_hostile_and_the_empty() {
    for recording in [sample::empty(), sample::nasty(1), sample::nasty(2)] {
        pprof(&recording, &["-raw"]);
        pprof(&recording, &["-top"]);
    }
}
