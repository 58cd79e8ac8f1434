//! Event loops that stand still in a handler for a known part of the time, and
//! others that do not although a thread of their process waits.
use std::{collections::BTreeMap, io::Read as _, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    interpreted::output_of, measurement::measured, nodes, process::Process, programs, pythons,
    recording::Recording,
};

/// Largest error of a share, in points.
const SHARE_ERROR: f64 = 5.0;
const RECORDED: Duration = Duration::from_secs(3);

/// It imports what it needs first, and may have to compile that.
fn wait_until_ready(target: &mut Process) -> Result<()> {
    let output = target.child().stdout.as_mut().context("no output")?;
    let mut said = [0; "ready\n".len()];
    output.read_exact(&mut said)?;
    ensure!(&said == b"ready\n", "it says something else");
    Ok(())
}

/// The findings of blocked event loops while these run, by process.
fn found(targets: &mut [(String, Process)]) -> Result<BTreeMap<u64, String>> {
    for (_, target) in &mut *targets {
        wait_until_ready(target)?;
    }
    let pids: Vec<String> = targets
        .iter()
        .map(|(_, target)| target.pid().to_string())
        .collect();
    let mut options = vec!["--sources", "off-cpu"];
    for pid in &pids {
        options.extend(["--pid", pid]);
    }
    let recording = Recording::start(&options)?;
    for (_, target) in &*targets {
        target.signal(libc::SIGHUP);
    }
    std::thread::sleep(RECORDED);
    let (report, _saved) = recording.end()?;
    let findings = report["findings"].as_array().context("no findings")?;
    let processes = report["processes"].as_array().context("no processes")?;
    let pid_of = |id: &Value| {
        processes
            .iter()
            .find(|process| process["id"] == *id)
            .and_then(|process| process["pid"].as_u64())
    };
    findings
        .iter()
        .filter(|finding| finding["kind"] == "blocked_event_loop")
        .map(|finding| {
            println!("{finding}");
            let pid = pid_of(&finding["process_id"]).context("its process")?;
            let text = finding["text"].as_str().context("its text")?;
            Ok((pid, text.to_owned()))
        })
        .collect()
}

/// `… stands still for 41 % of the time …`
fn share(text: &str) -> Result<f64> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let at = words.iter().position(|&word| word == "%").context("no %")?;
    Ok(words[at - 1].parse()?)
}

/// What each says of itself, and what is found.
fn check(mut targets: Vec<(String, Process)>, place: impl Fn(&str, &[&str]) -> bool) -> Result<()> {
    let found = found(&mut targets)?;
    let mut wrong = Vec::new();
    for (name, target) in &mut targets {
        let pid = u64::from(target.pid());
        target.signal(libc::SIGTERM);
        let said = output_of(target, Duration::from_secs(20))?;
        let said: Vec<&str> = said.split_whitespace().collect();
        let expected: f64 = said.first().context("it says nothing")?.parse()?;
        match found.get(&pid) {
            None if expected < 1.0 => {}
            None => wrong.push(format!("{name}: nothing found, but {expected:.1} %")),
            Some(text) => {
                let share = share(text)?;
                println!("{name}: {share} %, {expected:.1} % by its own clock");
                if (share - expected).abs() > SHARE_ERROR || !place(text, &said) {
                    wrong.push(format!("{name}: {expected:.1} %, but {text}"));
                }
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Its function, and a line of it.
fn in_python(text: &str, said: &[&str]) -> bool {
    let [_, first, last] = said else { return false };
    let line = text
        .split_once("send_receipt (")
        .and_then(|(_, rest)| rest.split_once("event_loop.py:"))
        .and_then(|(_, rest)| rest.split_once(')'))
        .and_then(|(line, _)| line.parse::<u32>().ok());
    let bounds = first.parse().ok().zip(last.parse().ok());
    line.zip(bounds)
        .is_some_and(|(line, (first, last))| (first..=last).contains(&line))
}

#[test]
fn asyncio() -> Result<()> {
    let ways = ["sleep", "poll", "lock", "child", "asyncio", "executor"];
    let pythons = pythons::all()?;
    let program = programs::source("event_loop.py");
    // Each keeps its frames in another way.
    let (oldest, newest) = (pythons.first(), pythons.last());
    for python in oldest.into_iter().chain(newest) {
        println!("--- CPython {}", python.name);
        measured(|| {
            let targets: Result<Vec<(String, Process)>> = ways
                .iter()
                .map(|way| Ok(((*way).to_owned(), python.start(&program, &[way])?)))
                .collect();
            check(targets?, in_python)
        })?;
    }
    Ok(())
}

#[test]
fn node() -> Result<()> {
    let program = programs::source("event_loop.js");
    let nodes = nodes::all()?;
    let (oldest, newest) = (nodes.first(), nodes.last());
    for node in oldest.into_iter().chain(newest) {
        println!("--- Node {}", node.line);
        measured(|| {
            let targets: Result<Vec<(String, Process)>> = ["atomics", "child", "timers", "worker"]
                .iter()
                .map(|way| Ok(((*way).to_owned(), node.start(&[], &program, &[way])?)))
                .collect();
            check(targets?, |text, _| {
                text.contains("sendReceipt (") && text.contains("event_loop.js:")
            })
        })?;
    }
    Ok(())
}
