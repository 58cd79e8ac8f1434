//! The profiler on a host with real containers under load, on both cgroup
//! versions.
use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::{Result, ensure};
use serde_json::Value;
use tests::{
    cgroups::{self, Version},
    folded::Folded,
    interpreted::{location, missing},
    measurement::measured,
    process, profiler,
    stack::{C_PROGRAMS, JAVASCRIPT_PROGRAMS, PYTHON_PROGRAMS, Stack},
};

const HOLDER: &str = env!("CARGO_BIN_EXE_stack");
/// Often: some of the containers sleep and wake thousands of times a second, and
/// a few thousand samples of those scatter by more than what is tolerated.
const FREQUENCY: &str = "997";
/// Largest error of a container's share of the CPU time, in points.
const SHARE_ERROR: f64 = 2.0;
/// As above, of programs that are woken by what they send load to and then run
/// for less than 0.1 ms, on CPUs that others want: they go on right behind the
/// scheduler's tick, where a sampling tick that is late, as they are on virtual
/// machines, still finds the one before.
const LOAD_SHARE_ERROR: f64 = 3.0;
const LOAD_PROGRAMS: [&str; 4] = ["wrk", "pgbench", "redis-load", "web-load"];
/// Percent of the user stacks of C programs that must reach their root.
const COMPLETE: f64 = 99.0;

#[test]
fn containers_on_cgroup_v1() -> Result<()> {
    if Version::V1.mount().is_none() {
        println!("this host has no cgroup version 1");
        return Ok(());
    }
    record(Version::V1)
}

#[test]
fn containers_on_cgroup_v2() -> Result<()> {
    record(Version::V2)
}

fn record(version: Version) -> Result<()> {
    let stack = Stack::start(version, Path::new(HOLDER))?;
    // Past the filling of the database's tables.
    std::thread::sleep(Duration::from_secs(5));
    measured(|| check_all(&stack, version))?;
    check_one_container(&stack, tempfile::tempdir()?.path())
}

fn check_all(stack: &Stack, version: Version) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let saved = scratch.path().join("x.profile");
    let containers = stack.containers()?;
    let log = cgroups::Log::start(
        version,
        containers.iter().map(|(_, id)| id.clone()).collect(),
    );
    let output = process::any_output(process::die_with_parent(
        stack
            .command(&profiler::binary())
            .args([
                "--mode",
                "system",
                "--containers",
                "all",
                "--duration",
                "15",
            ])
            .args(["--frequency", FREQUENCY, "--output"])
            .arg(&saved),
    ))?;
    ensure!(
        output.status.success(),
        "{}\n{}",
        output.status,
        profiler::messages(&output)
    );
    let folded = Folded::parse(&profiler::render(&saved, "folded")?)?;
    let report: Value = serde_json::from_str(&profiler::render(&saved, "json")?)?;
    let used = log.during(&report)?;

    check_shares(&folded, &containers, &used);
    check_peers(&report);
    for name in C_PROGRAMS {
        check_complete(&folded, name);
    }
    check_interpreters(&folded);
    Ok(())
}

/// Against the kernel's own account of the same seconds. The engine's and the
/// profiler's own processes run outside the containers and do not count.
fn check_shares(folded: &Folded, containers: &[(String, String)], used: &[f64]) {
    let weights = folded.by_container();
    let weight = |name: &str| weights.get(name).copied().unwrap_or(0.0);
    let all_used: f64 = used.iter().sum();
    let all_weights: f64 = containers.iter().map(|(name, _)| weight(name)).sum();
    assert!(
        all_weights > 0.0,
        "no container has a name: {:?}",
        weights.keys()
    );
    let mut wrong = Vec::new();
    for ((name, _), used) in containers.iter().zip(used) {
        let expected = 100.0 * used / all_used;
        let found = 100.0 * weight(name) / all_weights;
        println!("{name:<12} {expected:>5.1} % by its cgroup {found:>5.1} % found");
        let error = match LOAD_PROGRAMS.contains(&name.as_str()) {
            true => LOAD_SHARE_ERROR,
            false => SHARE_ERROR,
        };
        if (found - expected).abs() > error {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "wrong shares: {wrong:?}");
}

/// Containers that talk with each other, the client first.
const TALKS: &[(&str, &str)] = &[
    ("redis-load", "redis"),
    ("pgbench", "postgres"),
    ("wrk", "nginx"),
    ("nginx", "fastapi"),
    ("web-load", "gunicorn"),
    ("web-load", "express"),
];
/// What one end sends the other receives, but for what is under way when the
/// counting begins and ends, in percent.
const UNDER_WAY: f64 = 1.0;

/// Both ends of a connection name each other, and agree.
fn check_peers(report: &Value) {
    let moved = |container: &str, peer: &str, way: &str| -> f64 {
        report["network"]["flows"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|flow| flow["container"] == container && flow["peer"]["container"] == peer)
            .filter_map(|flow| flow[way].as_f64())
            .sum()
    };
    let mut wrong = Vec::new();
    for (client, server) in TALKS {
        for (from, to) in [(client, server), (server, client)] {
            let (sent, received) = (
                moved(from, to, "sent_bytes"),
                moved(to, from, "received_bytes"),
            );
            println!("{from} sent {sent} bytes to {to}, which received {received}");
            let error = 100.0 * (sent - received).abs() / sent;
            if sent == 0.0 || error.is_nan() || error > UNDER_WAY {
                wrong.push(format!(
                    "{from} sent {sent} bytes, {to} received {received}"
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{}: {}",
        wrong.join("\n"),
        report["notes"]
    );
}

/// Reasons that end when a process is known and its tables are there.
const TOO_EARLY: [&str; 2] = [
    "[truncated: the process had just started and was not known yet]",
    "[truncated: unwind table still being built]",
];
/// Most of a container's weight that may come too early, in percent.
const EARLY: f64 = 5.0;

fn check_complete(folded: &Folded, container: &str) {
    let of = |wanted: &dyn Fn(&tests::folded::Stack) -> bool| -> f64 {
        folded
            .stacks
            .iter()
            .filter(|stack| {
                stack.container == container && stack.has_user_frames() && wanted(stack)
            })
            .map(|stack| stack.weight)
            .sum()
    };
    let all = of(&|_| true);
    assert!(all > 0.0, "no user stack of {container}");
    // Before its tables are built no stack can be walked. On two cores that
    // eight containers saturate, the builders get little of a CPU: how much
    // that costs is bounded apart from what the walker itself gets wrong.
    let early = of(&|stack| {
        stack
            .frames
            .iter()
            .any(|frame| TOO_EARLY.contains(&frame.as_str()))
    });
    let early_share = 100.0 * early / all;
    let share = 100.0 * of(&|stack| !stack.truncated()) / (all - early);
    println!("{container:<12} {share:>6.2} % complete, {early_share:.2} % came too early");
    assert!(
        early_share <= EARLY,
        "{early_share:.2} % of the stacks of {container} came before their tables:{:?}",
        reasons(folded, container)
    );
    assert!(
        share >= COMPLETE,
        "{share:.2} % of the stacks of {container} are complete; not these:{:?}{}",
        reasons(folded, container),
        folded.examples(|stack| stack.container == container && stack.truncated())
    );
}

/// Why stacks of a container are cut, and how much of its weight each reason has.
fn reasons(folded: &Folded, container: &str) -> Vec<(String, String)> {
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    let mut all = 0.0;
    for stack in folded
        .stacks
        .iter()
        .filter(|stack| stack.container == container)
    {
        all += stack.weight;
        if let Some(frame) = stack
            .frames
            .iter()
            .find(|frame| frame.starts_with("[truncated"))
        {
            *sums.entry(frame).or_default() += stack.weight;
        }
    }
    sums.into_iter()
        .map(|(reason, sum)| (reason.to_owned(), format!("{:.2} %", 100.0 * sum / all)))
        .collect()
}

/// Percent of the stacks with frames of an interpreter that must be whole.
const PYTHON_COMPLETE: f64 = 99.0;
const JAVASCRIPT_COMPLETE: f64 = 98.0;

/// Frames of Python and JavaScript in the containers that run it: on whole
/// stacks, without gaps.
fn check_interpreters(folded: &Folded) {
    for (programs, ending, least) in [
        (PYTHON_PROGRAMS, ".py:", PYTHON_COMPLETE),
        (JAVASCRIPT_PROGRAMS, ".js:", JAVASCRIPT_COMPLETE),
    ] {
        for container in programs {
            let interpreted = |stack: &tests::folded::Stack| {
                stack.container == *container
                    && stack
                        .frames
                        .iter()
                        .any(|frame| location(frame).is_some() || frame.contains("frames missing"))
            };
            let weight = |wanted: &dyn Fn(&tests::folded::Stack) -> bool| -> f64 {
                folded
                    .stacks
                    .iter()
                    .filter(|stack| interpreted(stack) && wanted(stack))
                    .map(|stack| stack.weight)
                    .sum()
            };
            let all = weight(&|_| true);
            let whole = 100.0 * weight(&|stack| !missing(stack)) / all;
            println!("{container:<12} {whole:>6.2} % of stacks with {ending} frames are whole");
            assert!(
                all > 0.0 && whole >= least,
                "{whole:.2} % of {all} ns with interpreted frames in {container} is whole:{}",
                folded.examples(|stack| interpreted(stack) && missing(stack))
            );
        }
    }
}

/// Narrowed to one container, there is nothing else.
fn check_one_container(stack: &Stack, scratch: &Path) -> Result<()> {
    let path = scratch.join("one.folded");
    let output = process::any_output(
        stack
            .command(&profiler::binary())
            .args([
                "--mode",
                "system",
                "--containers",
                "shares",
                "--duration",
                "3",
            ])
            .args(["--format", "folded", "--output"])
            .arg(&path),
    )?;
    ensure!(
        output.status.success(),
        "{}\n{}",
        output.status,
        profiler::messages(&output)
    );
    let folded = Folded::read(&path)?;
    let containers: Vec<&str> = folded.by_container().into_keys().collect();
    assert_eq!(containers, ["shares"]);
    Ok(())
}

/// Whatever happens to the process that started the stack, nothing stays.
#[test]
fn a_stack_leaves_nothing_behind() -> Result<()> {
    let version = Version::V2;
    let stack = Stack::start(version, Path::new(HOLDER))?;
    let ids: Vec<String> = stack.containers()?.into_iter().map(|(_, id)| id).collect();
    assert!(!ids.is_empty());
    drop(stack);
    for (mount, ..) in cgroups::mounts() {
        for id in &ids {
            assert!(
                !mount.join("docker").join(id).exists(),
                "the cgroup of {id} is left"
            );
        }
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    assert!(
        !mounts.contains("profiler-tests"),
        "a mount is left:\n{mounts}"
    );
    let run = tests::stack::run_directory(version);
    assert!(
        process::until(Duration::from_secs(5), || !run.exists()),
        "{} is left",
        run.display()
    );
    Ok(())
}
