//! Short-lived processes: 500 a second, none of which may leak or be taken for
//! another.
use std::{process::Command, time::Duration};

use anyhow::{Result, ensure};
use tests::{folded::Folded, kernel::Loaded, process::Process, profiler, programs};

const RATE: u32 = 500;
const SECONDS: u32 = 20;
/// What the profiler's memory may grow between the two looks, in MiB.
const GROWTH: f64 = 24.0;

#[test]
fn short_lived_processes_do_not_leak() -> Result<()> {
    let directory = programs::build()?;
    let scratch = tempfile::tempdir()?;
    let path = scratch.path().join("x.folded");
    let before = Loaded::now()?;
    let mut profiler = profiler::start(&[
        "--mode",
        "system",
        "--duration",
        &(SECONDS + 6).to_string(),
        "--frequency",
        "199",
        "--format",
        "folded",
        "--output",
        path.to_str().expect("UTF-8"),
    ])?;
    profiler::wait_for_programs(&before)?;
    let mut load = Process::spawn(
        Command::new(directory.join("brief"))
            .args([(RATE * SECONDS).to_string(), RATE.to_string()]),
    )?;
    // The first look comes when what is kept for every executable is there.
    std::thread::sleep(Duration::from_secs(8));
    let (memory, entries) = (
        profiler::resident(profiler.pid())?,
        Loaded::now()?.entries(&before)?,
    );
    std::thread::sleep(Duration::from_secs(10));
    let (later, more) = (
        profiler::resident(profiler.pid())?,
        Loaded::now()?.entries(&before)?,
    );
    println!("memory {memory:.1} MiB, 10 s and 5000 processes later {later:.1} MiB");
    let mut growing = Vec::new();
    for (name, later) in &more {
        let earlier = entries.get(name).copied().unwrap_or(0);
        println!("map {name}: {earlier} entries, later {later}");
        // A second's processes may be waiting for their removal.
        if *later > earlier + RATE as usize {
            growing.push(name.clone());
        }
    }
    ensure!(
        load.wait(Duration::from_secs(60))?.success(),
        "the load failed"
    );
    let status = profiler.wait(Duration::from_secs(60))?;
    ensure!(status.success(), "the profiler: {status}");
    assert!(
        later - memory < GROWTH,
        "it grew by {:.1} MiB",
        later - memory
    );
    assert!(growing.is_empty(), "maps that grow: {growing:?}");

    let folded = Folded::read(&path)?;
    check_names(&folded);
    before.check_gone()
}

/// Half of the processes have a name of their own, the others become another
/// program; a pid that is used again must not bring the old name along.
fn check_names(folded: &Folded) {
    let is_ours = |stack: &tests::folded::Stack| stack.has("brief_work");
    let found = folded.stacks.iter().filter(|stack| is_ours(stack)).count();
    assert!(found > 50, "only {found} stacks of short-lived processes");
    let wrong = |stack: &tests::folded::Stack| {
        is_ours(stack) && !(stack.process.starts_with("brief") || stack.process == "exe")
    };
    let share = folded.share(wrong);
    assert_eq!(share, 0.0, "wrong names:{}", folded.examples(wrong));
    let foreign = |stack: &tests::folded::Stack| {
        stack.process.starts_with("brief-")
            && stack.has_user_frames()
            && !stack.truncated()
            && !stack.has("main")
            && !stack.has("_start")
            && !stack
                .frames
                .iter()
                .any(|frame| frame.contains("ld-linux") || frame.contains("libc"))
    };
    assert_eq!(
        folded.share(foreign),
        0.0,
        "foreign stacks:{}",
        folded.examples(foreign)
    );
}
