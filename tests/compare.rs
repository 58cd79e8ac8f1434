//! Comparing builds: recordings of a program that does more work, against the
//! same program; targets; and how the profiler ends.
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{measurement::measured, process::Process, profiler, programs};

const ROUNDS: usize = 4;
/// Units of work of the two builds, beside 1000 that both do: a program that does
/// three times as much in one function, twice as much in all.
const UNITS: [&str; 2] = ["1000", "3000"];
/// Every so often: a unit takes 0.5 to 2 µs, so that a round has some 50 samples of
/// 1000, and a slow machine is done with 4000 in time.
const PERIOD_MS: &str = "20";

/// Runs `profiler compare`; returns its exit code, stdout and stderr.
fn compare(arguments: &[&str]) -> Result<(i32, String, String)> {
    let output = profiler::run(&[&["compare"], arguments].concat())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((
        output.status.code().context("it was killed")?,
        text(&output.stdout),
        text(&output.stderr),
    ))
}

/// As `compare` with `--format json`.
fn judged(arguments: &[&str]) -> Result<(i32, Value)> {
    let (code, out, messages) = compare(&[arguments, &["--format", "json"]].concat())?;
    let value = serde_json::from_str(&out).with_context(|| messages)?;
    Ok((code, value))
}

fn verdict<'v>(comparison: &'v Value, id: &str) -> Option<&'v Value> {
    let metrics = comparison["metrics"].as_array()?;
    metrics.iter().find(|metric| metric["id"] == id)
}

/// A recording of the program in `directory` while it does `units` of work again and again.
fn record(directory: &Path, units: &str, into: &Path, options: &[&str]) -> Result<i32> {
    let program = Process::spawn(
        Command::new(directory.join("work"))
            .args([units, PERIOD_MS, "60"])
            .stdout(Stdio::null()),
    )?;
    let pid = program.pid().to_string();
    let path = into.to_str().context("a path in UTF-8")?;
    let fixed = [
        "--mode",
        "system",
        "--duration",
        "2",
        "--frequency",
        "997",
        "--sources",
        "off-cpu",
        "--pid",
        &pid,
        "--output",
        path,
    ];
    let output = profiler::run(&[&fixed, options].concat())?;
    let code = output.status.code().context("it was killed")?;
    ensure!(code != 2, "{}", profiler::messages(&output));
    Ok(code)
}

fn list(files: &[PathBuf]) -> String {
    let names: Vec<String> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    names.join(",")
}

#[test]
fn more_work_is_found_and_the_same_is_not() -> Result<()> {
    measured(check_builds)
}

fn check_builds() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let directory = programs::build()?;
    let at = |name: String| scratch.path().join(name);
    let mut sides = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        for (side, units) in UNITS.iter().enumerate() {
            let file = at(format!("{side}-{round}.profile"));
            record(&directory, units, &file, &[])?;
            sides[side].push(file);
        }
    }
    let [baseline, candidate] = sides.each_ref().map(|side| list(side));

    // Names without the scope's container, which depends on where the test runs.
    let (code, found) = judged(&[&baseline, &candidate, "--only", "on_cpu*"])?;
    ensure!(code == 1, "exit code {code}");
    let of = |id: &str| verdict(&found, id).with_context(|| format!("no metric {id}"));
    ensure!(of("on_cpu")?["verdict"] == "worse", "{}", of("on_cpu")?);
    let changed = of("on_cpu/total/changed (work)")?;
    ensure!(changed["verdict"] == "worse", "{changed}");
    // Three times as much: on a busy machine units differ in CPU time.
    let change = changed["change"].as_f64().context("a change")?;
    ensure!((1.0..4.0).contains(&change), "{changed}");
    let (low, high) = (&changed["change_low"], &changed["change_high"]);
    println!(
        "three times the work: {:+.0} %, from {low} to {high}",
        change * 100.0
    );
    let steady = of("on_cpu/total/steady (work)")?;
    ensure!(
        steady["change"].as_f64().is_some_and(|it| it.abs() < 1.0),
        "{steady}"
    );

    // The other way round it is better.
    let (code, back) = judged(&[&candidate, &baseline, "--only", "on_cpu"])?;
    ensure!(
        verdict(&back, "on_cpu").is_some_and(|it| it["verdict"] == "better"),
        "{back}"
    );
    ensure!(code == 0, "exit code {code}");

    // Halves of one build.
    let halves = [list(&sides[0][..2]), list(&sides[0][2..])];
    // Whatever happened between them, two rounds and no turns are no evidence.
    let (code, same) = judged(&[&halves[0], &halves[1]])?;
    ensure!(code == 3, "{same}");

    // Reports in JSON are the recordings.
    let json: Vec<Vec<PathBuf>> = sides
        .iter()
        .map(|side| side.iter().map(|file| as_json(file)).collect::<Result<_>>())
        .collect::<Result<_>>()?;
    let options = ["--only", "on_cpu*"];
    let (code, again) = judged(&[&[&*list(&json[0]), &*list(&json[1])], &options[..]].concat())?;
    ensure!(code == 1 && again["metrics"] == found["metrics"], "{again}");

    // One round a side is no evidence, unless its noise is stated.
    let one = [&sides[0][0], &sides[1][0]].map(|file| file.display().to_string());
    let (code, _, _) = compare(&[&one[0], &one[1]])?;
    ensure!(code == 3, "exit code {code}");
    let (code, _, _) = compare(&[&one[0], &one[1], "--noise", "15", "--only", "on_cpu"])?;
    ensure!(code == 1, "exit code {code}");

    // A recording judged as it is made.
    let code = record(
        &directory,
        UNITS[1],
        &at("now.profile".into()),
        &["--baseline", &baseline],
    )?;
    ensure!(code == 1, "exit code {code}");

    formats(scratch.path(), &baseline, &candidate)
}

fn as_json(recording: &Path) -> Result<PathBuf> {
    let file = recording.with_extension("json");
    fs::write(&file, profiler::render(recording, "json")?)?;
    Ok(file)
}

/// All files of one run, and what GitHub reads.
fn formats(scratch: &Path, baseline: &str, candidate: &str) -> Result<()> {
    let names = [
        "r.json",
        "r.xml",
        "r.md",
        "r.svg",
        "r.baseline.svg",
        "r.folded",
    ];
    let files = names.map(|name| scratch.join(name));
    let summary = scratch.join("summary.md");
    fs::write(&summary, "before\n")?;
    let mut command = profiler::command();
    command
        .args(["compare", baseline, candidate, "--format", "github"])
        .env("GITHUB_STEP_SUMMARY", &summary);
    for file in &files {
        command.arg("--write").arg(file);
    }
    let output = command.output()?;
    ensure!(
        output.status.code() == Some(1),
        "{}",
        profiler::messages(&output)
    );
    let annotations = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        annotations.contains("::error title=Worse::"),
        "{annotations}"
    );
    let summary = fs::read_to_string(summary)?;
    ensure!(
        summary.starts_with("before\n### Performance: "),
        "{summary}"
    );
    // Another reader than ours says whether it is XML.
    let xml = Command::new("python3")
        .args([
            "-c",
            "import sys, xml.etree.ElementTree as e\n[e.parse(f) for f in sys.argv[1:]]",
        ])
        .args([&files[1], &files[3], &files[4]])
        .output()?;
    ensure!(
        xml.status.success(),
        "{}",
        String::from_utf8_lossy(&xml.stderr)
    );
    let folded = fs::read_to_string(&files[5])?;
    let line = folded.lines().find(|line| line.contains(";changed"));
    let numbers: Vec<f64> = line
        .context("the function that changed")?
        .rsplit(' ')
        .take(2)
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    ensure!(numbers[0] > numbers[1], "{line:?}");
    Ok(())
}

/// The file of the original script, and metrics as a probe writes them.
#[test]
fn targets_are_met_missed_or_unknown() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let at = |name: &str| scratch.path().join(name).display().to_string();
    fs::write(
        at("performance_targets.yaml"),
        "api_endpoints:\n  context_create:\n    p50_latency: 100ms\n    throughput: 1000 req/s\n\
         database:\n  cache_hit_rate: 90%\nsystem:\n  cpu_usage: <70%\n  container_startup: <30s\n",
    )?;
    let metric = |name: &str, unit: &str, value: f64| json!({"name": name, "unit": unit, "better": "lower", "values": [value]});
    let mut file = json!({
        "format": "profiler-metrics", "version": 1, "host": {"cpu_model": "one", "cpus": 8},
        "metrics": [
            metric("POST /api/context p50", "ms", 80.0),
            metric("POST /api/context throughput", "req/s", 900.0),
        ],
    });
    fs::write(at("load.json"), file.to_string())?;
    let (targets, load) = (at("performance_targets.yaml"), at("load.json"));
    let alias = "context_create=POST /api/context";
    let (code, found) = judged(&[&load, "--targets", &targets, "--alias", alias])?;
    ensure!(code == 1, "exit code {code}");
    let status: Vec<&str> = found["targets"]
        .as_array()
        .context("targets")?
        .iter()
        .filter_map(|target| target["status"].as_str())
        .collect();
    ensure!(
        status == ["pass", "fail", "unknown", "unknown", "unknown"],
        "{status:?}"
    );

    // Without what was missed, unknown is not a pass.
    fs::write(
        at("t.yaml"),
        "x:\n  p50_latency: 100ms\n  p99_latency: 1s\n",
    )?;
    let alias = "x=POST /api/context";
    let (code, _, _) = compare(&[&load, "--targets", &at("t.yaml"), "--alias", alias])?;
    ensure!(code == 3, "exit code {code}");
    fs::write(at("t.yaml"), "x:\n  p50_latency: 100ms\n")?;
    let (code, out, _) = compare(&[&load, "--targets", &at("t.yaml"), "--alias", alias])?;
    ensure!(code == 0, "exit code {code}: {out}");

    // Unlike hosts are refused, and what is no such file is told.
    file["host"]["cpu_model"] = json!("other");
    fs::write(at("other.json"), file.to_string())?;
    let (code, _, messages) = compare(&[&load, &at("other.json")])?;
    ensure!(
        code == 2 && messages.contains("CPU model is one and other"),
        "{messages}"
    );
    let (code, _, _) = compare(&[&load, &at("other.json"), "--allow-unlike-hosts"])?;
    ensure!(code == 3, "exit code {code}");
    for (text, says) in [
        ("{}", "neither a recording"),
        ("no", "is no JSON"),
        ("{\"generator\": \"profiler\"}", "missing field"),
        (
            "{\"format\": \"profiler-metrics\", \"version\": 9, \"host\": {}, \"metrics\": []}",
            "version 9",
        ),
    ] {
        fs::write(at("bad.json"), text)?;
        let (code, _, messages) = compare(&[&load, &at("bad.json")])?;
        ensure!(code == 2 && messages.contains(says), "{text}: {messages}");
        ensure!(messages.lines().count() == 1, "{messages}");
    }
    Ok(())
}
