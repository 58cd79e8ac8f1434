//! What programs lose that are looked at: the same work without anybody, with
//! the profiler, and with other tools, in turns.
use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{cache, measure, shell};

const ROUNDS: usize = 3;
/// Pairs of read(2) and write(2) of a byte.
const PAIRS: u32 = 400_000;

/// Counts and times every call of every program, as the profiler does.
const BPFTRACE: &str = "
tracepoint:raw_syscalls:sys_enter { @start[tid] = nsecs; }
tracepoint:raw_syscalls:sys_exit /@start[tid]/ {
    @calls[pid, tid, args->id] = count();
    @time[pid, args->id] = hist(nsecs - @start[tid]);
    delete(@start[tid]);
}";

/// Somebody who looks on.
enum Observer {
    Nobody,
    Profiler(&'static str),
    Bpftrace,
    /// A tool that runs the work itself.
    Around(&'static [&'static str]),
}

impl Observer {
    fn name(&self) -> String {
        match self {
            Self::Nobody => "nobody".to_owned(),
            Self::Profiler(sources) => format!("profiler --sources {sources}"),
            Self::Bpftrace => "bpftrace, the same calls".to_owned(),
            Self::Around(words) => words[..2].join(" "),
        }
    }
}

/// What is done, and its result: seconds, or something a second.
struct Work {
    name: &'static str,
    observers: Vec<Observer>,
    run: fn(&[&str], &Services) -> Result<f64>,
    /// Less is better.
    is_time: bool,
}

pub fn bench(profiler: &Path, work: &Path) -> Result<()> {
    let services = Services::start()?;
    let every = || {
        vec![
            Observer::Nobody,
            Observer::Profiler("on-cpu"),
            Observer::Profiler("off-cpu"),
            Observer::Profiler("all"),
        ]
    };
    let works = [
        Work {
            name: "400,000 pairs of read and write, s",
            observers: vec![
                Observer::Nobody,
                Observer::Profiler("syscalls"),
                Observer::Profiler("all"),
                Observer::Bpftrace,
                Observer::Around(&["perf", "trace", "-s", "-o", "/dev/null"]),
                Observer::Around(&["strace", "-c", "-f", "-o", "/dev/null"]),
            ],
            run: pairs,
            is_time: true,
        },
        Work {
            name: "perf bench sched pipe, s",
            observers: every(),
            run: switches,
            is_time: true,
        },
        Work {
            name: "redis-benchmark get, requests/s",
            observers: every(),
            run: redis,
            is_time: false,
        },
        Work {
            name: "pgbench -S, transactions/s",
            observers: every(),
            run: postgres,
            is_time: false,
        },
    ];
    for one in &works {
        println!("\n{:<44} {:>12} {:>10}", one.name, "median", "of nobody's");
        let mut results = vec![Vec::new(); one.observers.len()];
        for _ in 0..ROUNDS {
            for (observer, results) in one.observers.iter().zip(&mut results) {
                match look_on(observer, one, profiler, work, &services) {
                    Ok(result) => results.push(result),
                    Err(error) => eprintln!("{}: {error:#}", observer.name()),
                }
            }
        }
        let medians: Vec<f64> = results
            .into_iter()
            .map(|runs| measure::median(runs).unwrap_or(f64::NAN))
            .collect();
        for (observer, result) in one.observers.iter().zip(&medians) {
            let ratio = if one.is_time {
                result / medians[0]
            } else {
                medians[0] / result
            };
            println!("{:<44} {result:>12.3} {ratio:>10.2}", observer.name());
        }
        println!("{}", own_cost(work));
    }
    Ok(())
}

fn look_on(
    observer: &Observer,
    one: &Work,
    profiler: &Path,
    work: &Path,
    services: &Services,
) -> Result<f64> {
    let report = work.join("events.json");
    let mut command = match observer {
        Observer::Nobody => return (one.run)(&[], services),
        Observer::Around(words) => return (one.run)(words, services),
        Observer::Profiler(sources) => {
            let mut command = Command::new(profiler);
            command
                .args(["--mode", "system", "--duration", "600", "-v"])
                .args(["--sources", sources, "--output"])
                .arg(&report);
            command
        }
        Observer::Bpftrace => {
            let mut command = Command::new("bpftrace");
            command.args(["-o", "/dev/null", "-e", BPFTRACE]);
            command
        }
    };
    measure::die_with_parent(&mut command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", shell::show(&command)))?;
    let mut messages = BufReader::new(child.stderr.take().context("its messages")?);
    if matches!(observer, Observer::Profiler(_)) {
        let mut line = String::new();
        while !line.contains("warmed up") {
            line.clear();
            if messages.read_line(&mut line)? == 0 {
                bail!("{} ended at once", observer.name());
            }
        }
    } else {
        // It says nothing when it has begun.
        sleep(Duration::from_secs(4));
    }
    // Nothing may fill the pipe.
    std::thread::spawn(move || messages.read_to_end(&mut Vec::new()));
    sleep(Duration::from_millis(300));
    let result = (one.run)(&[], services);
    end(&mut child)?;
    result
}

fn end(child: &mut Child) -> Result<()> {
    // SAFETY: kill touches no memory; the child is not yet waited for.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) };
    child.wait()?;
    Ok(())
}

/// Run time of the programs in the last report.
fn own_cost(work: &Path) -> String {
    let text = fs::read_to_string(work.join("events.json")).unwrap_or_default();
    let report: Value = serde_json::from_str(&text).unwrap_or_default();
    let programs = report["cost"]["programs"].as_array();
    let mut rows: Vec<(u64, String)> = programs
        .into_iter()
        .flatten()
        .filter_map(|row| {
            let (time, runs) = (row["run_time_ns"].as_u64()?, row["run_count"].as_u64()?);
            let each = time.checked_div(runs)?;
            let name = row["name"].as_str()?;
            Some((time, format!("{name} {each} ns × {runs}")))
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.0));
    let rows: Vec<String> = rows.into_iter().take(5).map(|(_, text)| text).collect();
    format!("  the last recording: {}", rows.join(", "))
}

/// The words before the command run it.
fn command(around: &[&str], words: &[&str]) -> Command {
    let words = [around, words].concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}

fn timed(mut command: Command) -> Result<f64> {
    let begin = Instant::now();
    shell::output(&mut command)?;
    Ok(begin.elapsed().as_secs_f64())
}

fn pairs(around: &[&str], _: &Services) -> Result<f64> {
    let count = format!("count={PAIRS}");
    timed(command(
        around,
        &[
            "dd",
            "if=/dev/zero",
            "of=/dev/null",
            "bs=1",
            &count,
            "status=none",
        ],
    ))
}

fn switches(around: &[&str], _: &Services) -> Result<f64> {
    timed(command(
        around,
        &[
            "perf", "bench", "-f", "simple", "sched", "pipe", "-l", "200000",
        ],
    ))
}

fn redis(_: &[&str], services: &Services) -> Result<f64> {
    let mut command = services.inside("redis-benchmark");
    command.args([
        "-p",
        Services::REDIS,
        "-t",
        "get",
        "-n",
        "150000",
        "-c",
        "20",
        "--csv",
    ]);
    let text = shell::output(&mut command)?;
    let line = text.lines().find(|line| line.starts_with("\"GET\""));
    line.and_then(|line| line.split(',').nth(1))
        .and_then(|number| number.trim_matches('"').parse().ok())
        .with_context(|| format!("redis-benchmark said {text:?}"))
}

fn postgres(_: &[&str], services: &Services) -> Result<f64> {
    let mut command = services.inside(&format!("{}/pgbench", Services::BINARIES));
    command.args(["-h", "/tmp", "-p", Services::POSTGRES, "-U", "postgres"]);
    command.args(["-S", "-c", "4", "-T", "4", "postgres"]);
    let text = shell::output(&mut command)?;
    text.lines()
        .find_map(|line| line.strip_prefix("tps = "))
        .and_then(|rest| rest.split(' ').next())
        .and_then(|number| number.parse().ok())
        .with_context(|| format!("pgbench said {text:?}"))
}

/// Redis and PostgreSQL, in the tests' root file system.
struct Services {
    root: PathBuf,
    children: Vec<Child>,
}

impl Services {
    const REDIS: &'static str = "16390";
    const POSTGRES: &'static str = "15490";
    const BINARIES: &'static str = "/usr/lib/postgresql/15/bin";

    fn start() -> Result<Self> {
        let mut services = Self {
            root: cache::directory("image")?.join("rootfs-3"),
            children: Vec::new(),
        };
        if !services.root.exists() {
            bail!("the tests' image is not there: run cargo xtask test integration once");
        }
        let mut server = services.inside("redis-server");
        server.args(["--port", Self::REDIS, "--save", "", "--appendonly", "no"]);
        services.spawn(server)?;
        let data = "/tmp/bench-postgres";
        fs::remove_dir_all(services.root.join(&data[1..])).ok();
        shell::output(
            services
                .as_postgres(&format!("{}/initdb", Self::BINARIES))
                .args(["-D", data, "-A", "trust"]),
        )?;
        let mut server = services.as_postgres(&format!("{}/postgres", Self::BINARIES));
        server.args(["-D", data, "-k", "/tmp", "-p", Self::POSTGRES]);
        services.spawn(server)?;
        sleep(Duration::from_secs(3));
        let mut fill = services.inside(&format!("{}/pgbench", Self::BINARIES));
        fill.args(["-h", "/tmp", "-p", Self::POSTGRES, "-U", "postgres"]);
        shell::output(fill.args(["-q", "-i", "-s", "2", "postgres"]))?;
        Ok(services)
    }

    fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("chroot");
        command.arg(&self.root).arg(program);
        command
    }

    fn as_postgres(&self, program: &str) -> Command {
        let mut command = Command::new("chroot");
        command.arg("--userspec=postgres:postgres");
        command.arg(&self.root).arg(program);
        command
    }

    fn spawn(&mut self, mut command: Command) -> Result<()> {
        measure::die_with_parent(&mut command);
        self.children.push(
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .with_context(|| format!("cannot start {}", shell::show(&command)))?,
        );
        Ok(())
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = end(child);
        }
        fs::remove_dir_all(self.root.join("tmp/bench-postgres")).ok();
    }
}
