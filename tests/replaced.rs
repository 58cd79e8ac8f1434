//! A library is unloaded, and another one loaded in its place: what the profiler
//! knew of the address is wrong from then on, and no walk fails that would say so.
use std::process::Command;

use anyhow::Result;
use tests::{folded::Stack, measurement::measured, profiler, programs};

/// Percent of the weight that may be of the moments in which the profiler does not
/// know yet, some 20 ms in each half second; of one that never knows it is half.
const LATE: f64 = 15.0;
/// Points by which either library may be off its half, for that and because one of
/// their 16 to 20 turns may be cut off.
const SHARE_ERROR: f64 = 12.0;

#[test]
fn a_library_in_the_place_of_another() -> Result<()> {
    measured(|| check(&[]))
}

/// Whoever is forked before the profiler knows has the library too.
#[test]
fn a_child_that_is_forked_at_once() -> Result<()> {
    measured(|| check(&["fork"]))
}

fn check(options: &[&str]) -> Result<()> {
    let directory = programs::build()?;
    let scratch = tempfile::tempdir()?;
    let target = programs::ready(
        Command::new(directory.join("replaced"))
            .arg(directory.join("libfirst.so"))
            .arg(directory.join("libsecond.so"))
            .args(options),
    )?;
    let into = scratch.path().join("x.folded");
    let recording = ["--duration", "10", "--frequency", "499"];
    let mut folded = if options.is_empty() {
        profiler::record_process(&target, &recording, &into)?
    } else {
        profiler::record(&[&["--mode", "system"], &recording[..]].concat(), &into)?
    };
    folded.keep(|stack| stack.has("burn"));
    for (name, other) in [
        ("inner_first", "inner_second"),
        ("inner_second", "inner_first"),
    ] {
        let share = folded.share(|stack| whole(stack, name) && !stack.has(other));
        println!("{name} {share:.1} %");
        assert!(
            (share - 50.0).abs() <= SHARE_ERROR,
            "{name} has {share:.1} %"
        );
    }
    let right = |stack: &Stack| whole(stack, "inner_first") || whole(stack, "inner_second");
    let late = folded.share(|stack| !right(stack));
    println!("{late:.2} % late");
    let examples = folded.examples(|stack| !right(stack));
    assert!(late <= LATE, "{late:.2} %:{examples}");
    Ok(())
}

/// What called it, one after the other.
fn whole(stack: &Stack, inner: &str) -> bool {
    stack.has("main") && stack.has("work") && stack.has(inner)
}
