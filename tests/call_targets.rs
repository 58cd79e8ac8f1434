//! What system calls were about, by a program that makes known calls: counts and
//! errors of each path and descriptor against strace's, peers against what the
//! program connects to.
use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    process::{self, Process},
    programs, prompted,
    recording::Recording,
};

/// Calls whose descriptor or path strace shows as we do.
const COMPARED: [&str; 10] = [
    "newfstatat",
    "openat",
    "pread64",
    "pwrite64",
    "write",
    "unlink",
    "execve",
    "access",
    "mount",
    "close",
];

/// What the loader looks at: the same file has several paths.
const LOADERS: [&str; 3] = ["libc.so.6", "ld.so.cache", "ld.so.preload"];

/// Calls and errors by call and file.
type Counts = BTreeMap<(String, String), (u64, u64)>;

fn ready(directory: &Path, names: Option<&str>) -> Result<Process> {
    let mut command = Command::new(programs::build()?.join("targets"));
    prompted::ready(command.arg(directory).args(names))
}

fn release(mut target: Process) -> Result<()> {
    prompted::go_on(&mut target)?;
    prompted::rest(&mut target)?;
    let status = target.wait(Duration::from_secs(60))?;
    ensure!(status.success(), "the program: {status}");
    Ok(())
}

/// What strace shows of the program from its line on.
fn by_strace(directory: &Path) -> Result<Counts> {
    let target = ready(directory, None)?;
    let pid = target.pid();
    let log = tempfile::NamedTempFile::new()?;
    let mut strace = Process::spawn(
        Command::new("strace")
            .args(["-f", "-y", "-e"])
            .arg(format!("trace={}", COMPARED.join(",")))
            .arg("-o")
            .arg(log.path())
            .args(["-p", &pid.to_string()])
            .stderr(Stdio::null()),
    )?;
    let traced = process::until(Duration::from_secs(10), || {
        fs::read_to_string(format!("/proc/{pid}/status"))
            .is_ok_and(|status| status.contains(&format!("TracerPid:\t{}", strace.pid())))
    });
    ensure!(traced, "strace did not attach");
    release(target)?;
    strace.wait(Duration::from_secs(60))?;
    let mut counts = Counts::new();
    let mut unfinished = BTreeMap::new();
    for line in fs::read_to_string(log.path())?.lines() {
        let Some((tid, line)) = line.split_once(' ') else {
            continue;
        };
        // PID call(…) = result, or the same in two lines.
        let line = line.trim_start();
        // A thread that executes a program has its process's id from then on, which
        // is told with the call's begin or, when that was told before, by itself.
        if let Some((begin, to)) = line.split_once(" <pid changed to ") {
            let to = to.trim_end_matches(" ...>");
            unfinished.insert(to.to_owned(), begin.to_owned());
            continue;
        }
        if let Some(of) = line.strip_prefix("+++ superseded by execve in pid ") {
            if let Some(begin) = unfinished.remove(of.trim_end_matches(" +++")) {
                unfinished.insert(tid.to_owned(), begin);
            }
            continue;
        }
        let whole = if let Some(begin) = line.strip_suffix(" <unfinished ...>") {
            unfinished.insert(tid.to_owned(), begin.to_owned());
            continue;
        } else if line.starts_with("<... ") {
            let begin = unfinished.remove(tid).context("a call resumes")?;
            let (_, end) = line.split_once(" resumed>").context("resumed")?;
            begin + end
        } else {
            line.to_owned()
        };
        let Some((call, arguments)) = whole.split_once('(') else {
            continue;
        };
        if !COMPARED.contains(&call) {
            continue;
        }
        let Some(object) = object(call, arguments).filter(|object| is_compared(object)) else {
            continue;
        };
        let failed = whole
            .rsplit_once(" = ")
            .is_some_and(|(_, result)| result.starts_with("-1 "));
        let sum = counts.entry((call.to_owned(), object)).or_default();
        sum.0 += 1;
        sum.1 += u64::from(failed);
    }
    Ok(counts)
}

fn is_compared(object: &str) -> bool {
    !LOADERS.iter().any(|name| object.ends_with(name))
}

/// `3</path>, …`, `"/path", …` or `AT_FDCWD</directory>, "path", …`; `None` for
/// a socket.
fn object(call: &str, arguments: &str) -> Option<String> {
    let quoted = || {
        let path = arguments.split('"').nth(1)?;
        (!path.is_empty()).then(|| path.to_owned())
    };
    let path = match call {
        "newfstatat" => quoted(),
        // Its first argument may be NULL.
        "mount" => arguments
            .split_once(", ")?
            .1
            .split('"')
            .nth(1)
            .map(str::to_owned),
        "openat" | "unlink" | "execve" | "access" => quoted(),
        _ => None,
    };
    if path.is_some() {
        return path;
    }
    let Some((_, rest)) = arguments.split_once('<') else {
        return Some(String::new());
    };
    let name = rest.split('>').next()?;
    let deleted = if rest[name.len()..].starts_with(">(deleted)") {
        " (deleted)"
    } else {
        ""
    };
    (!name.starts_with("socket:")).then(|| format!("{name}{deleted}"))
}

/// All targets of the processes with this name: the report has those with most
/// time only.
fn told(saved: &Path, process: &str) -> Result<Vec<Value>> {
    let mut gzip = Command::new("gzip")
        .arg("-dc")
        .stdin(fs::File::open(saved)?)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut text = String::new();
    gzip.stdout
        .take()
        .context("its output")?
        .read_to_string(&mut text)?;
    ensure!(gzip.wait()?.success(), "gzip failed");
    let recording: Value = serde_json::from_str(&text)?;
    let all = &recording["syscalls"];
    let name_of = |id: &Value| {
        let process = &recording["processes"][id.as_u64()? as usize];
        process["name"].as_str().map(str::to_owned)
    };
    let mut found = Vec::new();
    for target in all["targets"].as_array().context("targets")? {
        if name_of(&target["process"]).is_some_and(|name| name.starts_with(process)) {
            let mut target = target.clone();
            target["call"] =
                all["names"][target["call"].as_u64().context("call")? as usize].clone();
            found.push(target);
        }
    }
    Ok(found)
}

fn text(value: &Value) -> Result<String> {
    Ok(value.as_str().context("text")?.to_owned())
}

fn number(value: &Value) -> Result<u64> {
    value
        .as_u64()
        .with_context(|| format!("no number: {value}"))
}

#[test]
fn files_are_those_of_strace_and_peers_those_of_the_program() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let expected = by_strace(directory.path())?;
    for left in fs::read_dir(directory.path())? {
        fs::remove_file(left?.path())?;
    }
    let target = ready(directory.path(), None)?;
    let recording = Recording::start(&["--sources", "syscalls"])?;
    release(target)?;
    let (report, saved) = recording.end()?;
    ensure!(report["syscalls"]["targets_told"] == true, "not told");
    ensure!(
        report["syscalls"]["calls_without_target"] == 0,
        "{}",
        report["syscalls"]["calls_without_target"]
    );
    let told = told(&saved, "targets")?;
    let mut counts = Counts::new();
    for row in &told {
        let call = text(&row["call"])?;
        let name = text(&row["name"])?;
        if COMPARED.contains(&call.as_str()) && row["kind"] != "socket" && is_compared(&name) {
            let sum = counts.entry((call, name)).or_default();
            sum.0 += number(&row["calls"])?;
            sum.1 += number(&row["errors"])?;
        }
    }
    ensure!(
        counts == expected,
        "profiler: {counts:#?}\nstrace: {expected:#?}"
    );
    println!("{} calls and files, exactly those of strace", counts.len());
    let kept = directory.path().join("kept").display().to_string();
    let gone = directory.path().join("gone").display().to_string();
    let find = |call: &str, name: &str| {
        let rows = told
            .iter()
            .filter(|row| row["call"] == call && row["name"] == name);
        rows.collect::<Vec<_>>()
    };
    // By construction; another reading of strace's lines would be the same twice.
    let missing = find("newfstatat", "missing");
    ensure!(
        missing.len() == 1
            && missing[0]["errors"] == 700
            && missing[0]["error"] == "ENOENT"
            && missing[0]["partial"] == "relative",
        "{missing:?}"
    );
    ensure!(
        find("pwrite64", &format!("{gone} (deleted)")).len() == 1,
        "{told:#?}"
    );
    // The child's file at the same path is another.
    let written: Vec<u64> = find("write", &kept)
        .iter()
        .map(|row| number(&row["calls"]))
        .collect::<Result<_>>()?;
    ensure!(
        written.len() == 2 && written.contains(&120) && written.contains(&60),
        "{written:?}"
    );
    for (call, name, calls, errors) in [
        ("sendto", "TCP 127.0.0.1:47123", 90, 0),
        ("recvfrom", "TCP 127.0.0.1:47123 from 127.0.0.1", 130, 40),
        ("sendto", "UNIX stream socket", 90, 0),
        ("recvfrom", "UNIX stream socket", 130, 40),
        ("sendto", "UDP 127.0.0.1:47124", 90, 0),
        ("connect", "TCP 127.0.0.1:47123", 1, 0),
        ("connect", "TCP 127.0.0.1:47125", 1, 1),
        ("connect", "UNIX stream socket", 1, 0),
    ] {
        let rows = find(call, name);
        ensure!(
            rows.len() == 1 && rows[0]["calls"] == calls && rows[0]["errors"] == errors,
            "{call} {name}: {rows:?} of {told:#?}"
        );
    }
    Ok(())
}

#[test]
fn what_finds_no_room_is_counted() -> Result<()> {
    const NAMES: u64 = 40_000;
    let directory = tempfile::tempdir()?;
    let target = ready(directory.path(), Some(&NAMES.to_string()))?;
    let recording = Recording::start(&["--sources", "syscalls", "--trace", "access"])?;
    release(target)?;
    let (report, saved) = recording.end()?;
    let lost = number(&report["syscalls"]["calls_without_target"])?;
    let told = told(&saved, "targets")?;
    let missing: u64 = told
        .iter()
        .map(|row| number(&row["calls"]))
        .sum::<Result<_>>()?;
    // Others on this host may have called too.
    ensure!(
        lost > 0 && missing < NAMES && missing + lost >= NAMES,
        "{missing} told, {lost} lost"
    );
    ensure!(
        report["quality"]["call_targets_lost"] == lost,
        "{}",
        report["quality"]
    );
    Ok(())
}

#[test]
fn nobody_pays_who_did_not_ask() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let target = ready(directory.path(), None)?;
    let recording = Recording::start(&["--sources", "all"])?;
    release(target)?;
    let (report, _) = recording.end()?;
    ensure!(
        report["syscalls"]["targets_told"] == false
            && report["syscalls"]["targets"]
                .as_array()
                .is_some_and(Vec::is_empty),
        "{}",
        report["syscalls"]["targets"]
    );
    let programs = report["cost"]["programs"].as_array().context("programs")?;
    let ran = |row: &&Value| {
        row["name"]
            .as_str()
            .is_some_and(|name| name.starts_with("target_"))
            && row["run_count"] != 0
    };
    ensure!(!programs.iter().any(|row| ran(&row)), "{programs:?}");
    Ok(())
}
