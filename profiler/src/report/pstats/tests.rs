use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value as Json;

use super::*;
use crate::{
    profile::Source,
    views::{python_functions, sample},
};

/// Every Python 3 of this machine that pstats can be tried with.
fn pythons() -> Vec<PathBuf> {
    let versions = std::env::var_os("HOME")
        .map(|home| Path::new(&home).join(".pyenv/versions"))
        .and_then(|path| std::fs::read_dir(path).ok());
    let mut pythons: Vec<PathBuf> = versions
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin/python3")))
        .chain([PathBuf::from("/usr/bin/python3")])
        .filter(|path| path.exists())
        .collect();
    pythons.sort();
    pythons
}

/// Loads a file as a user does, sorts and prints it every way there is, and
/// says what is in it: totals, then `[file, line, name, cc, nc, tt, ct,
/// callers]` for each function.
const LOAD: &str = r#"
import io, json, pstats, sys
text = io.StringIO()
stats = pstats.Stats(sys.argv[1], stream=text)
for order in ("time", "cumulative", "calls", "pcalls", "name", "filename", "line", "nfl", "stdname"):
    stats.sort_stats(order)
    stats.print_stats()
stats.print_callers()
stats.print_callees()
pstats.Stats(sys.argv[1], stream=text).add(sys.argv[1])
stats.sort_stats("cumulative")
rows = [
    [*key, *row[:4], [[*caller, *times] for caller, times in row[4].items()]]
    for key, row in stats.stats.items()
]
out = {"total_tt": stats.total_tt, "total_calls": stats.total_calls, "rows": rows, "text": text.getvalue()}
print(json.dumps(out))
"#;

fn load(python: &Path, bytes: &[u8]) -> Json {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(bytes).expect("it was written");
    let output = Command::new(python)
        .arg("-c")
        .arg(LOAD)
        .arg(file.path())
        .env("PYTHONIOENCODING", "utf-8")
        .stdin(Stdio::null())
        .output()
        .expect("it starts");
    assert!(
        output.status.success(),
        "{}: {}",
        python.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn render(recording: &Recording, source: Source) -> Vec<u8> {
    let selection = Selection {
        source,
        ..Selection::default()
    };
    let mut out = Vec::new();
    write(recording, selection, &mut out).expect("it can be written");
    out
}

fn row<'j>(loaded: &'j Json, name: &str) -> &'j Json {
    let rows = loaded["rows"].as_array().expect("rows");
    let row = rows.iter().find(|row| row[2] == name);
    row.unwrap_or_else(|| panic!("{name} is not in {loaded}"))
}

fn same(seconds: &Json, amount: Amount) {
    let expected = amount.weight as f64 / 1e9;
    let seconds = seconds.as_f64().expect("a number");
    assert!(
        (seconds - expected).abs() < 1e-9 * expected.max(1.0),
        "{seconds} {expected}"
    );
}

#[test]
fn every_python_reads_what_the_views_say() {
    let recording = sample::plain();
    let bytes = render(&recording, Source::OnCpu);
    let table = python_functions(&recording, Source::OnCpu, 99).expect("there is Python");
    for python in pythons() {
        let loaded = load(&python, &bytes);
        same(&loaded["total_tt"], table.total);
        for expected in &table.functions.rows {
            let function = &recording.functions[expected.function as usize];
            let found = row(&loaded, &function.name);
            assert_eq!(found[0], function.file);
            assert_eq!(found[1], function.line);
            assert_eq!(found[3], expected.total.count);
            assert_eq!(found[4], expected.total.count);
            same(&found[5], expected.own);
            same(&found[6], expected.total);
        }
        let tick = |count: u64| count as f64 * sample::TICK as f64 / 1e9;
        // Recursive: itself is a caller, and nothing counts twice.
        let walk = row(&loaded, "walk");
        let callers = walk[7].as_array().expect("callers");
        let of = |name: &str| {
            let caller = callers.iter().find(|row| row[2] == name);
            let caller = caller.expect("it called walk");
            let number = |place: usize| caller[place].as_f64().expect("a number");
            [number(3), number(5), number(6)].map(|it| (it * 1e6).round() / 1e6)
        };
        let rounded = |numbers: [f64; 3]| numbers.map(|it| (it * 1e6).round() / 1e6);
        assert_eq!(of("<module>"), rounded([90.0, tick(40), tick(90)]));
        assert_eq!(of("walk"), rounded([50.0, tick(50), tick(50)]));
        let native = row(&loaded, "<Py_INCREF>");
        assert_eq!((&native[0], &native[1]), (&Json::from("~"), &Json::from(0)));
        assert_eq!(native[7].as_array().map(Vec::len), Some(1));
        assert_eq!(native[7][0][2], "<module>");
        let text = loaded["text"].as_str().expect("text");
        for expected in [
            "/app/app.py:10(walk)",
            "{Py_INCREF}",
            "{ksys_read_[k]}",
            "Ordered by: cumulative time",
        ] {
            assert!(text.contains(expected), "{expected} is not in {text}");
        }
    }
}

#[test]
fn any_recording_can_be_opened() {
    let Some(python) = pythons().into_iter().next_back() else {
        return;
    };
    let mut recordings = vec![sample::empty(), sample::large(300, 30)];
    recordings.extend((0..4).map(sample::nasty));
    for recording in &recordings {
        for source in Source::ALL {
            let loaded = load(&python, &render(recording, source));
            let table = python_functions(recording, source, usize::MAX);
            same(
                &loaded["total_tt"],
                table.map_or(Amount::default(), |table| table.total),
            );
        }
    }
}

#[test]
fn large_numbers_are_written_whole() {
    let numbers = [
        0,
        1,
        0x7fff,
        0x8000,
        i32::MAX as u64,
        1 << 31,
        1 << 45,
        u64::MAX,
    ];
    let mut bytes = Vec::new();
    Value::Tuple(numbers.map(Value::Integer).into())
        .write(&mut bytes)
        .expect("it can be written");
    for python in pythons() {
        let mut child = Command::new(&python)
            .args([
                "-c",
                "import marshal, sys; print(*marshal.load(sys.stdin.buffer))",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        child
            .stdin
            .take()
            .expect("piped")
            .write_all(&bytes)
            .expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        let expected = numbers.map(|number| number.to_string()).join(" ");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected);
    }
}
