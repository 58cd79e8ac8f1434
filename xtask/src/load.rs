//! `cargo xtask bench load`: the load generator beside wrk and oha, on the same
//! nginx, with the same connections, in turn.
use std::{
    fs, mem,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{cache, measure, shell, toolchain};

const CONNECTIONS: u32 = 50;
const SECONDS: u32 = 5;
/// Each tool in turn, this many times: neighbours on the machine hit all.
const ROUNDS: usize = 3;

struct Tool {
    name: &'static str,
    command: Box<dyn Fn(&str) -> Command>,
    /// Reads requests a second from what it says.
    rate: fn(&str) -> Option<f64>,
}

/// Of one run.
struct Run {
    rate: f64,
    /// CPU time of the client, microseconds a request.
    cpu: f64,
}

pub fn bench(profiler: &Path, work: &Path) -> Result<()> {
    let root = cache::directory("image")?.join("rootfs-3");
    if !root.exists() {
        bail!("the tests' image is not there: run cargo xtask test integration once");
    }
    let (_server, url) = nginx(&root, work)?;
    let profiler = profiler.to_owned();
    let image = root.clone();
    let mut tools = vec![
        Tool {
            name: "profiler load",
            command: Box::new(move |url| ours(&profiler, url)),
            rate: |text| {
                let report: serde_json::Value = serde_json::from_str(text).ok()?;
                report["endpoints"][0]["throughput_per_second"].as_f64()
            },
        },
        Tool {
            name: "wrk",
            command: Box::new(move |url| wrk(&image, url)),
            rate: |text| number_after(text, "Requests/sec:"),
        },
    ];
    match oha() {
        Ok(binary) => tools.push(Tool {
            name: "oha",
            command: Box::new(move |url| oha_command(&binary, url)),
            rate: |text| number_after(text, "Requests/sec:"),
        }),
        Err(error) => eprintln!("oha is left out: {error:#}"),
    }
    let mut runs: Vec<Vec<Run>> = tools.iter().map(|_| Vec::new()).collect();
    for round in 1..=ROUNDS {
        for (tool, runs) in tools.iter().zip(&mut runs) {
            eprintln!("round {round} of {ROUNDS}: {}", tool.name);
            runs.push(run(tool, &url).with_context(|| tool.name.to_owned())?);
        }
    }
    table(&tools, &runs);
    Ok(())
}

fn table(tools: &[Tool], runs: &[Vec<Run>]) {
    let middle = |runs: &[Run], of: fn(&Run) -> f64| {
        let mut values: Vec<f64> = runs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let first = (
        middle(&runs[0], |run| run.rate),
        middle(&runs[0], |run| run.cpu),
    );
    println!(
        "\n{:<16} {:>20} {:>24}",
        "tool", "requests/s", "client CPU µs/request"
    );
    for (tool, runs) in tools.iter().zip(runs) {
        let (rate, cpu) = (middle(runs, |run| run.rate), middle(runs, |run| run.cpu));
        println!(
            "{:<16} {:>20} {:>24}",
            tool.name,
            format!("{rate:.0} ({:.2}x)", rate / first.0),
            format!("{cpu:.2} ({:.2}x)", cpu / first.1)
        );
    }
    println!(
        "\nmedian of {ROUNDS} runs of {SECONDS} s with {CONNECTIONS} connections, in turn, on nginx with \
         one worker on this machine; (x) against the first row"
    );
}

/// Runs it to its end, and asks the kernel what it used.
fn run(tool: &Tool, url: &str) -> Result<Run> {
    let mut command = (tool.command)(url);
    measure::die_with_parent(&mut command);
    let before = usage();
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", shell::show(&command)))?;
    let cpu = usage() - before;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("it ended with {}: {text}", output.status);
    }
    let rate = (tool.rate)(&text).with_context(|| format!("it says no rate: {text}"))?;
    Ok(Run {
        rate,
        cpu: cpu.as_secs_f64() * 1e6 / (rate * f64::from(SECONDS)),
    })
}

/// CPU time of all children that have ended.
fn usage() -> Duration {
    // SAFETY: all zeros is a valid rusage, which the call fills.
    let usage = unsafe {
        let mut usage: libc::rusage = mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    [usage.ru_utime, usage.ru_stime]
        .map(|time| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000))
        .iter()
        .sum()
}

fn ours(binary: &Path, url: &str) -> Command {
    let mut command = Command::new(binary);
    command
        .args(["load", url, "--warmup", "0", "--format", "json", "--quiet"])
        .args(["--concurrent", &CONNECTIONS.to_string()])
        .args(["--duration", &SECONDS.to_string(), "--threads", "2"]);
    command
}

/// A program of the image with the image's libraries, and this machine's files.
fn of_image(root: &Path, program: &str) -> Command {
    let libraries = root.join("lib/x86_64-linux-gnu");
    let more = root.join("usr/lib/x86_64-linux-gnu");
    let mut command = Command::new(libraries.join("ld-linux-x86-64.so.2"));
    command
        .arg("--library-path")
        .arg(format!("{}:{}", libraries.display(), more.display()))
        .arg(root.join(program));
    command
}

fn wrk(root: &Path, url: &str) -> Command {
    let mut command = of_image(root, "usr/bin/wrk");
    command
        .arg("-t2")
        .arg(format!("-c{CONNECTIONS}"))
        .arg(format!("-d{SECONDS}s"))
        .args(["--latency", url]);
    command
}

fn oha_command(binary: &Path, url: &str) -> Command {
    let mut command = Command::new(binary);
    command
        .args(["--no-tui", "--no-color", "-c", &CONNECTIONS.to_string()])
        .args(["-z", &format!("{SECONDS}s"), url]);
    command
}

/// Built into our own directory, not the user's.
fn oha() -> Result<PathBuf> {
    let binary = toolchain::tools().join("bin/oha");
    if binary.is_file() {
        return Ok(binary);
    }
    shell::run(
        shell::cargo()
            .args(["install", "oha", "--locked", "--root"])
            .arg(toolchain::tools()),
    )?;
    Ok(binary)
}

fn number_after(text: &str, label: &str) -> Option<f64> {
    text.lines()
        .find_map(|line| line.trim().strip_prefix(label))?
        .trim()
        .parse()
        .ok()
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// nginx with one worker and a file of 1 KiB, and the file's URL.
fn nginx(root: &Path, work: &Path) -> Result<(Server, String)> {
    let at = work.join("nginx");
    fs::create_dir_all(at.join("html"))?;
    fs::create_dir_all(at.join("logs"))?;
    fs::write(at.join("html/file"), [b'x'; 1024])?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {}/{name};\n", at.display()))
        .concat();
    let configuration = format!(
        "daemon off; master_process off; worker_processes 1; pid {at}/pid; error_log {at}/log;
         events {{ worker_connections 1024; }}
         http {{ access_log off; keepalive_requests 1000000000; {temporary} root {at}/html;
           server {{ listen 127.0.0.1:{port}; }} }}",
        at = at.display()
    );
    fs::write(at.join("nginx.conf"), configuration)?;
    let mut command = of_image(root, "usr/sbin/nginx");
    command
        .arg("-p")
        .arg(&at)
        .arg("-c")
        .arg(at.join("nginx.conf"));
    measure::die_with_parent(&mut command);
    let child = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start nginx")?;
    let server = Server(child);
    let started = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if started.elapsed() > Duration::from_secs(10) {
            bail!("nginx does not start: see {}", at.join("log").display());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok((server, format!("http://127.0.0.1:{port}/file")))
}
