//! What goes wrong outside the profiler: it says so, keeps what it has, and
//! leaves nothing in the kernel.
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tests::{folded::Folded, kernel::Loaded, process, process::Process, profiler, programs};

/// Exit code 2 and one line that says what to do.
fn check_refused(output: &Output, word: &str) {
    let messages = profiler::messages(output);
    assert_eq!(output.status.code(), Some(2), "{messages}");
    assert!(messages.contains(word), "no word of {word}: {messages}");
    assert!(!messages.contains("panicked"), "{messages}");
    let lines = messages
        .lines()
        .filter(|line| !line.trim().is_empty())
        .count();
    assert!(
        (1..=6).contains(&lines),
        "{lines} lines instead of a few:\n{messages}"
    );
}

#[test]
fn without_root_it_says_so() -> Result<()> {
    // Where the binary lies may be closed to others.
    let scratch = tempfile::tempdir()?;
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755))?;
    let binary = scratch.path().join("profiler");
    fs::copy(profiler::binary(), &binary)?;
    let output = process::any_output(
        Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .arg(&binary)
            .args(["--mode", "system", "--duration", "1"])
            .current_dir("/"),
    )?;
    check_refused(&output, "root");
    Ok(())
}

#[test]
fn a_bad_option_is_refused() -> Result<()> {
    check_refused(&profiler::run(&["--frequency", "0"])?, "--frequency");
    check_refused(&profiler::run(&["--duration", "soon"])?, "--duration");
    check_refused(&profiler::run(&["--no-such-option"])?, "--no-such-option");
    check_refused(&profiler::run(&["--mode", "sideways"])?, "sideways");
    Ok(())
}

#[test]
fn an_unknown_target_is_refused() -> Result<()> {
    let before = Loaded::now()?;
    check_refused(
        &profiler::run(&[
            "--mode",
            "system",
            "--duration",
            "1",
            "--containers",
            "no-such-container",
        ])?,
        "no-such-container",
    );
    // Beyond the largest pid that the kernel gives.
    check_refused(
        &profiler::run(&["--mode", "system", "--duration", "1", "--pid", "4194305"])?,
        "4194305",
    );
    before.check_gone()
}

#[test]
fn a_signal_ends_the_recording_and_keeps_it() -> Result<()> {
    let directory = programs::build()?;
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let before = Loaded::now()?;
        let scratch = tempfile::tempdir()?;
        let path = scratch.path().join("x.folded");
        let _target = programs::shares(&directory)?;
        let mut profiler = profiler::start(&[
            "--mode",
            "system",
            "--duration",
            "60",
            "--format",
            "folded",
            "--output",
            path.to_str().context("UTF-8")?,
        ])?;
        profiler::wait_for_programs(&before)?;
        std::thread::sleep(Duration::from_secs(2));
        profiler.signal(signal);
        let status = profiler.wait(Duration::from_secs(20))?;
        assert_eq!(status.code(), Some(0), "after signal {signal}");
        check_readable(&path)?;
        before.check_gone()?;
    }
    Ok(())
}

fn check_readable(path: &Path) -> Result<()> {
    let folded = Folded::read(path)?;
    assert!(
        folded.share(|stack| stack.process == "shares") > 0.0,
        "the target is not in it"
    );
    Ok(())
}

#[test]
fn a_killed_profiler_leaves_nothing_in_the_kernel() -> Result<()> {
    let before = Loaded::now()?;
    let profiler = profiler::start(&["--mode", "system", "--duration", "60"])?;
    profiler::wait_for_programs(&before)?;
    profiler.signal(libc::SIGKILL);
    drop(profiler);
    before.check_gone()
}

#[test]
fn the_target_s_end_ends_the_recording() -> Result<()> {
    let directory = programs::build()?;
    let scratch = tempfile::tempdir()?;
    let path = scratch.path().join("x.folded");
    let target = Process::spawn(
        Command::new(directory.join("shares"))
            .arg("5")
            .stdout(std::process::Stdio::null()),
    )?;
    let mut profiler = profiler::start(&[
        "--mode",
        "system",
        "--pid",
        &target.pid().to_string(),
        "--duration",
        "60",
        "--format",
        "folded",
        "--output",
        path.to_str().context("UTF-8")?,
    ])?;
    let started = Instant::now();
    // Reap the target as it ends: a zombie is not quite gone.
    let reaper = std::thread::spawn(move || {
        let mut target = target;
        target.wait(Duration::from_secs(30)).map(|_| ())
    });
    let status = profiler.wait(Duration::from_secs(40))?;
    println!("it ended after {:?}", started.elapsed());
    ensure!(reaper.join().is_ok(), "the target did not end");
    assert_eq!(status.code(), Some(0));
    check_readable(&path)
}

/// A file system of a few pages, unmounted when it is dropped.
struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        process::output(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", "size=16k", "small"])
                .arg(directory.path()),
        )?;
        Ok(Self(directory))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = process::any_output(Command::new("umount").arg("--lazy").arg(self.0.path()));
    }
}

#[test]
fn a_full_disk_is_said_and_no_broken_report_stays() -> Result<()> {
    let before = Loaded::now()?;
    let directory = programs::build()?;
    let _target = programs::shares(&directory)?;
    let small = Small::mount()?;
    let path = small.0.path().join("x.html");
    fs::write(small.0.path().join("filler"), vec![0; 12 << 10])?;
    let elsewhere = tempfile::tempdir()?;
    let output = profiler::command()
        .env("TMPDIR", elsewhere.path())
        .args(["--mode", "system", "--duration", "2", "--output"])
        .arg(&path)
        .output()?;
    let messages = profiler::messages(&output);
    assert_eq!(output.status.code(), Some(2), "{messages}");
    assert!(!messages.contains("panicked"), "{messages}");
    assert!(
        messages.contains("x.html") || messages.contains("space"),
        "{messages}"
    );
    // Half a page would look like a report.
    if let Ok(text) = fs::read_to_string(&path) {
        assert!(
            text.trim_end().ends_with("</html>"),
            "a broken report was left"
        );
    }
    let rescued = fs::read_dir(elsewhere.path())?
        .next()
        .context("the recording was not kept elsewhere")??
        .path();
    let rescued = rescued.to_str().context("UTF-8")?;
    assert!(
        messages.contains(rescued),
        "it does not say where: {messages}"
    );
    let rendered = profiler::run(&["report", rescued, "--format", "folded"])?;
    assert!(rendered.status.success() && !rendered.stdout.is_empty());
    before.check_gone()
}

#[test]
fn doctor_and_help_answer() -> Result<()> {
    let doctor = profiler::run(&["doctor"])?;
    let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(
        text.contains("BTF"),
        "{text}\n{}",
        profiler::messages(&doctor)
    );
    let help = profiler::run(&["--help"])?;
    assert!(help.status.success());
    assert!(String::from_utf8_lossy(&help.stdout).contains("--containers"));
    Ok(())
}

/// The programs in the kernel say what they do, when asked to and only then.
#[test]
fn debugging_shows_what_the_programs_do() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let output = scratch.path().join("all.profile");
    let log = scratch.path().join("messages");
    for (filter, said) in [("profiler_ebpf=debug", true), ("profiler_ebpf=info", false)] {
        let mut recording = Process::spawn(
            profiler::command()
                .args(["--duration", "3", "--output"])
                .arg(&output)
                .env("RUST_LOG", filter)
                .stderr(fs::File::create(&log)?),
        )?;
        let ended = process::until(Duration::from_secs(60), || {
            let _ = Command::new("true").status();
            recording
                .child()
                .try_wait()
                .is_ok_and(|code| code.is_some())
        });
        ensure!(ended, "it does not end");
        let messages = fs::read_to_string(&log)?;
        assert_eq!(
            messages.contains("executes another program"),
            said,
            "{filter}: {messages}"
        );
    }
    Ok(())
}

/// A saved recording renders again, into the same stacks.
#[test]
fn a_saved_recording_renders_anywhere() -> Result<()> {
    let directory = programs::build()?;
    let scratch = tempfile::tempdir()?;
    let target = programs::shares(&directory)?;
    let saved = scratch.path().join("x.profile");
    let saved = saved.to_str().context("UTF-8")?;
    let output = profiler::run(&[
        "--mode",
        "system",
        "--pid",
        &target.pid().to_string(),
        "--duration",
        "3",
        "--output",
        saved,
    ])?;
    assert!(output.status.success(), "{}", profiler::messages(&output));
    drop(target);
    let mode = fs::metadata(saved)?.permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "others can read the recording: {mode:o}");
    for format in [
        "folded",
        "raw",
        "json",
        "html",
        "markdown",
        "flamegraph",
        "speedscope",
        "pprof",
        "pstats",
    ] {
        let path = scratch.path().join(format!("x.{format}"));
        let output = profiler::run(&[
            "report",
            saved,
            "--format",
            format,
            "--output",
            path.to_str().context("UTF-8")?,
        ])?;
        assert!(
            output.status.success(),
            "{format}: {}",
            profiler::messages(&output)
        );
        assert!(fs::metadata(&path)?.len() > 0, "{format} is empty");
    }
    check_readable(&scratch.path().join("x.folded"))
}
