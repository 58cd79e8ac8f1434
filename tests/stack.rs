//! `stack up|down`: containers for a person to try the profiler on, and
//! `stack hold`, the process that holds them for a test.
use std::{
    env, fs,
    io::{BufRead, BufReader},
    os::unix::{fs::symlink, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use tests::{
    cgroups::Version,
    demo,
    holder::{self, Content},
    process,
    stack::{docker_host, run_directory},
};

/// Loads end by themselves: in time for a test, or for a look around.
const TEST: Duration = Duration::from_secs(300);
const TRY: Duration = Duration::from_secs(1800);
/// Where a user's engine listens, and where the profiler looks first.
const SOCKET: &str = "/var/run/docker.sock";

fn main() -> ExitCode {
    match command() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn command() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let version = match arguments.iter().position(|word| word == "--cgroup") {
        Some(at) => arguments
            .get(at + 1)
            .and_then(|name| Version::from_name(name))
            .context("--cgroup takes v1 or v2")?,
        None if Version::V1.mount().is_some() => Version::V1,
        None => Version::V2,
    };
    let has = |option: &str| arguments.iter().any(|word| word == option);
    let content = if has("--demo") {
        Content::Demo {
            fixed: has("--fixed"),
        }
    } else if has("--empty") {
        Content::Engine
    } else {
        Content::Programs
    };
    match arguments.first().map(String::as_str) {
        Some("hold") => {
            let detached = has("--detached");
            let load = if detached { TRY } else { TEST };
            holder::hold(version, detached, content, load)
        }
        Some("up") => up(version, content, &arguments[1..]),
        Some("down") => down(),
        _ => bail!("stack up|down [--demo [--fixed]] [--cgroup v1|v2]"),
    }
}

fn pid_file(version: Version) -> PathBuf {
    Path::new("/run").join(format!("profiler-tests-{}.pid", version.name()))
}

fn up(version: Version, content: Content, options: &[String]) -> Result<()> {
    ensure!(
        !pid_file(version).exists(),
        "it is up: cargo xtask stack down"
    );
    eprintln!("starting containers on cgroup {}", version.name());
    let mut holder = Command::new(env::current_exe()?)
        .args(["hold", "--cgroup", version.name(), "--detached"])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // Not ours: it outlives this command, and whoever reads our output would
        // wait for its end.
        .stderr(fs::File::create(pid_file(version).with_extension("log"))?)
        .process_group(0)
        .spawn()
        .context("cannot start the holder of the stack")?;
    fs::write(pid_file(version), holder.id().to_string())?;
    let mut said = String::new();
    BufReader::new(holder.stdout.take().context("no output")?).read_line(&mut said)?;
    if said != "ready\n" {
        let _ = holder.wait();
        fs::remove_file(pid_file(version))?;
        bail!("the container stack did not start: {said}");
    }
    let ours = run_directory(version).join("docker.sock");
    if symlink(&ours, SOCKET).is_err() {
        eprintln!("another engine is at {SOCKET}; this one is found with");
        eprintln!("  export DOCKER_HOST={}", docker_host(version));
    }
    if version == Version::V2 && Version::V1.mount().is_some() {
        eprintln!(
            "this host has both cgroup versions; to see version 2 alone, prefix a command with"
        );
        eprintln!("  nsenter --mount=/proc/{}/ns/mnt --", holder.id());
    }
    if let Content::Demo { .. } = content {
        eprintln!("{}", demo::DIRECTIONS);
    }
    eprintln!(
        "up, under load for {} minutes; end it with: cargo xtask stack down",
        TRY.as_secs() / 60
    );
    Ok(())
}

fn down() -> Result<()> {
    let mut any = false;
    for version in [Version::V1, Version::V2] {
        let Ok(text) = fs::read_to_string(pid_file(version)) else {
            continue;
        };
        any = true;
        let pid: libc::pid_t = text.trim().parse().context("the holder's pid file")?;
        let alive = || {
            let name = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&name).contains("hold\0--cgroup")
        };
        if alive() {
            // SAFETY: kill touches no memory.
            unsafe { libc::kill(pid, libc::SIGTERM) };
            ensure!(
                process::until(Duration::from_secs(60), || !alive()),
                "the holder {pid} does not end"
            );
        }
        fs::remove_file(pid_file(version))?;
        let _ = fs::remove_file(pid_file(version).with_extension("log"));
        if fs::read_link(SOCKET).is_ok_and(|to| to.starts_with(run_directory(version))) {
            fs::remove_file(SOCKET)?;
        }
    }
    eprintln!("{}", if any { "down" } else { "nothing is up" });
    Ok(())
}
