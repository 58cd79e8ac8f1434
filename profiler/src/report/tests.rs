//! What holds for all formats together.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::views::sample;

/// The formats whose text this room makes.
const TEXTS: [Format; 6] = [
    Format::Json,
    Format::Markdown,
    Format::Flamegraph,
    Format::Folded,
    Format::Raw,
    Format::Speedscope,
];

fn render(recording: &Recording, format: Format) -> Vec<u8> {
    let mut out = Vec::new();
    write(recording, format, Selection::default(), &mut out).expect("it can be written");
    out
}

fn render_text(recording: &Recording, format: Format) -> String {
    String::from_utf8(render(recording, format)).expect("it is UTF-8")
}

fn recordings() -> Vec<Recording> {
    let mut all = vec![sample::empty(), sample::plain(), sample::large(200, 25)];
    all.extend((0..8).map(sample::nasty));
    all
}

fn folded(text: &str) -> BTreeMap<&str, u64> {
    let mut lines = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with("# ")) {
        let (stack, weight) = line.rsplit_once(' ').expect("a weight");
        let weight = weight.parse().expect("a number");
        assert_eq!(lines.insert(stack, weight), None, "each stack once");
    }
    lines
}

#[test]
fn all_formats_have_the_same_total() {
    for recording in recordings() {
        let total = recording.total(Source::OnCpu);
        let text = render_text(&recording, Format::Folded);
        assert_eq!(folded(&text).values().sum::<u64>(), total);

        let json: Value = serde_json::from_slice(&render(&recording, Format::Json)).expect("JSON");
        assert_eq!(json["on_cpu"]["total_ns"], total);
        let weights = &json["flame"]["samples"]["on_cpu"]["weight_ns"];
        let weights = weights.as_array().expect("a column");
        let sum: u64 = weights.iter().filter_map(Value::as_u64).sum();
        assert_eq!(sum, total);

        let file: Value =
            serde_json::from_slice(&render(&recording, Format::Speedscope)).expect("JSON");
        let profiles = file["profiles"].as_array().expect("profiles");
        assert_eq!(profiles[0]["endValue"], total);
        let rest: u64 = profiles[1..]
            .iter()
            .filter_map(|profile| profile["endValue"].as_u64())
            .sum();
        assert_eq!(rest, total, "processes add up to everything");

        let svg = render_text(&recording, Format::Flamegraph);
        let attribute = format!("total_samples=\"{total}\"");
        assert!(total == 0 || svg.contains(&attribute), "{attribute}");
    }
}

#[test]
fn folded_lines_are_as_designed() {
    let recording = sample::plain();
    let text = render_text(&recording, Format::Folded);
    let lines = folded(&text);
    let walked = "web;python3;_start;<module> (/app/app.py:30);walk (/app/app.py:12)";
    assert_eq!(lines[walked], 40 * sample::TICK, "two threads are one line");
    let kernel = "web;python3;_start;<module> (/app/app.py:30);ksys_read_[k]";
    assert_eq!(lines[kernel], 25 * sample::TICK);
    assert!(text.contains(";_PyEval_EvalFrame;Py_INCREF_[i] "));
    assert!(text.contains("web;python3;[truncated: table_not_ready];handler (/app/server.js:7) "));
    assert!(text.contains("host;bash;[no stack] "));
}

fn render_as(recording: &Recording, format: Format, selection: Selection) -> String {
    let mut out = Vec::new();
    write(recording, format, selection, &mut out).expect("it can be written");
    String::from_utf8(out).expect("it is UTF-8")
}

const WAITS: Selection = Selection {
    source: Source::GilWait,
    profile_type: ProfileType::Cprofile,
};
const PY_SPY: Selection = Selection {
    source: Source::OnCpu,
    profile_type: ProfileType::PySpy,
};

#[test]
fn waits_end_their_stacks_with_what_they_waited_for() {
    let recording = sample::plain();
    let total = recording.total(Source::GilWait);
    let text = render_as(&recording, Format::Folded, WAITS);
    let lines = folded(&text);
    assert_eq!(lines.values().sum::<u64>(), total);
    assert!(lines.keys().all(|stack| stack.ends_with(";[gil wait]")));
    let walked = "web;python3;_start;<module> (/app/app.py:30);walk (/app/app.py:12);[gil wait]";
    assert_eq!(lines[walked], 4_000_000_000);

    let svg = render_as(&recording, Format::Flamegraph, WAITS);
    check_xml(&svg);
    for expected in [
        "Waiting for the GIL on testhost",
        "[gil wait] (4,000,000 µs of waiting for the GIL, 72.73%)",
    ] {
        assert!(svg.contains(expected), "{expected}");
    }

    let text = render_as(&recording, Format::Speedscope, WAITS);
    let file: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(file["profiles"][0]["endValue"], total);
    for stack in file["profiles"][0]["samples"].as_array().expect("stacks") {
        let last = stack.as_array().and_then(|stack| stack.last());
        let frame = last.and_then(Value::as_u64).expect("a frame") as usize;
        assert_eq!(file["shared"]["frames"][frame]["name"], "[gil wait]");
    }
}

#[test]
fn without_waits_it_says_why() {
    let mut recording = sample::plain();
    recording
        .samples
        .retain(|sample| sample.source == Source::OnCpu);
    let says = |recording: &Recording, why: &str| {
        for format in TEXTS.into_iter().filter(|&format| format != Format::Json) {
            let text = render_as(recording, format, WAITS);
            assert!(text.contains(why), "{format}: {text}");
        }
    };
    says(&recording, "No waits for the GIL: no thread waited.");
    recording.locks[0].measured_from_ns = None;
    says(&recording, "they were not measured");
    recording.locks.clear();
    says(&recording, "no process with a GIL was seen");
}

#[test]
fn py_spy_shows_python_alone_in_every_format() {
    let recording = sample::plain();
    let text = render_as(&recording, Format::Folded, PY_SPY);
    let module = "web;python3;<module> (/app/app.py:30)";
    let walk = "walk (/app/app.py:12)";
    let deep = format!("{module};{walk};walk (/app/app.py:13);{walk}");
    assert_eq!(
        folded(&text),
        BTreeMap::from([
            (module, 60 * sample::TICK),
            (format!("{module};{walk}").as_str(), 40 * sample::TICK),
            (deep.as_str(), 50 * sample::TICK),
        ])
    );
    for format in TEXTS {
        let text = render_as(&recording, format, PY_SPY);
        // These two name more functions than there are in their stacks.
        if !matches!(format, Format::Json | Format::Speedscope) {
            assert!(!text.contains("ksys_read_[k]"), "{format}: {text}");
        }
        // There is no place for it in these.
        if !matches!(format, Format::Folded | Format::Raw) {
            assert!(text.contains("Only Python frames are shown"), "{format}");
        }
    }
    let json: Value =
        serde_json::from_str(&render_as(&recording, Format::Json, PY_SPY)).expect("JSON");
    assert_eq!(json["on_cpu"]["total_ns"], 150 * sample::TICK);
    assert_eq!(json["profile_type"], "py-spy");
    assert_eq!(json["gil"]["wait_ns"], recording.total(Source::GilWait));

    let mut native = recording.clone();
    for function in &mut native.functions {
        function.kind = crate::profile::FrameKind::Native;
    }
    native
        .samples
        .retain(|sample| sample.source == Source::OnCpu);
    let text = render_as(&native, Format::Folded, PY_SPY);
    assert!(text.starts_with("# No samples: none of those"), "{text}");
}

#[test]
fn a_saved_recording_keeps_everything_whatever_is_selected() {
    let recording = sample::plain();
    let mut out = Vec::new();
    write(&recording, Format::Profile, PY_SPY, &mut out).expect("it can be written");
    assert!(out == render(&recording, Format::Profile));
}

#[test]
fn hostile_names_break_no_line() {
    for recording in (0..30).map(sample::nasty) {
        let text = render_text(&recording, Format::Folded);
        let deepest = recording
            .samples
            .iter()
            .map(|sample| recording.frames_of(sample.stack).count())
            .max()
            .unwrap_or(0);
        for stack in folded(&text).into_keys() {
            let frames: Vec<_> = stack.split(';').collect();
            assert!((3..=deepest + 2).contains(&frames.len()), "{stack}");
            assert!(frames.iter().all(|frame| !frame.trim().is_empty()));
        }
        for format in TEXTS {
            let text = render_text(&recording, format);
            assert!(
                !text.chars().any(|c| c.is_control() && c != '\n'),
                "{format}"
            );
        }
    }
}

/// A parser of as much XML as there is in an SVG: enough to find what a
/// browser would refuse.
fn check_xml(text: &str) {
    // A `<script>` of a name would be one more.
    assert!(text.matches("<script").count() <= 1);
    let mut open = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        let (before, tag) = rest.split_at(start);
        for entity in before.split('&').skip(1) {
            let end = entity.find(';').expect("an entity ends");
            assert!(end < 8, "{entity}");
        }
        let skip = |tag: &str, end: &str| tag.find(end).expect("it ends") + end.len();
        let length = if tag.starts_with("<!--") {
            let end = skip(tag, "-->");
            assert!(!tag[4..end - 3].contains("--"), "{}", &tag[..end]);
            end
        } else if tag.starts_with("<![CDATA[") {
            skip(tag, "]]>")
        } else {
            let end = skip(tag, ">");
            let inside = &tag[1..end - 1];
            if let Some(name) = inside.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name));
            } else if !inside.starts_with(['?', '!']) && !inside.ends_with('/') {
                open.push(inside.split_whitespace().next().expect("a name"));
            }
            end
        };
        rest = &tag[length..];
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn flame_graphs_are_xml_that_asks_no_one() {
    for recording in recordings() {
        let svg = render_text(&recording, Format::Flamegraph);
        check_xml(&svg);
    }
    let plain = render_text(&sample::plain(), Format::Flamegraph);
    let empty = render_text(&sample::empty(), Format::Flamegraph);
    for svg in [plain, empty] {
        for request in ["href=\"http", "src=", "@import", "url(http", "fetch("] {
            assert!(!svg.contains(request), "{request}");
        }
    }
    let svg = render_text(&sample::plain(), Format::Flamegraph);
    for expected in [
        "CPU time on testhost, 2025-11-24 16:00:00 UTC",
        "60.0 s at 99 Hz (cpu-clock): 200 samples, 3 lost, 57 ticks missed; profiler --duration 60",
        "walk (/app/app.py:12) (909,091 µs of CPU time, 45.00%)",
        "150 of 160 user stacks",
    ] {
        assert!(svg.contains(expected), "{expected}");
    }
}

#[test]
fn a_saved_recording_renders_to_the_same_bytes() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("x.profile");
    for recording in recordings() {
        std::fs::write(&path, render(&recording, Format::Profile)).expect("it can be saved");
        let loaded = store::load(&path).expect("it can be loaded");
        for format in Format::ALL {
            let (before, after) = (render(&recording, format), render(&loaded, format));
            assert!(before == after, "{format}");
            assert!(before == render(&recording, format), "{format} twice");
        }
    }
}

#[test]
fn an_empty_recording_says_so() {
    let recording = sample::empty();
    for format in TEXTS {
        let text = render_text(&recording, format);
        assert!(
            text.contains("No samples: all CPUs were idle."),
            "{format}: {text}"
        );
    }
    let mut other = sample::empty();
    other.quality.not_wanted = 5;
    assert!(render_text(&other, Format::Markdown).contains("only tasks outside the scope ran"));
}

#[test]
fn quality_and_cost_are_next_to_the_results() {
    let recording = sample::plain();
    for format in [
        Format::Json,
        Format::Markdown,
        Format::Flamegraph,
        Format::Speedscope,
    ] {
        // Without what each format escapes.
        let text = render_text(&recording, format).replace("<!-- -->", "");
        for line in quality_lines(&recording)
            .iter()
            .chain(&cost_lines(&recording))
            .filter(|line| line.label != "Command")
        {
            let plain = line.text.replace('\'', "&apos;");
            let escaped = line.text.replace('_', "\\_");
            assert!(
                text.contains(&line.text) || text.contains(&plain) || text.contains(&escaped),
                "{format} lacks {line:?}"
            );
        }
        assert!(text.contains("node 10 is too old"), "{format}");
    }
}

#[test]
fn damaged_recordings_are_refused() {
    let mut out = Vec::new();
    let mut recording = sample::plain();
    recording.samples[0].stack = Some(9_999);
    let result = write(&recording, Format::Json, Selection::default(), &mut out);
    assert!(matches!(result, Err(ReportError::Damaged(_))));
    let mut recording = sample::plain();
    recording.samples[0].weight = u64::MAX;
    recording.samples[1].weight = u64::MAX;
    let result = write(
        &recording,
        Format::Flamegraph,
        Selection::default(),
        &mut out,
    );
    assert!(matches!(result, Err(ReportError::Damaged(_))));
    assert!(out.is_empty());
}

#[test]
fn a_reader_that_goes_away_is_a_broken_pipe() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for format in Format::ALL {
        match write(&sample::plain(), format, Selection::default(), &mut Closed) {
            Err(ReportError::Write(error)) => {
                assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "{format}");
            }
            other => panic!("{format}: {other:?}"),
        }
    }
}

/// `cargo test --release -p profiler report::tests::speed -- --ignored --nocapture`
#[test]
#[ignore = "measures; for a release build"]
fn speed() {
    let recording = sample::large(100_000, 30);
    println!(
        "{} samples, {} nodes",
        recording.samples.len(),
        recording.stacks.len()
    );
    for format in Format::ALL {
        let start = std::time::Instant::now();
        let bytes = render(&recording, format).len();
        println!(
            "{format:<11} {:>8.3} s {bytes:>12} bytes",
            start.elapsed().as_secs_f64()
        );
    }
}
