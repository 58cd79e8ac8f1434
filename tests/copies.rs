//! One program as many files, as containers of one image have it: it is
//! unwound by one table.
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tests::{
    folded::{Folded, Stack},
    kernel::Loaded,
    measurement::measured,
    process::Process,
    profiler,
};

const COPIES: usize = 8;
/// Percent of the stacks that must be whole.
const COMPLETE: f64 = 99.0;

#[test]
fn copies_of_a_program_share_an_unwind_table() -> Result<()> {
    measured(check_copies)
}

fn check_copies() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let copies = (0..COPIES)
        .map(|number| start_copy(&scratch.path().join(name(number))))
        .collect::<Result<Vec<_>>>()?;
    let path = scratch.path().join("x.folded");
    let of_one = tables(&copies[..1], &path)?;
    let of_all = tables(&copies, &path)?;
    println!("{of_one} tables for one file, {of_all} for {COPIES} of the same contents");
    assert_eq!(of_one, of_all, "tables for {COPIES} copies");

    for number in 0..COPIES {
        let name = name(number);
        let mut own = Folded::read(&path)?;
        own.keep(|stack| stack.process == name && stack.has_user_frames());
        assert!(!own.stacks.is_empty(), "no stacks of {name}");
        let whole = own.share(|stack| !stack.truncated());
        assert!(
            whole >= COMPLETE,
            "{whole:.2} % of the stacks of {name} are whole; not these:{}",
            own.examples(Stack::truncated)
        );
    }
    Ok(())
}

fn name(number: usize) -> String {
    format!("copy-{number}")
}

fn start_copy(path: &Path) -> Result<Process> {
    fs::copy("/bin/bash", path)?;
    Process::spawn(
        Command::new(path)
            .args(["-c", "while :; do :; done"])
            .stdin(Stdio::null()),
    )
}

/// Records processes, and counts the unwind tables that are in place by then.
fn tables(of: &[Process], into: &Path) -> Result<usize> {
    let before = Loaded::now()?;
    let pids: Vec<String> = of.iter().map(|process| process.pid().to_string()).collect();
    let mut profiler = profiler::start(&[
        "--mode",
        "system",
        "--duration",
        "8",
        "--frequency",
        "199",
        "--pid",
        &pids.join(","),
        "--output",
        into.to_str().context("a path in UTF-8")?,
    ])?;
    profiler::wait_for_programs(&before)?;
    // Past the warm-up.
    std::thread::sleep(Duration::from_secs(3));
    let count = Loaded::now()?.tables(&before)?;
    let status = profiler.wait(Duration::from_secs(60))?;
    ensure!(status.success(), "the profiler: {status}");
    Ok(count)
}
