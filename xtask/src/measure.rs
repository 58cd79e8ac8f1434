//! What a command costs: its CPU time and memory, and the run time of the BPF
//! programs that it loads.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io, mem,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::shell;

#[derive(Default)]
pub struct Measured {
    /// User and system time, in seconds.
    pub cpu: f64,
    /// Peak resident memory, in MB.
    pub memory: f64,
    /// Run time of its sampling programs in nanoseconds, and their runs.
    pub bpf: Option<(u64, u64)>,
    /// Seconds from the start to the first run of a sampling program, as seen
    /// from outside.
    pub first_sample: Option<f64>,
    pub samples: Option<u64>,
    /// What the tool says itself about its cost.
    pub own: Option<Value>,
}

impl Measured {
    /// Microseconds.
    pub fn bpf_per_sample(&self) -> Option<f64> {
        self.bpf
            .filter(|(_, runs)| *runs > 0)
            .map(|(time, runs)| time as f64 / runs as f64 / 1e3)
    }

    pub fn to_json(&self) -> Value {
        json!({
            "bpf_us_per_sample": self.bpf_per_sample(),
            "cpu_s": self.cpu,
            "peak_mb": self.memory,
            "first_sample_s": self.first_sample,
            "samples": self.samples,
            "own": self.own,
        })
    }

    /// Takes what our own report says about its making.
    pub fn read_report(&mut self, report: &Path) {
        let Ok(text) = fs::read_to_string(report) else {
            return;
        };
        let Ok(value) = serde_json::from_str::<Value>(&text) else {
            return;
        };
        self.own = value.get("cost").cloned();
    }
}

/// The upper one of two in the middle; `None` of nothing.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Runs commands one after the other, as one tool.
pub fn run(commands: Vec<Command>) -> Result<Measured> {
    let mut measured = Measured::default();
    for mut command in commands {
        let one = run_one(&mut command)?;
        measured.cpu += one.cpu;
        measured.memory = measured.memory.max(one.memory);
        measured.bpf = measured.bpf.or(one.bpf);
        measured.first_sample = measured.first_sample.or(one.first_sample);
        measured.samples = measured.samples.or(one.samples);
    }
    Ok(measured)
}

/// Runs a command and asks the kernel for its usage as it ends.
fn run_one(command: &mut Command) -> Result<Measured> {
    let before = programs()?;
    die_with_parent(command);
    let messages = shell::target().join("bench/messages.txt");
    let started = Instant::now();
    let mut first_sample = None;
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&messages)?)
        .spawn()
        .with_context(|| format!("cannot start {}", shell::show(command)))?;
    let pid = child.id() as libc::pid_t;
    let mut status = 0;
    // SAFETY: all zeros is a valid rusage.
    let mut usage: libc::rusage = unsafe { mem::zeroed() };
    let mut bpf: BTreeMap<u64, Program> = BTreeMap::new();
    let mut owned = BTreeSet::new();
    loop {
        // SAFETY: both pointers are to live variables of the right types, and
        // the child is waited for here alone.
        match unsafe { libc::wait4(pid, &raw mut status, libc::WNOHANG, &raw mut usage) } {
            0 => {}
            -1 => return Err(io::Error::last_os_error()).context("waiting"),
            _ => break,
        }
        // Counters go with their programs, so they are read while those run.
        owned.extend(held(child.id()));
        for (id, program) in programs()? {
            // Others may load programs meanwhile. A tool that holds none open
            // is given all that are new.
            if !before.contains_key(&id) && (owned.is_empty() || owned.contains(&id)) {
                if program.samples() && first_sample.is_none() {
                    first_sample = Some(started.elapsed().as_secs_f64());
                }
                bpf.insert(id, program);
            }
        }
        // Asking costs CPU time too, so it is done often only at the start.
        let early = first_sample.is_none() && started.elapsed() < Duration::from_secs(5);
        std::thread::sleep(Duration::from_millis(if early { 25 } else { 400 }));
    }
    if !libc::WIFEXITED(status) || libc::WEXITSTATUS(status) != 0 {
        let text = fs::read_to_string(&messages).unwrap_or_default();
        let error = text
            .lines()
            .find(|line| line.to_lowercase().starts_with("error"));
        bail!(
            "{} failed: {}",
            shell::show(command),
            error
                .or(text.lines().last())
                .unwrap_or("it does not say why")
        );
    }
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    // One walk may be several programs, by tail calls, whose time the kernel
    // counts to the one that was entered: the events entered it.
    bpf.retain(|id, _| owned.is_empty() || owned.contains(id));
    let sampling = bpf.values().filter(|program| program.samples());
    let (time, runs) = sampling.fold((0, 0), |(time, runs), program| {
        (time + program.time, runs + program.runs)
    });
    Ok(Measured {
        cpu: seconds(usage.ru_utime) + seconds(usage.ru_stime),
        memory: usage.ru_maxrss as f64 / 1024.0,
        bpf: (runs > 0).then_some((time, runs)),
        first_sample,
        samples: (runs > 0).then_some(runs),
        ..Measured::default()
    })
}

/// The programs that a process holds open, itself or by a link.
fn held(pid: u32) -> BTreeSet<u64> {
    let entries = fs::read_dir(format!("/proc/{pid}/fdinfo"));
    entries
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let text = fs::read_to_string(entry.path()).ok()?;
            let id = text
                .lines()
                .find_map(|line| line.strip_prefix("prog_id:"))?;
            id.trim().parse().ok()
        })
        .collect()
}

struct Program {
    kind: String,
    time: u64,
    runs: u64,
}

impl Program {
    /// Whether it is run by a clock, and has been.
    fn samples(&self) -> bool {
        self.kind == "perf_event" && self.runs > 0
    }
}

fn programs() -> Result<BTreeMap<u64, Program>> {
    let bpftool = shell::find("bpftool").context("bpftool is not installed")?;
    let text = shell::output(Command::new(bpftool).args(["--json", "prog", "list"]))?;
    let list: Value = serde_json::from_str(&text).context("bpftool's list")?;
    Ok(list
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|program| {
            Some((
                program["id"].as_u64()?,
                Program {
                    kind: program["type"].as_str()?.to_owned(),
                    time: program["run_time_ns"].as_u64().unwrap_or(0),
                    runs: program["run_cnt"].as_u64().unwrap_or(0),
                },
            ))
        })
        .collect())
}

/// The kernel counts run times of programs only when it is told to.
pub struct ProgramStats {
    before: String,
}

const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";

impl ProgramStats {
    pub fn on() -> Result<Self> {
        let before = fs::read_to_string(STATS).context(STATS)?;
        fs::write(STATS, "1").context(STATS)?;
        Ok(Self { before })
    }
}

impl Drop for ProgramStats {
    fn drop(&mut self) {
        let _ = fs::write(STATS, self.before.trim());
    }
}

/// Some tools insist on tracefs. It is mounted for this process and its
/// children alone, where the machine has not mounted it.
pub fn private_tracefs() -> Result<()> {
    let target = c"/sys/kernel/tracing";
    if Path::new("/sys/kernel/tracing/events").is_dir() {
        return Ok(());
    }
    let failed = |what: &'static str| Err(io::Error::last_os_error()).context(what);
    // SAFETY: unshare takes no pointer, and there is one thread.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return failed("a mount namespace");
    }
    let (none, kind) = (c"none", c"tracefs");
    let null: *const libc::c_void = std::ptr::null();
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: strings that live through the call, and no data.
    if unsafe { libc::mount(none.as_ptr(), c"/".as_ptr(), null.cast(), private, null) } != 0 {
        return failed("private mounts");
    }
    // SAFETY: as above.
    if unsafe { libc::mount(none.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, null) } != 0 {
        return failed("mounting tracefs");
    }
    Ok(())
}

/// The kernel kills the child when we end before it.
pub fn die_with_parent(command: &mut Command) {
    // SAFETY: prctl is async-signal-safe and touches no memory.
    unsafe {
        command.pre_exec(
            || match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            },
        );
    }
}
