//! PostgreSQL and Redis out of the containers' image, each with a port and a
//! directory of its own.
use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{
    image,
    process::{self, Process},
    profiler,
};

/// Of all servers here, so that a test can look for it in all that is written.
pub const PASSWORD: &str = "s3cr3t-%-Passwort";
/// The same in a URL.
pub const PASSWORD_IN_URL: &str = "s3cr3t-%25-Passwort";

pub struct Postgres {
    process: Process,
    directory: tempfile::TempDir,
    pub port: u16,
}

impl Postgres {
    /// Starts a new server with these settings beside the usual ones.
    pub fn start(settings: &[&str]) -> Result<Self> {
        let root = image::root_file_system()?;
        let directory = tempfile::tempdir()?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        fs::write(directory.path().join("password"), PASSWORD)?;
        let port = free_port()?;
        let root = root.display();
        // In a mount namespace of its own: nothing is left mounted behind.
        let script = format!(
            "set -e
             mount --bind {own} {root}/mnt
             chroot {root} install -d -o postgres -m 700 /mnt/data
             chroot {root} install -d -o postgres -m 755 /mnt/run
             exec chroot {root} setpriv --reuid postgres --regid postgres --init-groups \
               --pdeathsig KILL env LC_ALL=C.UTF-8 sh -c 'cd /mnt
               bin=$(echo /usr/lib/postgresql/*/bin)
               $bin/initdb -D data -U postgres -A scram-sha-256 --pwfile=password --no-sync >/dev/null
               exec $bin/postgres -D data -p {port} -k /mnt/run -c listen_addresses=127.0.0.1 \
                 -c fsync=off -c shared_preload_libraries=pg_stat_statements {settings}'",
            own = directory.path().display(),
            settings = settings
                .iter()
                .map(|setting| format!("-c {setting}"))
                .collect::<Vec<_>>()
                .join(" "),
        );
        let process = Process::spawn(
            Command::new("unshare")
                .args(["--mount", "--propagation", "private", "sh", "-c", &script])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(fs::File::create(directory.path().join("log"))?),
        )?;
        let server = Self {
            process,
            directory,
            port,
        };
        let ready = process::until(Duration::from_secs(60), || server.sql("SELECT 1").is_ok());
        ensure!(
            ready,
            "PostgreSQL does not start: {}",
            fs::read_to_string(server.directory.path().join("log"))?
        );
        server.sql("CREATE EXTENSION pg_stat_statements")?;
        Ok(server)
    }

    /// psql with a name that the server knows it by.
    pub fn psql(&self, name: &str) -> Result<Command> {
        let mut command = Command::new("chroot");
        command
            .arg(image::root_file_system()?)
            .args(["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"])
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres"])
            .env("PGPASSWORD", PASSWORD)
            .env("PGAPPNAME", name);
        Ok(command)
    }

    /// The answer of psql to a statement.
    pub fn sql(&self, statement: &str) -> Result<String> {
        let answer = process::output(self.psql("test")?.args(["-c", statement]))?;
        Ok(answer.trim_end().to_owned())
    }

    pub fn url(&self, user: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/postgres", self.port)
    }

    /// The directory of its Unix socket.
    pub fn socket_directory(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    /// The report of a probe of this server.
    pub fn probe(&self, options: &[&str]) -> Result<Value> {
        let output = process::any_output(
            profiler::command()
                .args(["postgres", &self.url("postgres"), "--format", "json"])
                .args(options)
                .env("PGPASSWORD", PASSWORD),
        )?;
        json(&output)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // So that it removes what it shares with its children.
        self.process.signal(libc::SIGQUIT);
        let _ = self.process.wait(Duration::from_secs(5));
    }
}

pub struct Redis {
    _process: Process,
    pub port: u16,
}

impl Redis {
    pub fn start(options: &[&str]) -> Result<Self> {
        let port = free_port()?;
        let process = Process::spawn(
            Command::new("chroot")
                .arg(image::root_file_system()?)
                .args(["redis-server", "--port", &port.to_string()])
                .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
                .args(["--enable-debug-command", "yes"])
                .args(options)
                .stdin(Stdio::null())
                .stdout(Stdio::null()),
        )?;
        let server = Self {
            _process: process,
            port,
        };
        let ready = process::until(Duration::from_secs(20), || server.cli(&["PING"]).is_ok());
        ensure!(ready, "Redis does not start");
        Ok(server)
    }

    /// A tool of Redis that is told where the server is.
    pub fn tool(&self, tool: &str) -> Result<Command> {
        let mut command = Command::new("chroot");
        command
            .arg(image::root_file_system()?)
            .args([tool, "-h", "127.0.0.1", "-p", &self.port.to_string()])
            .env("REDISCLI_AUTH", PASSWORD);
        Ok(command)
    }

    /// The answer of redis-cli to a command.
    pub fn cli(&self, words: &[&str]) -> Result<String> {
        let answer = process::output(self.tool("redis-cli")?.arg("-e").args(words))?;
        Ok(answer.trim_end().to_owned())
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn probe(&self, options: &[&str]) -> Result<Value> {
        let output = process::any_output(
            profiler::command()
                .args(["redis", &self.url(), "--format", "json"])
                .args(options),
        )?;
        json(&output)
    }
}

pub fn json(output: &Output) -> Result<Value> {
    ensure!(
        output.status.success(),
        "{}: {}",
        output.status,
        profiler::messages(output)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The finding of this kind whose text holds all of these words.
pub fn finding<'r>(report: &'r Value, kind: &str, words: &[&str]) -> Result<&'r Value> {
    let findings = report["findings"].as_array();
    let found = findings.into_iter().flatten().find(|finding| {
        let text = finding.to_string();
        finding["kind"] == kind && words.iter().all(|word| text.contains(word))
    });
    found.ok_or_else(|| anyhow::anyhow!("no {kind} with {words:?}: {:#}", report["findings"]))
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
