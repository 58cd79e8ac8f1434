//! Memory that a program touches in known ways: page faults against getrusage's
//! and its construction, and a process that takes more than its cgroup has.
use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    cgroups,
    folded::Folded,
    measurement::measured,
    process::{self, Process},
    profiler, programs, prompted,
    recording::Recording,
};

/// Pages that the program touches: new ones, and ones of a file.
const NEW_PAGES: f64 = 20_000.0;
const FILE_PAGES: f64 = 1_500.0;
const PAGE: f64 = 4096.0;
/// Part of the bytes that must be at the function that touches them, in percent.
const STACKS: f64 = 95.0;
/// Bytes that the cgroup of the second test may have.
const LIMIT: u64 = 48 << 20;

fn row(report: &Value, pid: u32) -> Result<&Value> {
    report["memory"]["processes"]
        .as_array()
        .and_then(|rows| rows.iter().find(|row| row["pid"] == pid))
        .with_context(|| format!("nothing of process {pid}: {}", report["notes"]))
}

#[test]
fn page_faults_by_number_and_stack() -> Result<()> {
    let program = programs::build()?.join("memory");
    // On a disk, which /tmp need not be.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    measured(|| {
        let file = directory.path().join("file");
        let mut target = prompted::ready(Command::new(&program).arg(&file))?;
        let recording = Recording::start(&[])?;
        prompted::go_on(&mut target)?;
        let mut said = String::new();
        let output = target.child().stdout.as_mut().context("its output")?;
        BufReader::new(output).read_line(&mut said)?;
        let (report, saved) = recording.end()?;
        let row = row(&report, target.pid())?;
        let expected: Vec<u64> = said
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let &[minor, major] = expected.as_slice() else {
            anyhow::bail!("the program said {said:?}");
        };
        // What it does to say so is behind its own count.
        let found = [&row["minor_faults"], &row["major_faults"]].map(Value::as_u64);
        let [Some(found_minor), Some(found_major)] = found else {
            anyhow::bail!("{row}");
        };
        println!("{found_minor} and {found_major} faults, by getrusage {minor} and {major}");
        ensure!(found_major == major && major as f64 >= FILE_PAGES, "{row}");
        ensure!(
            (minor..minor + 20).contains(&found_minor) && minor as f64 >= NEW_PAGES,
            "{row}"
        );
        let text =
            profiler::render_with(&saved, &["--format", "folded", "--source", "page-fault"])?;
        let mut folded = Folded::parse(&text)?;
        folded.keep(|stack| stack.process == "memory");
        ensure!(
            folded.total() == (found_minor + found_major) as f64 * PAGE,
            "{} bytes in stacks",
            folded.total()
        );
        for (frame, function, pages) in [
            ("[page fault]", "touch_new", NEW_PAGES),
            ("[page fault: read]", "touch_file", FILE_PAGES),
        ] {
            let all = folded.share(|stack| stack.frames.iter().any(|it| it == frame));
            let there = folded
                .share(|stack| stack.frames.iter().any(|it| it == frame) && stack.has(function));
            println!(
                "{:.1} % of {pages} pages in {function}",
                100.0 * there / all
            );
            ensure!(
                100.0 * there / all > STACKS,
                "{there} of {all} % in {function}, others: {}",
                folded.examples(|stack| !stack.has(function))
            );
        }
        Ok(())
    })
}

/// A group of its own with little memory, in whichever version has the
/// controller.
struct Little(PathBuf);

impl Little {
    fn make() -> Result<Self> {
        let mounts = cgroups::mounts();
        let v1 = mounts.iter().find(|(_, kind, options)| {
            kind == "cgroup" && options.split(',').any(|word| word == "memory")
        });
        let name = format!("profiler-test-memory-{}", std::process::id());
        if let Some((mount, ..)) = v1 {
            let group = Self(mount.join(name));
            fs::create_dir(&group.0)?;
            fs::write(group.0.join("memory.limit_in_bytes"), LIMIT.to_string())?;
            return Ok(group);
        }
        let (mount, ..) = mounts
            .iter()
            .find(|(_, kind, _)| kind == "cgroup2")
            .context("no cgroups")?;
        // At the root, processes do not stand in the way.
        fs::write(mount.join("cgroup.subtree_control"), "+memory")?;
        let group = Self(mount.join(name));
        fs::create_dir(&group.0)?;
        fs::write(group.0.join("memory.max"), LIMIT.to_string())?;
        Ok(group)
    }

    fn add(&self, target: &Process) -> Result<()> {
        Ok(fs::write(
            self.0.join("cgroup.procs"),
            target.pid().to_string(),
        )?)
    }
}

impl Drop for Little {
    fn drop(&mut self) {
        // Busy until its last process is gone.
        process::until(Duration::from_secs(5), || fs::remove_dir(&self.0).is_ok());
    }
}

#[test]
fn killed_for_want_of_memory() -> Result<()> {
    let group = Little::make()?;
    let program = programs::build()?.join("memory");
    let mut target = prompted::ready(Command::new(program).arg("eat"))?;
    group.add(&target)?;
    let recording = Recording::start(&[])?;
    prompted::go_on(&mut target)?;
    let status = target.wait(Duration::from_secs(60))?;
    ensure!(
        status.signal() == Some(libc::SIGKILL),
        "it ended with {status}"
    );
    let (report, _) = recording.end()?;
    let kills = report["memory"]["oom_kills"].as_array().context("kills")?;
    let pid = target.pid();
    let kill = kills
        .iter()
        .find(|kill| kill["pid"] == pid)
        .with_context(|| format!("no kill of {pid}: {kills:?} {}", report["notes"]))?;
    ensure!(
        kill["name"] == "memory" && kill["caller_pid"] == pid,
        "{kill}"
    );
    let container = kill["container"].as_str().unwrap_or_default();
    ensure!(container.contains("profiler-test-memory"), "{kill}");
    // Before it is killed, it looks for memory itself.
    let row = row(&report, pid)?;
    ensure!(
        row["reclaims"].as_u64() > Some(0) && row["reclaim_ns"].as_u64() > Some(0),
        "{row}"
    );
    println!("{kill}; {row}");
    Ok(())
}
