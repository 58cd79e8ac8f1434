//! Names of remote hosts, against what the system's own resolver finds at the same
//! name server.
use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    kernel,
    process::{self, Process, until},
    profiler, programs, prompted,
};

/// As tests/programs/names.py has them: a host with a name, one without, and one
/// for which the name server does not answer.
const NAMED: &str = "198.51.100.7";
const UNKNOWN: &str = "198.51.100.8";
const SILENT: &str = "198.51.100.9";
const NAME_SERVER: &str = "127.77.0.1";
/// The hook that is put in place last, as the kernel cuts its name.
const LAST_HOOK: &str = "network_drop";

/// A command that finds no name server but ours: the file is another's in a mount
/// namespace of its own.
fn with_our_name_server(scratch: &Path, program: &Path) -> Result<Command> {
    let file = scratch.join("resolv.conf");
    fs::write(&file, format!("nameserver {NAME_SERVER}\n"))?;
    let script = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]);
    command.arg(file).arg(program).env("NO_COLOR", "1");
    Ok(command)
}

#[test]
fn names_of_hosts_on_request() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let script = programs::source("names.py");
    let mut talker = prompted::ready(Command::new("/usr/bin/python3").arg(script))?;
    let mut resolver = with_our_name_server(scratch.path(), Path::new("getent"))?;
    let expected = process::output(resolver.args(["hosts", NAMED]))?;
    let expected = expected.split_whitespace().nth(1).context("no name")?;

    let saved = scratch.path().join("x.profile");
    let pid = talker.pid().to_string();
    let mut recorder = with_our_name_server(scratch.path(), &profiler::binary())?;
    recorder.args(["--mode", "system", "--sources", "network", "--duration"]);
    recorder.args(["60", "--resolve-names", "--pid", &pid, "--output"]);
    let mut recording = Process::spawn(recorder.arg(&saved))?;
    ensure!(
        until(Duration::from_secs(30), || kernel::is_attached(LAST_HOOK)),
        "the hooks were not attached"
    );
    prompted::go_on(&mut talker)?;
    let mut said = String::new();
    let output = talker.child().stdout.take().context("its output")?;
    BufReader::new(output).read_line(&mut said)?;
    ensure!(said == "done\n", "it said {said:?}");
    recording.signal(libc::SIGINT);
    let status = recording.wait(Duration::from_secs(60))?;
    ensure!(status.success(), "the profiler ended with {status}");

    let report: Value = serde_json::from_str(&profiler::render(&saved, "json")?)?;
    let flow = |host: &str| {
        report["network"]["flows"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|flow| flow["remote"] == format!("{host}:5432"))
            .with_context(|| format!("no flow to {host}: {}", report["network"]["flows"]))
    };
    println!(
        "{NAMED} is {}, {expected} by getent",
        flow(NAMED)?["remote_name"]
    );
    ensure!(flow(NAMED)?["remote_name"] == expected, "{}", flow(NAMED)?);
    for host in [UNKNOWN, SILENT] {
        ensure!(flow(host)?["remote_name"].is_null(), "{}", flow(host)?);
    }
    let notes = report["notes"].to_string();
    ensure!(
        notes.contains("names of hosts: no answer for 1 of 3 addresses"),
        "{notes}"
    );
    let markdown = profiler::render(&saved, "markdown")?;
    ensure!(
        markdown.contains(&format!("{expected} ({NAMED}:5432)")),
        "{markdown}"
    );
    Ok(())
}
