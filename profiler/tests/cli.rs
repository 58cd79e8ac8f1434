//! The program as a user runs it.

use std::{
    fs,
    io::Read as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use profiler::profile::{
    Builder, Container, FORMAT_VERSION, Frame, FrameKind, Function, Process, Recording, Sample,
    Source, Thread, store,
};

fn profiler() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_profiler"));
    command
        .env_remove("RUST_LOG")
        .env_remove("SUDO_UID")
        .env_remove("SUDO_GID");
    command
}

fn run(words: &str) -> Output {
    profiler()
        .args(words.split_whitespace())
        .output()
        .expect("it starts")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Exit code 2, nothing on stdout, and one line that says this.
fn refused(output: &Output, says: &str) {
    let line = err(output);
    assert_eq!(output.status.code(), Some(2), "{line}");
    assert_eq!(out(output), "");
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.starts_with("profiler: "), "{line}");
    assert!(line.contains(says), "{line}");
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The program where every user can run it, unlike a home or a build
/// directory.
fn for_everybody() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    let path = directory.path().join("profiler");
    fs::copy(env!("CARGO_BIN_EXE_profiler"), &path).expect("it was copied");
    (directory, path)
}

fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(program);
    command
}

/// A recording with one sample.
fn saved(directory: &Path) -> PathBuf {
    let mut builder = Builder::default();
    builder.recording.format_version = FORMAT_VERSION;
    builder.recording.containers.push(Container {
        name: "host".to_string(),
        ..Container::default()
    });
    builder.recording.processes.push(Process::default());
    builder.recording.threads.push(Thread::default());
    builder.sample(Sample {
        weight: 10,
        count: 1,
        ..Sample::default()
    });
    let path = directory.join("a.profile");
    let file = fs::File::create(&path).expect("a file");
    store::save(&builder.finish(), file).expect("it was saved");
    path
}

#[test]
fn help_goes_to_stdout_and_is_complete() {
    let help = run("--help");
    assert_eq!(help.status.code(), Some(0));
    assert_eq!(err(&help), "");
    let text = out(&help);
    for word in [
        "--mode",
        "--output",
        "--format",
        "--duration",
        "--endpoints",
        "--load",
        "--profile-type",
        "--containers",
        "--baseline",
        "--pid",
        "--frequency",
        "--source",
        "gil-wait",
        "--sources",
        "off-cpu",
        "py-spy",
        "pstats",
        "samples, not calls",
        "--quiet",
        "--verbose",
        "doctor",
        "report",
        "completions",
        "man",
        "Exit codes",
        "Examples",
        "[default: full]",
        "[default: 60]",
        "[default: 99]",
        "[default: critical]",
        "[default: normal]",
        "[default: cprofile]",
        "[default: all]",
        "Not in this version",
    ] {
        assert!(text.contains(word), "{word} is not in\n{text}");
    }
    for verb in ["doctor", "report", "completions", "man"] {
        let help = run(&format!("{verb} --help"));
        assert_eq!(help.status.code(), Some(0));
        assert!(out(&help).contains("Example"), "{}", out(&help));
    }
    let version = run("--version");
    assert_eq!(
        out(&version).trim(),
        concat!("profiler ", env!("CARGO_PKG_VERSION"))
    );
    // Not a terminal: no escapes.
    assert!(!text.contains('\u{1b}'));
}

#[test]
fn bad_options_are_one_line_and_code_2() {
    for (words, says) in [
        ("--frequency 0", "1..=10000"),
        ("--frequency 10001", "1..=10000"),
        ("--duration never", "--duration"),
        ("--duration 0", "at least"),
        ("--format exe", "possible values"),
        ("--mode everything", "possible values"),
        ("--pid x", "--pid"),
        ("--nonsense", "--nonsense"),
        ("--frequnecy 5", "; tip: "),
        ("--quiet --verbose", "cannot be used with"),
        ("stray", "stray"),
        ("report", "FILE"),
        ("completions tcl", "possible values"),
        ("man nothing", "nothing"),
        ("--mode frontend", "browser"),
        ("--mode backend --url nowhere", "nowhere"),
        ("--mode database --redis nowhere", "redis://"),
        ("--mode database --postgres nowhere", "postgres://"),
        ("--baseline old.json", "cannot read old.json"),
        ("--endpoints items", "a path starts with /"),
        ("--load crushing", "possible values"),
        (
            "--profile-type memory",
            "[possible values: cprofile, py-spy]",
        ),
        (
            "--source swap",
            "[possible values: on-cpu, wall, off-cpu, blocked, idle, gil-wait, wakeup, syscall, \
             disk, disk-time, network, page-fault]",
        ),
        ("report a.profile --profile-type memory", "cprofile, py-spy"),
        (
            "report a.profile --source swap",
            "on-cpu, wall, off-cpu, blocked, idle, gil-wait",
        ),
        (
            "--sources swap",
            "[possible values: all, on-cpu, off-cpu, syscalls, disk, network, memory]",
        ),
        ("--max-overhead 0", "not a percentage"),
        ("--trace reed", "no system call `reed`"),
        ("--pid 1 --containers web", "cannot be used together"),
    ] {
        refused(&run(words), says);
    }
}

#[test]
fn completions_and_manual_pages() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&format!("completions {shell}"));
        assert_eq!(script.status.code(), Some(0));
        assert!(out(&script).contains("frequency"), "{shell}");
    }
    let page = out(&run("man"));
    assert!(
        page.contains(".TH") && page.contains("containers"),
        "{page}"
    );
    let page = out(&run("man doctor"));
    assert!(page.contains(".TH") && page.contains("doctor"), "{page}");

    // bash reads what it is given.
    let script = run("completions bash");
    let mut bash = Command::new("bash")
        .args(["-n"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("bash is there");
    std::io::Write::write_all(&mut bash.stdin.take().expect("piped"), &script.stdout)
        .expect("it reads");
    assert!(bash.wait().expect("it ends").success());
}

#[test]
fn a_closed_stdout_is_a_quiet_end() {
    for words in ["man", "completions bash", "doctor"] {
        let mut child = profiler()
            .args(words.split(' '))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        drop(child.stdout.take());
        let status = child.wait().expect("it ends");
        let mut said = String::new();
        child
            .stderr
            .take()
            .expect("piped")
            .read_to_string(&mut said)
            .expect("text");
        assert_eq!((status.code(), said.as_str()), (Some(0), ""), "{words}");
    }
}

#[test]
fn a_full_stdout_is_an_error() {
    let full = fs::File::options()
        .write(true)
        .open("/dev/full")
        .expect("it is there");
    let output = profiler()
        .arg("man")
        .stdout(full)
        .output()
        .expect("it starts");
    refused(&output, "the disk is full");
}

#[test]
fn a_saved_recording_is_rendered_without_root() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let recording = saved(directory.path());
    let copy = directory.path().join("new/b.profile");
    let output = profiler()
        .arg("report")
        .arg(&recording)
        .arg("--output")
        .arg(&copy)
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{}", err(&output));
    assert_eq!(copy.metadata().expect("it is there").mode() & 0o777, 0o600);
    let read = |path: &Path| -> Recording { store::load(path).expect("it can be read") };
    assert_eq!(read(&copy), read(&recording));

    refused(
        &run("report /nonexistent/x.profile"),
        "/nonexistent/x.profile",
    );
    let broken = directory.path().join("broken.profile");
    fs::write(&broken, "not gzip").expect("it was written");
    let output = profiler()
        .arg("report")
        .arg(&broken)
        .output()
        .expect("it starts");
    refused(&output, "is not a recording");
    let output = profiler()
        .arg("report")
        .arg(&recording)
        .args(["--output", "/proc/nowhere/x.profile"])
        .output()
        .expect("it starts");
    refused(&output, "/proc/nowhere/x.profile");
}

#[test]
fn a_recording_shows_what_is_selected() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut builder = Builder::default();
    builder.recording.format_version = FORMAT_VERSION;
    builder.recording.containers.push(Container {
        name: "host".to_string(),
        ..Container::default()
    });
    builder.recording.processes.push(Process {
        name: "app".to_string(),
        ..Process::default()
    });
    builder.recording.threads.push(Thread::default());
    let mut stack = None;
    for (name, kind) in [("main", FrameKind::Native), ("work", FrameKind::Python)] {
        let function = builder.function(Function {
            name: name.to_string(),
            kind,
            file: "app.py".to_string(),
            line: 3,
            ..Function::default()
        });
        let frame = builder.frame(Frame {
            function,
            line: 4,
            ..Frame::default()
        });
        stack = Some(builder.stack(stack, frame));
    }
    for (source, weight, count) in [(Source::OnCpu, 100, 2), (Source::GilWait, 50, 7)] {
        builder.sample(Sample {
            source,
            stack,
            weight,
            count,
            ..Sample::default()
        });
    }
    let path = directory.path().join("a.profile");
    let file = fs::File::create(&path).expect("a file");
    store::save(&builder.finish(), file).expect("it was saved");
    for (words, expected) in [
        ("--format folded", "host;app;main;work (app.py:4) 100\n"),
        (
            "--format folded --source gil-wait",
            "host;app;main;work (app.py:4);[gil wait] 50\n",
        ),
        (
            "--format folded --profile-type py-spy",
            "host;app;work (app.py:4) 100\n",
        ),
        ("--format raw", "work (app.py:4) 2\n"),
        (
            "--format raw --source gil-wait",
            "work (app.py:4);[gil wait] 7\n",
        ),
    ] {
        let output = run(&format!("report {} {words}", path.display()));
        assert!(output.status.success(), "{}", err(&output));
        assert_eq!(out(&output), expected, "{words}");
    }
    for extension in ["pstats", "prof"] {
        let file = directory.path().join("a").with_extension(extension);
        let output = run(&format!("report {} -o {}", path.display(), file.display()));
        assert!(output.status.success(), "{}", err(&output));
        let bytes = fs::read(&file).expect("it was written");
        assert_eq!(bytes.first(), Some(&b'{'), "a table");
    }
}

#[test]
fn a_failed_write_leaves_the_old_result() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let recording = saved(directory.path());
    let path = directory.path().join("old.profile");
    fs::write(&path, "old").expect("it was written");
    let command = format!(
        "ulimit -f 0; exec {} report {} --output {}",
        env!("CARGO_BIN_EXE_profiler"),
        recording.display(),
        path.display()
    );
    let output = Command::new("sh")
        .args(["-c", &command])
        .output()
        .expect("it starts");
    refused(&output, "larger than allowed");
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "old");
    assert_eq!(fs::read_dir(directory.path()).expect("ours").count(), 2);
}

#[test]
fn binary_formats_refuse_a_terminal() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let recording = saved(directory.path());
    let command = format!(
        "{} report {} --format pprof",
        env!("CARGO_BIN_EXE_profiler"),
        recording.display()
    );
    // util-linux's way to a terminal.
    let output = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .stdin(Stdio::null())
        .output()
        .expect("script, of bsdutils");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        out(&output).contains("stdout is a terminal"),
        "{}",
        out(&output)
    );
}

#[test]
fn files_belong_to_the_user_behind_sudo() {
    if !is_root() {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let recording = saved(directory.path());
    let path = directory.path().join("new/deep/b.profile");
    let output = profiler()
        .env("SUDO_UID", "1234")
        .env("SUDO_GID", "2345")
        .arg("report")
        .arg(&recording)
        .arg("--output")
        .arg(&path)
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{}", err(&output));
    for made in [
        path.as_path(),
        path.parent().expect("it has one"),
        &directory.path().join("new"),
    ] {
        let metadata = made.metadata().expect("it is there");
        assert_eq!((metadata.uid(), metadata.gid()), (1234, 2345), "{made:?}");
    }
}

#[test]
fn doctor_speaks_for_everybody() {
    let (_directory, program) = for_everybody();
    let mut runs = vec![profiler()];
    if is_root() {
        runs.push(as_nobody(&program));
    }
    for (at, mut command) in runs.into_iter().enumerate() {
        let output = command
            .args(["doctor", "--format", "json"])
            .output()
            .expect("it starts");
        assert_eq!(err(&output), "");
        let found: serde_json::Value = serde_json::from_str(&out(&output)).expect("JSON");
        let usable = found["usable"].as_bool().expect("a boolean");
        assert_eq!(output.status.code(), Some(if usable { 0 } else { 2 }));
        let checks = found["checks"].as_array().expect("a list");
        let state = |name: &str| {
            checks
                .iter()
                .find(|check| check["name"] == name)
                .unwrap_or_else(|| panic!("{name} is looked at"))["state"]
                .as_str()
                .expect("text")
                .to_string()
        };
        assert!(checks.len() > 25);
        assert_eq!(state("kernel"), "ok");
        if at == 1 {
            assert!(!usable);
            assert_eq!(state("capabilities"), "missing");
            assert_eq!(state("program: perf event"), "unknown");
        }
    }
}

#[test]
fn doctor_prints_a_table() {
    let output = run("doctor");
    let text = out(&output);
    assert!(
        text.contains("kernel") && text.contains("costs: "),
        "{text}"
    );
    let says = if output.status.success() {
        "A recording works on this host."
    } else {
        "No recording works here"
    };
    assert!(text.contains(says), "{text}");
    assert!(!text.contains('\u{1b}'));
}

#[test]
fn without_rights_it_says_what_to_do() {
    if !is_root() {
        refused(&run("--duration 1"), "sudo");
        return;
    }
    let (_directory, program) = for_everybody();
    let output = as_nobody(&program).output().expect("setpriv is there");
    refused(&output, "sudo");

    for (namespaces, says) in [
        (&["--user", "--map-root-user"][..], "user namespace"),
        (&["--pid", "--fork", "--mount-proc"], "--pid=host"),
    ] {
        let output = Command::new("unshare")
            .args(namespaces)
            .arg(&program)
            .args(["--duration", "1"])
            .output()
            .expect("unshare is there");
        // A host may forbid user namespaces altogether.
        if !err(&output).starts_with("unshare:") {
            refused(&output, says);
        }
    }
}

#[test]
fn what_cannot_work_fails_before_the_recording() {
    if !is_root() {
        return;
    }
    refused(&run("--pid 4194304 --duration 1"), "no process 4194304");
    refused(&run("--output / --duration 1"), "directory");
    refused(
        &run("--output /proc/nowhere/x.json --duration 1"),
        "/proc/nowhere/x.json",
    );
    let full = run("--output /dev/null/x.json --duration 1");
    refused(&full, "/dev/null/x.json");
}
