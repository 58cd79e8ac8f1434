//! Real containers under load: PostgreSQL with pgbench, Redis with
//! redis-benchmark, nginx with wrk, web services in Python and JavaScript, and
//! a program whose shares are known.
//!
//! A process of its own, the holder, starts the engine and the containers in a
//! private mount namespace and takes them down when its standard input closes.
//! So they go when a test ends, however it ends: the kernel closes the pipe of a
//! killed test as well.
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use super::{cgroups, process};

pub use super::cgroups::Version;

/// Name, and what it runs. The loads end by themselves after `$LOAD` seconds,
/// and every address is the machine's own loopback.
pub const CONTAINERS: &[(&str, &str)] = &[
    (
        "postgres",
        "bin=$(echo /usr/lib/postgresql/*/bin); \
         run='setpriv --reuid=postgres --regid=postgres --clear-groups'; \
         mkdir /tmp/pg && chown postgres /tmp/pg && cd /tmp/pg && \
         $run $bin/initdb --auth=trust --no-sync -D /tmp/pg/data >/dev/null && \
         exec $run $bin/postgres -D /tmp/pg/data -p 15432 -k /tmp -c fsync=off \
             -c listen_addresses=127.0.0.1",
    ),
    (
        "pgbench",
        "bin=$(echo /usr/lib/postgresql/*/bin); export PGHOST=127.0.0.1 PGPORT=15432 PGUSER=postgres; \
         until $bin/pg_isready -q; do sleep 0.2; done; \
         $bin/pgbench -q -i -s 2 postgres && exec $bin/pgbench -c 2 -T $LOAD postgres",
    ),
    (
        "redis",
        "exec redis-server --bind 127.0.0.1 --port 16379 --save '' --appendonly no",
    ),
    (
        "redis-load",
        "until redis-cli -p 16379 ping; do sleep 0.2; done; \
         exec timeout $LOAD redis-benchmark -p 16379 -c 4 -t set -n 100000000 -q",
    ),
    (
        "nginx",
        "printf 'worker_processes 1; error_log stderr; pid /tmp/nginx.pid; events {} http { access_log off; \
         server { listen 127.0.0.1:18080; root /usr/share; \
         location /api/ { proxy_pass http://127.0.0.1:18081/; } } }' >/tmp/nginx.conf; \
         exec nginx -c /tmp/nginx.conf -g 'daemon off;'",
    ),
    (
        "wrk",
        "sleep 1; exec wrk -t 1 -c 4 -d ${LOAD}s http://127.0.0.1:18080/common-licenses/GPL-2",
    ),
    (
        "node",
        "exec node -e 'function inner(n) { let s = 0; for (let i = 0; i < n; i++) s += Math.sqrt(i); return s } \
         function outer() { return inner(20000) } \
         const end = Date.now() + 1000 * process.env.LOAD; \
         (function turn() { for (let i = 0; i < 20; i++) outer(); \
         if (Date.now() < end) setTimeout(turn, 5) })()'",
    ),
    (
        "python",
        "exec python3 -c '
import os, time
def inner(n):
    return sum(i * i for i in range(n))
def outer():
    return inner(2000)
end = time.time() + float(os.environ[\"LOAD\"])
while time.time() < end:
    for _ in range(20):
        outer()
    time.sleep(0.005)
'",
    ),
    (
        "fastapi",
        "cd /programs && exec python3 -m uvicorn service:app --host 127.0.0.1 --port 18081 \
             --log-level error",
    ),
    (
        "gunicorn",
        "cd /programs && exec gunicorn -w 4 -b 127.0.0.1:18082 --log-level error wsgi:app",
    ),
    (
        "express",
        "cd /programs && NODE_PATH=/usr/share/nodejs exec node service.js",
    ),
    ("numpy", "exec python3 /programs/arrays.py $LOAD"),
    (
        "web-load",
        "for port in 18081 18082 18083; do \
         until wrk -t 1 -c 1 -d 1s http://127.0.0.1:$port/ >/dev/null 2>&1; do sleep 0.3; done; done; \
         wrk -t 1 -c 2 -d ${LOAD}s http://127.0.0.1:18080/api/orders & \
         wrk -t 1 -c 2 -d ${LOAD}s http://127.0.0.1:18082/ & \
         exec wrk -t 1 -c 2 -d ${LOAD}s http://127.0.0.1:18083/",
    ),
    ("shares", "exec timeout $LOAD /programs/shares-static 0"),
];

/// Containers with Python in them, and with JavaScript.
pub const PYTHON_PROGRAMS: &[&str] = &["python", "fastapi", "gunicorn", "numpy"];
pub const JAVASCRIPT_PROGRAMS: &[&str] = &["node", "express"];

/// Containers whose programs are C, and so unwound from `.eh_frame` alone.
pub const C_PROGRAMS: &[&str] = &[
    "postgres",
    "pgbench",
    "redis",
    "redis-load",
    "nginx",
    "wrk",
    "shares",
];

pub struct Stack {
    pub version: Version,
    holder: Child,
}

pub fn run_directory(version: Version) -> PathBuf {
    Path::new("/run/profiler-tests").join(version.name())
}

pub fn docker_host(version: Version) -> String {
    format!("unix://{}/docker.sock", run_directory(version).display())
}

pub fn docker(version: Version) -> Command {
    let mut command = Command::new("docker");
    command.env("DOCKER_HOST", docker_host(version));
    command
}

impl Stack {
    /// Starts the containers through the program `stack` and waits until each
    /// of them works.
    pub fn start(version: Version, holder: &Path) -> Result<Self> {
        Self::hold(version, holder, &[])
    }

    /// Starts the engine alone, for containers of a test's own.
    pub fn start_empty(version: Version, holder: &Path) -> Result<Self> {
        Self::hold(version, holder, &["--empty"])
    }

    /// Starts the shop of [`super::demo`], with its faults or `fixed`.
    pub fn start_demo(version: Version, holder: &Path, fixed: bool) -> Result<Self> {
        let options: &[&str] = if fixed {
            &["--demo", "--fixed"]
        } else {
            &["--demo"]
        };
        Self::hold(version, holder, options)
    }

    fn hold(version: Version, holder: &Path, options: &[&str]) -> Result<Self> {
        let mut command = Command::new(holder);
        command
            .args(["hold", "--cgroup", version.name()])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut holder = {
            use std::os::unix::process::CommandExt;
            // Ctrl-C at the terminal is for the test; the holder sees the pipe.
            command
                .process_group(0)
                .spawn()
                .context("cannot start the holder of the stack")?
        };
        let stdout = holder.stdout.take().context("the holder has no output")?;
        let stack = Self { version, holder };
        let mut said = String::new();
        BufReader::new(stdout).read_line(&mut said)?;
        ensure!(
            said == "ready\n",
            "the container stack did not start: {said}"
        );
        Ok(stack)
    }

    /// A command as run on a host of this cgroup version, with the engine found
    /// as a user would let it be found.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(namespace(self.holder.id(), "mnt"))
            .arg("--")
            .arg(program)
            .env("DOCKER_HOST", docker_host(self.version));
        command
    }

    /// As [`Self::command`], with the containers' loopback for its own: as on a
    /// host whose network they have.
    pub fn command_in_network(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["mnt", "net"].map(|kind| namespace(self.holder.id(), kind)))
            .arg("--")
            .arg(program)
            .env("DOCKER_HOST", docker_host(self.version));
        command
    }

    /// Names and ids of the containers.
    pub fn containers(&self) -> Result<Vec<(String, String)>> {
        containers(self.version)
    }
}

/// A namespace of a process, as an option of nsenter.
fn namespace(pid: u32, kind: &str) -> String {
    let option = if kind == "mnt" { "mount" } else { kind };
    format!("--{option}=/proc/{pid}/ns/{kind}")
}

impl Drop for Stack {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        if !process::until(Duration::from_secs(60), || {
            !matches!(self.holder.try_wait(), Ok(None))
        }) {
            let _ = self.holder.kill();
            let _ = self.holder.wait();
        }
    }
}

pub fn containers(version: Version) -> Result<Vec<(String, String)>> {
    let text = process::output(docker(version).args([
        "ps",
        "--no-trunc",
        "--format",
        "{{.Names}} {{.ID}}",
    ]))?;
    Ok(text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, id)| (name.to_owned(), id.to_owned()))
        .collect())
}

/// Waits until every container uses CPU time, which it does under load only.
pub fn wait_for_load(version: Version) -> Result<()> {
    let mut idle = Vec::new();
    let busy = process::until(Duration::from_secs(90), || {
        let Ok(containers) = containers(version) else {
            return false;
        };
        let before: Vec<_> = containers
            .iter()
            .map(|(_, id)| cgroups::cpu(version, id))
            .collect();
        std::thread::sleep(Duration::from_secs(1));
        idle = CONTAINERS.iter().map(|(name, _)| *name).collect();
        for ((name, id), before) in containers.iter().zip(before) {
            if let (Ok(before), Ok(after)) = (before, cgroups::cpu(version, id))
                && after - before > 5e6
            {
                idle.retain(|idle| idle != name);
            }
        }
        idle.is_empty()
    });
    if !busy {
        let mut message = format!("containers without work: {idle:?}");
        for name in &idle {
            if let Ok(output) = process::any_output(docker(version).args(["logs", name])) {
                let text = String::from_utf8_lossy(&output.stderr).into_owned();
                message += &format!("; {name}: {}", text.lines().last().unwrap_or_default());
            }
        }
        bail!(message);
    }
    Ok(())
}

/// Ids of the containers that an engine's files know, running or not.
pub fn known_ids(data: &Path) -> Vec<String> {
    fs::read_dir(data.join("containers"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect()
}
