//! How true the shares are that this profiler and those of the languages find,
//! on programs that know what each of their functions burned.
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{measure, nodes, py_spy, shell};

/// Of the recordings, and of the programs, which begin before and end after.
const SECONDS: &str = "6";
const PROGRAM_SECONDS: &str = "9";
const RATE: &str = "499";

/// Functions that burn for others.
const BURN: [&str; 3] = ["burn", "spin", "clock"];

/// Percent of the time in which each function burned, or asked for it.
type Shares = BTreeMap<String, f64>;

/// Prints the largest error of each, in points.
pub fn bench(profiler: &Path, work: &Path) -> Result<()> {
    println!(
        "\n{:<24} {:>14} {:>16}",
        "largest error of a share", "profiler", "beside it"
    );
    let py_spy = py_spy::fetch()?;
    for version in pyenv_versions() {
        let python = version.join("bin/python3");
        let name = version.file_name().unwrap_or_default().to_string_lossy();
        let script = shell::root().join("tests/programs/shares.py");
        let program = || {
            let mut command = Command::new(&python);
            command.arg(&script).arg(PROGRAM_SECONDS);
            command
        };
        let raw = work.join("accuracy.raw");
        let other = |pid: u32| {
            let mut command = Command::new(&py_spy);
            command
                .args([
                    "record",
                    "--rate",
                    RATE,
                    "--duration",
                    SECONDS,
                    "--format",
                    "raw",
                ])
                .args(["--pid", &pid.to_string(), "--output"])
                .arg(&raw);
            command
        };
        let ours = match recorded(&mut program(), profiler, work, "shares.py") {
            Ok(ours) => ours,
            Err(error) => {
                eprintln!("CPython {name} is left out: {error:#}");
                continue;
            }
        };
        let theirs = watched(&mut program(), other)
            .and_then(|said| Ok(said.error(&of_stacks(&fs::read_to_string(&raw)?, "shares.py"))));
        row(&format!("CPython {name}"), &ours, "py-spy", theirs);
    }
    nodes::fetch()?;
    for line in nodes::LINES {
        let node = nodes::binary(line)?;
        let script = shell::root().join("tests/programs/shares.js");
        let mut program = Command::new(&node);
        program.arg(&script).arg(PROGRAM_SECONDS);
        let ours = recorded(&mut program, profiler, work, "shares.js")?;
        let profile = work.join("accuracy.cpuprofile");
        let mut program = Command::new(&node);
        program
            .args([
                "--cpu-prof",
                "--cpu-prof-interval",
                "2000",
                "--cpu-prof-dir",
            ])
            .arg(work)
            .args(["--cpu-prof-name", "accuracy.cpuprofile"])
            .arg(&script)
            .arg(PROGRAM_SECONDS);
        let theirs = run(&mut program).and_then(|said| {
            let profile: Value = serde_json::from_str(&fs::read_to_string(&profile)?)?;
            Ok(said.error(&of_cpu_profile(&profile)))
        });
        row(&format!("Node {line}"), &ours, "--cpu-prof", theirs);
    }
    Ok(())
}

fn row(name: &str, ours: &Error, other: &str, theirs: Result<Error>) {
    let theirs = match theirs {
        Ok(error) => format!("{other} {:.1} ({})", error.points, error.function),
        Err(error) => {
            eprintln!("{name}: {other} is left out: {error:#}");
            format!("{other} –")
        }
    };
    println!("{name:<24} {:>7.1} points   {theirs}", ours.points);
}

struct Error {
    points: f64,
    function: String,
}

/// What a program said that it burned.
struct Said(Shares);

impl Said {
    fn parse(text: &str) -> Result<Self> {
        let said: Value = serde_json::from_str(text).context("what the program said")?;
        let mut shares = Shares::new();
        for (place, amount) in said["spent"].as_object().context("no places")? {
            let function = place
                .rsplit_once(':')
                .map_or(place.as_str(), |(name, _)| name);
            *shares.entry(function.to_owned()).or_default() += amount.as_f64().unwrap_or_default();
        }
        Ok(Self(in_percent(shares)))
    }

    fn error(&self, found: &Shares) -> Error {
        let found = in_percent(found.clone());
        self.0
            .iter()
            .map(|(function, expected)| Error {
                points: (expected - found.get(function).copied().unwrap_or(0.0)).abs(),
                function: function.clone(),
            })
            .max_by(|a, b| a.points.total_cmp(&b.points))
            .unwrap_or(Error {
                points: 0.0,
                function: String::new(),
            })
    }
}

fn in_percent(mut shares: Shares) -> Shares {
    let total: f64 = shares.values().sum();
    for share in shares.values_mut() {
        *share *= 100.0 / total;
    }
    shares
}

fn recorded(program: &mut Command, profiler: &Path, work: &Path, file: &str) -> Result<Error> {
    let folded = work.join("accuracy.folded");
    let said = watched(program, |pid| {
        let mut command = Command::new(profiler);
        command
            .args(["--mode", "system", "--quiet", "--duration", SECONDS])
            .args(["--frequency", RATE, "--pid", &pid.to_string(), "--output"])
            .arg(&folded);
        command
    })?;
    Ok(said.error(&of_stacks(&fs::read_to_string(&folded)?, file)))
}

/// Runs a program while another looks at it.
fn watched(program: &mut Command, watcher: impl FnOnce(u32) -> Command) -> Result<Said> {
    let child = start(program)?;
    sleep(Duration::from_millis(1500));
    let watched = shell::output(&mut watcher(child.id()));
    let said = finish(child);
    watched?;
    said
}

fn run(program: &mut Command) -> Result<Said> {
    finish(start(program)?)
}

fn start(program: &mut Command) -> Result<Child> {
    measure::die_with_parent(program);
    Ok(program
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?)
}

fn finish(child: Child) -> Result<Said> {
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "the program: {}", output.status);
    Said::parse(&String::from_utf8_lossy(&output.stdout))
}

/// Of folded stacks, by the innermost function of `file` that does not burn for
/// others: `name (path:line)`.
fn of_stacks(text: &str, file: &str) -> Shares {
    let mut shares = Shares::new();
    for (stack, weight) in text.lines().filter_map(|line| line.rsplit_once(' ')) {
        let mut functions = stack.split(';').rev().filter_map(|frame| {
            let (name, place) = frame.rsplit_once(" (")?;
            let (path, _) = place.strip_suffix(')')?.rsplit_once(':')?;
            path.ends_with(file)
                .then(|| name.rsplit('.').next().unwrap_or(name))
        });
        if let Some(function) = functions.find(|name| !BURN.contains(name)) {
            *shares.entry(function.to_owned()).or_default() +=
                weight.parse::<f64>().unwrap_or_default();
        }
    }
    shares
}

/// Of a `.cpuprofile`: a tree of functions, and the node and duration of each
/// sample.
fn of_cpu_profile(profile: &Value) -> Shares {
    let nodes = profile["nodes"].as_array().map_or(&[][..], Vec::as_slice);
    let id = |value: &Value| value.as_u64().unwrap_or_default();
    // Of other scripts and of the engine, none.
    let name = |node: &Value| {
        let frame = &node["callFrame"];
        let ours = frame["url"].as_str()?.ends_with("shares.js");
        let name = frame["functionName"].as_str()?;
        let name = if name.is_empty() { "(anonymous)" } else { name };
        ours.then(|| name.to_owned())
    };
    let mut callers = BTreeMap::new();
    let mut names = BTreeMap::new();
    for node in nodes {
        names.insert(id(&node["id"]), name(node));
        for child in node["children"].as_array().into_iter().flatten() {
            callers.insert(id(child), id(&node["id"]));
        }
    }
    let mut shares = Shares::new();
    let samples = profile["samples"].as_array().into_iter().flatten();
    let durations = profile["timeDeltas"].as_array().into_iter().flatten();
    for (sample, duration) in samples.zip(durations) {
        let chain = std::iter::successors(Some(id(sample)), |node| callers.get(node).copied());
        let mut functions = chain.filter_map(|node| names.get(&node)?.as_ref());
        if let Some(function) = functions.find(|name| !BURN.contains(&name.as_str())) {
            *shares.entry(function.clone()).or_default() += duration.as_f64().unwrap_or_default();
        }
    }
    shares
}

fn pyenv_versions() -> Vec<PathBuf> {
    let root = std::env::var_os("PYENV_ROOT").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".pyenv"),
        PathBuf::from,
    );
    let mut versions: Vec<_> = fs::read_dir(root.join("versions"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("bin/python3").exists() && is_supported(path))
        .collect();
    versions.sort();
    versions
}

/// Whether a directory named after a version is of one that can be walked.
fn is_supported(version: &Path) -> bool {
    let name = version.file_name().unwrap_or_default().to_string_lossy();
    let mut numbers = name.split('.').map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(3), Some(8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_of_the_function_that_asked() -> Result<()> {
        let said = Said::parse(r#"{"spent": {"a:1": 1.0, "a:2": 1.0, "b:9": 2.0}}"#)?;
        let text = "p;main (/x/s.py:1);a (/x/s.py:2);burn (/x/s.py:7);spin [k] 30\n\
                    p;main (/x/s.py:1);T.b (/x/s.py:3);burn (/x/s.py:7) 10\nother 99\n";
        let error = said.error(&of_stacks(text, "s.py"));
        assert_eq!(error.points, 25.0);
        let profile = serde_json::json!({
            "nodes": [
                {"id": 1, "callFrame": {"functionName": "a", "url": "/s/shares.js"}, "children": [2]},
                {"id": 2, "callFrame": {"functionName": "burn", "url": "/s/shares.js"}, "children": [3]},
                {"id": 3, "callFrame": {"functionName": "spin", "url": "/s/shares.js"}},
                {"id": 4, "callFrame": {"functionName": "b", "url": "/s/shares.js"}, "children": [5]},
                {"id": 5, "callFrame": {"functionName": "burn", "url": "/s/shares.js"}},
                {"id": 6, "callFrame": {"functionName": "(idle)", "url": ""}},
            ],
            "samples": [3, 5, 6], "timeDeltas": [10, 10, 500],
        });
        assert_eq!(said.error(&of_cpu_profile(&profile)).points, 0.0);
        Ok(())
    }
}
