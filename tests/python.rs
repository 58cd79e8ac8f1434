//! Python functions and lines at their true place and with their true share,
//! for every version of CPython, on programs whose answer is known.
use std::{io::Read as _, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use tests::{
    folded::{Folded, Stack, plain},
    profiler, programs,
    pythons::{self, Interpreter},
};

/// Largest error of a share, in points.
const SHARE_ERROR: f64 = 3.0;
/// Percent of the stacks with Python that must be whole.
const COMPLETE: f64 = 99.0;
const SECONDS: &str = "5";

/// Each place that burns CPU time, and the frames from it outwards that must
/// be on the stack, in that order; a recursion once.
const CHAINS: &[&[&str]] = &[
    &["two_lines", "main", "<module>"],
    &["recursion", "main", "<module>"],
    &["generator", "consume", "main", "<module>"],
    &["consume", "main", "<module>"],
    &["innermost", "middle", "outer"],
    &["key", "call_back_from_sort", "main", "<module>"],
    &["compare", "call_back_from_c", "main", "<module>"],
    &["raises", "main", "<module>"],
    &["method", "main", "<module>"],
];

#[test]
fn shares_and_order_of_every_version() -> Result<()> {
    let mut wrong = Vec::new();
    for python in pythons::all()? {
        println!("--- CPython {}", python.name);
        if let Err(error) = check(&python) {
            println!("{error:#}");
            wrong.push(format!("{}: {error}", python.name));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn check(python: &Interpreter) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let program = programs::source("shares.py");
    let mut target = python.start(&program, &["8"])?;
    std::thread::sleep(Duration::from_millis(1000));
    let saved = scratch.path().join("x.profile");
    let pid = target.pid().to_string();
    let path = saved.to_str().context("a path in UTF-8")?;
    let output = profiler::run(&[
        "--mode",
        "system",
        "--pid",
        &pid,
        "--duration",
        SECONDS,
        "--frequency",
        "997",
        "--output",
        path,
    ])?;
    ensure!(
        output.status.success(),
        "the recording failed: {}",
        profiler::messages(&output)
    );
    target.wait(Duration::from_secs(20))?;
    let mut text = String::new();
    target
        .child()
        .stdout
        .take()
        .context("no output")?
        .read_to_string(&mut text)?;
    let expected = Expected::parse(&text)?;

    let report: serde_json::Value = serde_json::from_str(&profiler::render(&saved, "json")?)?;
    let complete = completeness(&report, &python.version)?;
    println!("{complete:.2} % complete");
    let folded = Folded::parse(&profiler::render(&saved, "folded")?)?;
    check_shares(&folded, &expected)?;
    check_order(&folded, &program)?;
    ensure!(
        complete >= COMPLETE,
        "{complete:.2} % of the stacks are whole:{}",
        folded.examples(|stack| stack.frames.iter().any(|frame| frame.contains("missing")))
    );
    Ok(())
}

/// What the program says that it burned, by `function:line`.
struct Expected {
    places: Vec<(String, u32, f64)>,
}

impl Expected {
    fn parse(text: &str) -> Result<Self> {
        let said: serde_json::Value = serde_json::from_str(text)?;
        let spent = said["spent"].as_object().context("no places")?;
        let total: f64 = spent.values().filter_map(serde_json::Value::as_f64).sum();
        let places = spent
            .iter()
            .map(|(place, seconds)| {
                let (function, line) = place.split_once(':').context("function:line")?;
                let share = 100.0 * seconds.as_f64().unwrap_or_default() / total;
                Ok((function.to_owned(), line.parse().unwrap_or(0), share))
            })
            .collect::<Result<_>>()?;
        Ok(Self { places })
    }
}

/// The innermost Python function of the program, without the one that burns.
fn place(stack: &Stack) -> Option<(&str, u32)> {
    stack.frames.iter().rev().find_map(|frame| {
        let (file, line) = location(frame)?;
        let function = function(frame);
        (file.ends_with("shares.py") && function != "burn").then_some((function, line))
    })
}

/// File and line of a frame of an interpreter.
fn location(frame: &str) -> Option<(&str, u32)> {
    let inside = frame.strip_suffix(')')?.rsplit_once(" (")?.1;
    let (file, line) = inside.rsplit_once(':')?;
    Some((file, line.parse().ok()?))
}

/// Without the class, which only newer versions know.
fn function(frame: &str) -> &str {
    let name = plain(frame);
    name.rsplit('.').next().unwrap_or(name)
}

fn burns(stack: &Stack) -> bool {
    let burn = stack
        .frames
        .iter()
        .any(|frame| function(frame) == "burn" && location(frame).is_some());
    burn || place(stack).is_some_and(|(function, _)| function == "big_integers")
}

fn check_shares(folded: &Folded, expected: &Expected) -> Result<()> {
    let total: f64 = folded
        .stacks
        .iter()
        .filter(|stack| burns(stack))
        .map(|stack| stack.weight)
        .sum();
    ensure!(
        total > 2e9,
        "only {total} ns were found in the places that burn"
    );
    let mut wrong = Vec::new();
    for (function, line, share) in &expected.places {
        let found: f64 = folded
            .stacks
            .iter()
            .filter(|stack| burns(stack))
            .filter(|stack| {
                place(stack)
                    .is_some_and(|(found, at)| found == function && (*line == 0 || at == *line))
            })
            .map(|stack| stack.weight)
            .sum();
        let found = 100.0 * found / total;
        println!("{function:<14} line {line:>3} {share:>5.1} expected {found:>5.1} found");
        if (found - share).abs() > SHARE_ERROR {
            wrong.push(format!("{function}:{line}"));
        }
    }
    ensure!(wrong.is_empty(), "wrong shares of {}", wrong.join(", "));
    Ok(())
}

fn check_order(folded: &Folded, program: &Path) -> Result<()> {
    let file = program
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    for chain in CHAINS {
        // Python frames of the program from the burning place outwards.
        let wrong = |stack: &Stack| {
            if place(stack).is_none_or(|(function, _)| function != chain[0]) || !burns(stack) {
                return false;
            }
            let mut names: Vec<&str> = stack
                .frames
                .iter()
                .rev()
                .filter(|frame| location(frame).is_some_and(|(path, _)| path.ends_with(&file)))
                .map(|frame| function(frame))
                .filter(|name| *name != "burn")
                .collect();
            names.dedup();
            !names.starts_with(chain)
        };
        let share = folded.share(wrong);
        ensure!(
            share < 0.2,
            "{share:.2} % of the weight has not the order {chain:?}:{}",
            folded.examples(wrong)
        );
    }
    // Python called from C, called from Python: the C frames are between.
    for (inner, outer) in [
        ("key", "call_back_from_sort"),
        ("compare", "call_back_from_c"),
    ] {
        let bare = |stack: &Stack| {
            stack
                .frames
                .windows(2)
                .any(|pair| function(&pair[0]) == outer && function(&pair[1]) == inner)
        };
        let share = folded.share(bare);
        ensure!(
            share < 0.1,
            "{share:.2} % of the weight has no C frames below {inner}:{}",
            folded.examples(bare)
        );
    }
    let depth = |stack: &Stack| {
        let count = stack
            .frames
            .iter()
            .filter(|frame| function(frame) == "recursion")
            .count();
        place(stack).is_some_and(|(function, _)| function == "recursion")
            && burns(stack)
            && count != 31
    };
    ensure!(
        folded.share(depth) < 0.2,
        "wrong depth of recursion:{}",
        folded.examples(depth)
    );
    let junk = |stack: &Stack| {
        stack.frames.iter().any(|frame| {
            location(frame).is_some_and(|(path, line)| {
                line == 0 || path.is_empty() || function(frame).is_empty()
            })
        })
    };
    ensure!(
        folded.share(junk) < 0.05,
        "frames of nothing:{}",
        folded.examples(junk)
    );
    Ok(())
}

fn completeness(report: &serde_json::Value, version: &str) -> Result<f64> {
    let runtimes = report["quality"]["runtimes"]
        .as_array()
        .context("no quality by runtime")?;
    let name = format!("CPython {version}");
    let runtime = runtimes
        .iter()
        .find(|runtime| {
            runtime["runtime"]
                .as_str()
                .is_some_and(|text| text.starts_with(&name))
        })
        .with_context(|| format!("the report knows no {name}: {runtimes:?}"))?;
    let number = |field: &str| runtime[field].as_f64().unwrap_or_default();
    ensure!(
        number("stacks") > 500.0,
        "only {} stacks of {name}",
        number("stacks")
    );
    Ok(100.0 * number("complete") / number("stacks"))
}
