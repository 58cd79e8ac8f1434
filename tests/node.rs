//! JavaScript functions and lines at their true place and with their true
//! share, for every line of Node, on programs whose answer is known.
use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, ensure};
use tests::{
    folded::Stack,
    interpreted::{Recorded, function, location, output_of},
    measurement::measured,
    nodes::{self, Node},
    programs,
};

/// Largest error of a share, in points.
const SHARE_ERROR: f64 = 3.0;
/// Percent of the stacks with JavaScript that must be whole.
const COMPLETE: f64 = 98.0;

/// Each place that burns CPU time, and the functions from it outwards.
const CHAINS: &[&[&str]] = &[
    &["twoLines", "round", "main"],
    &["recursion", "round", "main"],
    &["(anonymous)", "fromBuiltin", "round", "main"],
    &["method", "round", "main"],
    &["closed", "round", "main"],
    &["Base", "Derived", "round", "main"],
    &["Derived", "round", "main"],
];

#[test]
fn shares_and_order_of_every_line() -> Result<()> {
    let mut wrong = Vec::new();
    for node in nodes::all()? {
        println!("--- Node {}", node.line);
        if let Err(error) = measured(|| check(&node, &[], &["8"])) {
            println!("{error:#}");
            wrong.push(format!("Node {}: {error:#}", node.line));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// A worker has a heap of its own, and a thread that V8 did not start with.
#[test]
fn worker_threads_of_every_line() -> Result<()> {
    let mut wrong = Vec::new();
    for node in nodes::all()? {
        println!("--- Node {}, a worker thread", node.line);
        if let Err(error) = measured(|| check(&node, &[], &["8", "worker"])) {
            println!("{error:#}");
            wrong.push(format!("Node {}: {error:#}", node.line));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// With each of V8's tiers alone: interpreted, baseline, and optimised early.
#[test]
fn every_tier() -> Result<()> {
    let mut wrong = Vec::new();
    for node in nodes::all()? {
        let optimised = match node.line {
            "18" | "20" => "--always-turbofan",
            _ => "--maglev",
        };
        let optimised = if node.line == "18" {
            "--always-opt"
        } else {
            optimised
        };
        for flags in [
            &["--no-opt", "--no-sparkplug"][..],
            &["--no-opt", "--always-sparkplug"],
            &[optimised],
        ] {
            println!("--- Node {} {}", node.line, flags.join(" "));
            if let Err(error) = measured(|| check(&node, flags, &["8"])) {
                println!("{error:#}");
                wrong.push(format!("Node {} {flags:?}: {error:#}", node.line));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Minified bundles in terms of their sources, by a source map beside the
/// script or in it; not when the bundle may be another than the one that runs.
#[test]
fn bundles_by_their_source_maps() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    for name in ["main.js", "main.js.map", "main.mjs"] {
        let text = fs::read(programs::source("bundled").join(name))?;
        fs::write(scratch.path().join(name), text)?;
    }
    for (node, name) in nodes::all()?
        .iter()
        .zip(["main.js", "main.mjs"].iter().cycle())
    {
        println!("--- Node {} {name}", node.line);
        let script = scratch.path().join(name);
        let target = node.start(&[], &script, &["60"])?;
        std::thread::sleep(Duration::from_millis(1500));
        let pid = target.pid().to_string();
        check_sources(&Recorded::of(&["--pid", &pid])?, scratch.path())?;
        // As a new build would.
        fs::File::options()
            .write(true)
            .open(&script)?
            .set_modified(SystemTime::now())?;
        let recorded = Recorded::of(&["--pid", &pid])?;
        let sources = recorded
            .folded
            .share(|stack| in_sources(stack, scratch.path()));
        ensure!(
            sources == 0.0,
            "{sources:.2} % by the map of another bundle"
        );
    }
    Ok(())
}

fn in_sources(stack: &Stack, directory: &Path) -> bool {
    let directory = directory.join("src");
    stack.frames.iter().any(|frame| {
        location(frame).is_some_and(|(file, _)| Path::new(file).starts_with(&directory))
    })
}

fn check_sources(recorded: &Recorded, directory: &Path) -> Result<()> {
    let totals = directory.join("src/totals.ts");
    let main = directory.join("src/main.ts");
    let expected = [
        ("main", &main, 16..=16),
        ("repeatedly", &main, 8..=9),
        ("total", &totals, 18..=18),
        ("addUp", &totals, 5..=9),
    ];
    let whole = recorded.folded.share(|stack| {
        let found: Vec<_> = stack
            .frames
            .iter()
            .filter_map(|frame| Some((function(frame), location(frame)?)))
            .filter(|(_, (file, _))| Path::new(file).starts_with(directory))
            .collect();
        found.len() == expected.len()
            && found.iter().zip(&expected).all(|(found, expected)| {
                let (name, (file, line)) = found;
                *name == expected.0 && Path::new(file) == expected.1 && expected.2.contains(line)
            })
    });
    println!("{whole:.2} % in terms of the sources");
    ensure!(
        whole > 95.0,
        "only {whole:.2} % are in terms of the sources:{}",
        recorded.folded.examples(|_| true)
    );
    Ok(())
}

fn check(node: &Node, flags: &[&str], arguments: &[&str]) -> Result<()> {
    let program = programs::source("shares.js");
    let mut target = node.start(flags, &program, arguments)?;
    std::thread::sleep(Duration::from_millis(1500));
    let recorded = Recorded::of(&["--pid", &target.pid().to_string()])?;
    let text = output_of(&mut target, Duration::from_secs(20))?;
    let complete = recorded.complete("V8 ")?;
    println!("{complete:.2} % complete");
    check_shares(&recorded, &text)?;
    check_order(&recorded)?;
    ensure!(
        complete >= COMPLETE,
        "{complete:.2} % of the stacks are whole:{}",
        recorded.folded.examples(tests::interpreted::missing)
    );
    Ok(())
}

/// Functions of the program and their lines, innermost first, from the one
/// that asked for burning outwards.
fn places(stack: &Stack) -> Option<Vec<(&str, u32)>> {
    let mut frames = stack.frames.iter().rev().filter_map(|frame| {
        let (file, line) = location(frame)?;
        file.ends_with("shares.js").then(|| (function(frame), line))
    });
    frames.find(|(function, _)| *function == "burn")?;
    Some(frames.collect())
}

fn check_shares(recorded: &Recorded, text: &str) -> Result<()> {
    let said: serde_json::Value = serde_json::from_str(text)?;
    let spent = said["spent"].as_object().context("no places")?;
    let all: f64 = spent.values().filter_map(serde_json::Value::as_f64).sum();
    let stacks: Vec<_> = recorded
        .folded
        .stacks
        .iter()
        .filter_map(|stack| Some((places(stack)?, stack.weight)))
        .collect();
    let total: f64 = stacks.iter().map(|(_, weight)| weight).sum();
    ensure!(
        total > 0.9 * recorded.folded.total() && total > 1e9,
        "only {total} ns of {} were found in the places that burn:{}",
        recorded.folded.total(),
        recorded.folded.examples(|stack| places(stack).is_none())
    );
    let mut wrong = Vec::new();
    for (place, milliseconds) in spent {
        let expected = 100.0 * milliseconds.as_f64().unwrap_or_default() / all;
        let found: f64 = stacks
            .iter()
            .filter(|(places, _)| {
                places
                    .first()
                    .is_some_and(|(name, line)| *place == format!("{name}:{line}"))
            })
            .map(|(_, weight)| weight)
            .sum();
        let found = 100.0 * found / total;
        println!("{place:<16} {expected:>5.1} expected {found:>5.1} found");
        if (found - expected).abs() > SHARE_ERROR {
            wrong.push(place.as_str());
        }
    }
    ensure!(wrong.is_empty(), "wrong shares of {}", wrong.join(", "));
    Ok(())
}

fn check_order(recorded: &Recorded) -> Result<()> {
    let folded = &recorded.folded;
    for chain in CHAINS {
        let wrong = |stack: &Stack| {
            let Some(places) = places(stack) else {
                return false;
            };
            let mut names: Vec<&str> = places.iter().map(|(name, _)| *name).collect();
            names.dedup();
            names.first() == chain.first() && !names.starts_with(chain)
                // After the first await, the caller is the queue of promises.
                && !names.starts_with(&chain[..chain.len() - 1])
        };
        let share = folded.share(wrong);
        ensure!(
            share < 0.5,
            "{share:.2} % of the weight has not the order {chain:?}:{}",
            folded.examples(wrong)
        );
    }
    let depth = |stack: &Stack| {
        places(stack).is_some_and(|places| {
            let count = places
                .iter()
                .filter(|(name, _)| *name == "recursion")
                .count();
            count != 0 && count != 21
        })
    };
    ensure!(
        folded.share(depth) < 0.5,
        "wrong depth of recursion:{}",
        folded.examples(depth)
    );
    Ok(())
}
