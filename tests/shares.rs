//! A program whose CPU time is split in known shares: the profiler must find
//! the same split, and agree with a profiler that unwinds by other means.
use std::{collections::BTreeMap, process::Command, time::Duration};

use anyhow::{Result, ensure};
use tests::{
    folded::{Folded, plain},
    kernel::Loaded,
    measurement::measured,
    perf,
    process::Process,
    profiler, programs,
};

const FREQUENCY: f64 = 499.0;
/// Largest error of a share, in points.
const SHARE_ERROR: f64 = 2.0;
/// Largest difference to perf, in points.
const PERF_DIFFERENCE: f64 = 3.0;
/// Percent of the stacks that must reach `main` or a thread's start.
const COMPLETE: f64 = 99.9;

#[test]
fn shares_are_found_and_agree_with_perf() -> Result<()> {
    measured(check_against_perf)
}

fn check_against_perf() -> Result<()> {
    let directory = programs::build()?;
    let scratch = tempfile::tempdir()?;
    let before = Loaded::now()?;
    let target = programs::shares(&directory)?;
    // The plugin is opened after a second, during which its part is burned
    // elsewhere: shares hold from there on.
    std::thread::sleep(Duration::from_millis(1500));

    let data = scratch.path().join("perf.data");
    // Both at once, on the same run, at rates that do not fall in step.
    let other = perf::start(target.pid(), 397, 10, &data)?;
    let folded = profiler::record_process(
        &target,
        &["--duration", "10", "--frequency", "499"],
        &scratch.path().join("x.folded"),
    )?;
    let other = perf::finish(other, &data)?;
    drop(target);

    check_shares(&folded)?;
    check_complete(&folded)?;
    compare(&folded, &other, &programs::functions(&directory)?)?;
    before.check_gone()
}

/// How many samples the weights, which are nanoseconds, stand for.
fn samples(folded: &Folded) -> f64 {
    folded.total() * FREQUENCY / 1e9
}

/// Standard deviation, in points, of a share that is found by sampling. With
/// the samples of ten seconds it is well below what is tolerated; on a machine
/// that gives the program little time it is not.
fn deviation(share: f64, samples: f64) -> f64 {
    (share * (100.0 - share) / samples).sqrt()
}

fn check_shares(folded: &Folded) -> Result<()> {
    assert!(
        folded.stacks.len() > 20,
        "only {} stacks",
        folded.stacks.len()
    );
    let samples = samples(folded);
    let names: Vec<&str> = programs::SHARES.iter().map(|(name, _)| *name).collect();
    let mut wrong = Vec::new();
    for (name, expected) in programs::SHARES {
        let found = folded.share(|stack| stack.innermost(&names) == Some(name));
        println!("{name:<16} {expected:>5.1} expected {found:>5.1} found");
        if (found - expected).abs() > SHARE_ERROR.max(3.5 * deviation(*expected, samples)) {
            wrong.push(*name);
        }
    }
    assert!(
        wrong.is_empty(),
        "wrong shares in {samples:.0} samples: {wrong:?}"
    );
    let others = folded.share(|stack| stack.process != "shares");
    assert_eq!(
        others, 0.0,
        "samples of other processes than the wanted one"
    );
    // A recursion's frames are all there, and a signal's stand on what it
    // interrupted.
    let depth = |stack: &tests::folded::Stack| {
        stack
            .frames
            .iter()
            .filter(|frame| plain(frame) == "recursion")
            .count()
    };
    let short = folded.share(|stack| stack.has("recursion") && depth(stack) != 41);
    assert!(
        short < 0.1,
        "{short:.2} % of the weight has another depth of recursion"
    );
    let lost = folded.share(|stack| stack.has("handler_work") && !stack.has("interrupted"));
    assert!(
        lost < 0.1,
        "{lost:.2} % of the weight lost what the signal interrupted"
    );
    // A tail call leaves no frame.
    let tail = folded.share(|stack| stack.has("tail_last") && stack.has("tail_first"));
    assert!(
        tail < 0.1,
        "{tail:.2} % of the weight shows a caller that had jumped"
    );
    Ok(())
}

fn check_complete(folded: &Folded) -> Result<()> {
    let complete = |stack: &tests::folded::Stack| {
        !stack.truncated()
            && (stack.has("main") || stack.has("thread_entry") || stack.has("_start"))
    };
    // What the kernel does for a thread that is not in user code yet or any
    // more has no user stack.
    let mut user = Folded::parse("")?;
    for stack in &folded.stacks {
        if stack.has_user_frames() {
            user.stacks.push(tests::folded::Stack {
                container: stack.container.clone(),
                process: stack.process.clone(),
                frames: stack.frames.clone(),
                weight: stack.weight,
            });
        }
    }
    let share = user.share(complete);
    assert!(
        share >= COMPLETE,
        "{share:.2} % of the stacks are complete; not these:{}",
        user.examples(|stack| !complete(stack))
    );
    Ok(())
}

/// Functions of the program itself, by the share of stacks that they are on.
fn inclusive<'a>(folded: &Folded, functions: &'a [String]) -> BTreeMap<&'a str, f64> {
    functions
        .iter()
        .map(|name| (name.as_str(), folded.share(|stack| stack.has(name))))
        .collect()
}

fn compare(ours: &Folded, perf: &Folded, functions: &[String]) -> Result<()> {
    assert!(
        perf.stacks.len() > 500,
        "perf has only {} stacks",
        perf.stacks.len()
    );
    let (count, perf_count) = (samples(ours), perf.total());
    let (ours, perf) = (inclusive(ours, functions), inclusive(perf, functions));
    let top = |shares: &BTreeMap<&str, f64>| {
        let mut names: Vec<String> = shares.keys().map(|name| (*name).to_owned()).collect();
        names.sort_by(|a, b| shares[b.as_str()].total_cmp(&shares[a.as_str()]));
        names.truncate(10);
        names
    };
    // Neighbours of nearly the same share may change places: what counts is
    // that neither's ten greatest are anything else to the other.
    let mut wrong = Vec::new();
    for name in top(&ours).into_iter().chain(top(&perf)) {
        let (a, b) = (ours[name.as_str()], perf[name.as_str()]);
        println!("{name:<16} {a:>5.1} ours {b:>5.1} perf");
        let chance = 3.5 * deviation(b, count).hypot(deviation(b, perf_count));
        if (a - b).abs() > PERF_DIFFERENCE.max(chance) {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "perf disagrees on {wrong:?}");
    Ok(())
}

#[test]
fn lines_are_right_where_there_is_debug_information() -> Result<()> {
    let directory = programs::build()?;
    let scratch = tempfile::tempdir()?;
    let target = programs::shares(&directory)?;
    let json = scratch.path().join("x.json");
    let output = profiler::run(&[
        "--mode",
        "system",
        "--pid",
        &target.pid().to_string(),
        "--duration",
        "3",
        "--frequency",
        "199",
        "--format",
        "json",
        "--output",
        json.to_str().expect("UTF-8"),
    ])?;
    assert!(output.status.success(), "{}", profiler::messages(&output));
    let text = std::fs::read_to_string(&json)?;
    let _: serde_json::Value = serde_json::from_str(&text)?;
    for file in ["shares.c", "library.c", "plugin.c"] {
        assert!(text.contains(file), "the report names no line of {file}");
    }
    Ok(())
}

/// The static-pie build: no loader, no shared library, its own C library.
#[test]
fn a_static_program_is_unwound() -> Result<()> {
    let directory = programs::build()?;
    let scratch = tempfile::tempdir()?;
    let target = Process::spawn(
        Command::new(directory.join("shares-static"))
            .arg("0")
            .stdout(std::process::Stdio::null()),
    )?;
    let folded = profiler::record_process(
        &target,
        &["--duration", "4", "--frequency", "499"],
        &scratch.path().join("x.folded"),
    )?;
    check_complete(&folded)
}

/// What follows the call that ends a signal's handler is another function, or
/// none.
#[test]
fn a_call_at_the_end_of_its_function_is_unwound() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let target = Process::spawn(&mut Command::new(programs::build()?.join("signals")))?;
    let folded = profiler::record_process(
        &target,
        &[
            "--duration",
            "3",
            "--frequency",
            "999",
            "--sources",
            "on-cpu",
        ],
        &scratch.path().join("x.folded"),
    )?;
    let in_return = folded.share(|stack| {
        let mut frames = stack.frames.iter();
        frames.any(|frame| frame.contains("sys_rt_sigreturn"))
    });
    ensure!(in_return > 2.0, "only {in_return:.1} % is there");
    let complete = folded.share(|stack| stack.has("main"));
    println!("{in_return:.1} % in the call, {complete:.2} % of all complete");
    ensure!(
        complete >= 99.0,
        "{complete:.2} % complete: {}",
        folded.examples(|stack| !stack.has("main"))
    );
    Ok(())
}
