//! Python functions and lines at their true place and with their true share,
//! for every version of CPython, on programs whose answer is known.
use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use tests::{
    folded::{Folded, Stack},
    interpreted::{Recorded, function, location, missing, output_of},
    measurement::measured,
    programs,
    pythons::{self, Interpreter},
    recording::Recording,
    steal::Steal,
    threads,
};

/// Largest error of a share, in points.
const SHARE_ERROR: f64 = 3.0;
/// Percent of the stacks with Python that must be whole.
const COMPLETE: f64 = 99.0;

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
        if let Err(error) = measured(|| check(&python)) {
            println!("{error:#}");
            wrong.push(format!("{}: {error:#}", python.name));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn check(python: &Interpreter) -> Result<()> {
    let program = programs::source("shares.py");
    let mut target = python.start(&program, &["7"])?;
    std::thread::sleep(Duration::from_millis(1000));
    let recorded = Recorded::of(&["--pid", &target.pid().to_string()])?;
    let text = output_of(&mut target, Duration::from_secs(20))?;
    let expected = Expected::parse(&text)?;
    let complete = recorded.complete(&python.runtime())?;
    println!("{complete:.2} % complete");
    check_shares(&recorded.folded, &expected)?;
    check_order(&recorded.folded, &program)?;
    ensure!(
        complete >= COMPLETE,
        "{complete:.2} % of the stacks are whole:{}",
        recorded.folded.examples(missing)
    );
    Ok(())
}

/// Children that fork without exec have whole stacks from their first sample,
/// with the names that their own memory holds.
#[test]
fn forked_workers() -> Result<()> {
    for python in pythons::all()? {
        measured(|| check_workers(&python))?;
    }
    Ok(())
}

fn check_workers(python: &Interpreter) -> Result<()> {
    let target = python.start(&programs::source("forks.py"), &["30"])?;
    std::thread::sleep(Duration::from_millis(1500));
    let mut recorded = Recorded::of(&["--containers", "all"])?;
    let whole = recorded.complete(&python.runtime())?;
    drop(target);
    let folded = &mut recorded.folded;
    folded.keep(|stack| stack.frames.iter().any(|frame| frame.contains("forks.py")));
    let named = |stack: &Stack| {
        let names: Vec<&str> = stack
            .frames
            .iter()
            .filter(|frame| location(frame).is_some())
            .map(|frame| function(frame))
            .collect();
        names.starts_with(&["<module>", "worker"])
    };
    let seconds = folded.total() / 1e9;
    let share = folded.share(named);
    println!(
        "CPython {}: {whole:.2} % complete, {share:.1} % of {seconds:.1} s in workers",
        python.name
    );
    ensure!(
        whole >= COMPLETE,
        "{}: {whole:.2} % complete: {}",
        python.name,
        recorded.report["quality"]["runtimes"]
    );
    ensure!(
        share > 80.0 && seconds > 1.0,
        "{}: only {share:.1} % of {seconds:.1} s is in workers:{}",
        python.name,
        folded.examples(|stack| !named(stack))
    );
    Ok(())
}

/// A program that holds Python in a library, with two interpreters.
#[test]
fn embedded_with_a_subinterpreter() -> Result<()> {
    let program = programs::build()?.join("embed");
    let mut checked = 0;
    let mut wrong = Vec::new();
    for python in pythons::all()? {
        let Some(library) = python.library() else {
            continue;
        };
        if let Err(error) = measured(|| check_embedded(&python, &library, &program)) {
            wrong.push(format!("{error:#}"));
        }
        checked += 1;
    }
    ensure!(checked > 0, "no Python here is a library");
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn check_embedded(python: &Interpreter, library: &Path, program: &Path) -> Result<()> {
    let target = tests::process::Process::spawn(
        std::process::Command::new(program)
            .arg(library)
            .arg("9")
            .env("PYTHONHOME", python.home().context("pyenv's have a home")?),
    )?;
    std::thread::sleep(Duration::from_millis(1000));
    let recorded = Recorded::of(&["--pid", &target.pid().to_string()])?;
    let whole = recorded.complete(&python.runtime())?;
    let share = |name: &str| {
        recorded.folded.share(|stack| {
            stack
                .frames
                .iter()
                .any(|frame| function(frame) == name && location(frame).is_some())
                && stack.has("run")
                && stack.has("main")
        })
    };
    let shares = [share("in_main"), share("in_subinterpreter")];
    println!(
        "CPython {}: {whole:.2} % complete, {shares:.1?}",
        python.name
    );
    ensure!(
        whole >= COMPLETE && shares.iter().all(|share| (share - 50.0).abs() <= 12.0),
        "{}: {whole:.2} % complete, {shares:?}:{}",
        python.name,
        recorded.folded.examples(missing)
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

/// The frames of a sleeping thread are those that py-spy finds in it, which reads
/// the interpreter's structures in the stopped process.
#[test]
fn sleeping_threads_as_py_spy_dumps_them() -> Result<()> {
    let mut compared = 0;
    for python in pythons::all()? {
        compared += usize::from(measured(|| check_sleeper(&python))?);
    }
    ensure!(compared >= 3, "py-spy read only {compared} interpreters");
    Ok(())
}

/// Outermost first: functions and lines.
const SLEEPER: [(&str, u32); 4] = [
    ("outer", 20),
    ("<lambda>", 20),
    ("middle", 13),
    ("innermost", 8),
];

/// Returns whether py-spy knows this interpreter.
fn check_sleeper(python: &Interpreter) -> Result<bool> {
    let program = programs::source("sleeps.py");
    let target = python.start(&program, &["30"])?;
    std::thread::sleep(Duration::from_millis(1000));
    let recorded = Recorded::of(&["--pid", &target.pid().to_string()])?;
    let here = |frame: &String| {
        let (file, line) = location(frame)?;
        let name = function(frame).rsplit('.').next().unwrap_or_default();
        file.ends_with("sleeps.py").then(|| (name.to_owned(), line))
    };
    let sleeps = |stack: &Stack| {
        stack
            .frames
            .last()
            .is_some_and(|frame| frame == "[blocked: sleep]")
            && !stack.has("[no stack recorded]")
    };
    let expected: Vec<(String, u32)> = SLEEPER
        .iter()
        .map(|&(name, line)| (name.to_owned(), line))
        .collect();
    let found = recorded
        .off_cpu
        .share(|stack| sleeps(stack) && stack.frames.iter().filter_map(here).eq(expected.clone()));
    let all = recorded.off_cpu.share(sleeps);
    println!(
        "CPython {}: {found:.2} of {all:.2} % sleeps in its chain",
        python.name
    );
    ensure!(
        found > 0.99 * all && all > 30.0,
        "{}: {found:.2} % of {all:.2} % that sleep are as built:{}",
        python.name,
        recorded.off_cpu.examples(sleeps)
    );
    let Some(dumped) = pythons::dump(target.pid(), "sleeps.py", "sleeper")? else {
        println!("  py-spy does not know it");
        return Ok(false);
    };
    ensure!(dumped == expected, "py-spy dumps {dumped:?}");
    Ok(true)
}

/// Waits for the GIL are as long as the kernel says that the thread was
/// blocked, which does nothing else than to compute and to want the GIL.
#[test]
fn waits_for_the_lock() -> Result<()> {
    for python in pythons::all()? {
        measured(|| check_waits(&python))?;
    }
    Ok(())
}

fn check_waits(python: &Interpreter) -> Result<()> {
    let mut target = python.start(&programs::source("lock.py"), &[])?;
    std::thread::sleep(Duration::from_millis(1000));
    let pid = target.pid();
    let recording = Recording::start(&["--frequency", "997", "--pid", &pid.to_string()])?;
    let before = Threads::of(pid)?;
    let steal = Steal::now();
    std::thread::sleep(Duration::from_secs(5));
    let (tid, blocked) = Threads::of(pid)?.busiest_since(&before)?;
    let stolen = steal.percent();
    let recorded = Recorded::read(&recording.end()?.1)?;
    target.signal(libc::SIGTERM);
    let said: serde_json::Value =
        serde_json::from_str(&output_of(&mut target, Duration::from_secs(20))?)?;
    let number = |name: &str| said[name].as_f64().unwrap_or_default();
    let held = 100.0 * number("held") / number("wall");
    let process = recorded.report["gil"]["processes"]
        .as_array()
        .and_then(|processes| processes.iter().find(|process| process["pid"] == pid))
        .with_context(|| format!("no GIL of {}: {}", python.name, recorded.report["notes"]))?;
    let found = process["threads"]
        .as_array()
        .context("no threads")?
        .iter()
        .find(|thread| thread["tid"] == tid)
        .and_then(|thread| thread["percent_of_wall_time"].as_f64())
        .with_context(|| format!("no waits of the busy thread {tid}: {process}"))?;
    println!(
        "CPython {}: {found:.1} % found, {:.1} to {:.1} % by schedstat, held {held:.1} %, \
         {stolen:.1} % stolen",
        python.name, blocked.0, blocked.1
    );
    // The stack of a thread that gave the lock up is whole too.
    let whole = recorded.waits.share(|stack| {
        !missing(stack)
            && stack
                .frames
                .last()
                .is_some_and(|frame| frame == "[gil wait]")
            && stack.frames.iter().any(|frame| {
                ["want", "hold"].contains(&function(frame))
                    && location(frame).is_some_and(|(file, _)| file.ends_with("lock.py"))
            })
    });
    ensure!(
        whole > 99.0,
        "{}: {whole:.2} % of the waits have whole stacks:{}",
        python.name,
        recorded.waits.examples(|_| true)
    );
    // The time of its CPU that was stolen is not in what schedstat tells.
    ensure!(
        blocked.0 - 3.0 - stolen < found && found < blocked.1 + 3.0 && held > 25.0,
        "{}: a thread waits {found:.1} % of the time instead of {blocked:.1?} %",
        python.name
    );
    Ok(())
}

/// What the scheduler says of threads: nanoseconds on a CPU and in the run queue.
struct Threads {
    when: std::time::Instant,
    by_tid: std::collections::BTreeMap<u32, (f64, f64)>,
}

impl Threads {
    fn of(pid: u32) -> Result<Self> {
        let when = std::time::Instant::now();
        let mut by_tid = std::collections::BTreeMap::new();
        for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let tid = name.parse()?;
            let [on_cpu, queued] = threads::schedstat(pid, tid)?;
            by_tid.insert(tid, (on_cpu as f64, queued as f64));
        }
        Ok(Self { when, by_tid })
    }

    /// The thread with the most CPU time, and the least and the most that it
    /// can have been blocked, in percent: after it is woken it is in the run
    /// queue, but its wait has not ended.
    fn busiest_since(&self, before: &Self) -> Result<(u32, (f64, f64))> {
        let wall = (self.when - before.when).as_nanos() as f64;
        let (tid, cpu, queued) = self
            .by_tid
            .iter()
            .filter_map(|(tid, now)| {
                let before = before.by_tid.get(tid)?;
                Some((*tid, now.0 - before.0, now.1 - before.1))
            })
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .context("no threads")?;
        let percent = |time: f64| 100.0 * (1.0 - time / wall);
        Ok((tid, (percent(cpu + queued), percent(cpu))))
    }
}
