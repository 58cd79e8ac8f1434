//! PostgreSQL and Redis out of the containers' image, each with a port and a
//! directory of its own.
use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
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
        Self::start_with(settings, None)
    }

    pub fn start_with(settings: &[&str], certificate: Option<&Certificate>) -> Result<Self> {
        Self::launch(settings, certificate, false)
    }

    /// From a layer of its own over the image, as engines run containers.
    pub fn start_layered(settings: &[&str]) -> Result<Self> {
        Self::launch(settings, None, true)
    }

    fn launch(settings: &[&str], certificate: Option<&Certificate>, layered: bool) -> Result<Self> {
        let image = image::root_file_system()?;
        let directory = tempfile::tempdir()?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        fs::write(directory.path().join("password"), PASSWORD)?;
        for (file, name) in certificate.into_iter().flat_map(Certificate::files) {
            fs::copy(file, directory.path().join(name))?;
        }
        let port = free_port()?;
        let own = directory.path().display();
        let (root, layer) = if layered {
            let root = directory.path().join("root");
            let layer = format!(
                "cd {own}
                 mount -t tmpfs layer {own}/layer
                 mkdir layer/upper layer/work
                 mount -t overlay layer root -o \
                   lowerdir={},upperdir=layer/upper,workdir=layer/work",
                image.display()
            );
            for part in ["root", "layer"] {
                fs::create_dir(directory.path().join(part))?;
            }
            (root, layer)
        } else {
            (image, String::new())
        };
        let root = root.display();
        // In a mount namespace of its own: nothing is left mounted behind.
        let script = format!(
            "set -e
             {layer}
             mount --bind {own} {root}/mnt
             chroot {root} install -d -o postgres -m 700 /mnt/data
             chroot {root} install -d -o postgres -m 755 /mnt/run
             exec chroot {root} setpriv --reuid postgres --regid postgres --init-groups \
               --pdeathsig KILL env LC_ALL=C.UTF-8 sh -c 'cd /mnt
               bin=$(echo /usr/lib/postgresql/*/bin)
               $bin/initdb -D data -U postgres -A scram-sha-256 --pwfile=password --no-sync >/dev/null
               for file in server.*; do [ -e $file ] && install -m 600 $file data; done
               exec $bin/postgres -D data -p {port} -k /mnt/run -c listen_addresses=127.0.0.1 \
                 -c fsync=off -c shared_preload_libraries=pg_stat_statements {settings}'",
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

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// psql with a name that the server knows it by.
    pub fn psql(&self, name: &str) -> Result<Command> {
        let mut command = Command::new("chroot");
        command
            .arg(image::root_file_system()?)
            .args(["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"])
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &self.port.to_string(),
                "-U",
                "postgres",
            ])
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
        json(&output, "postgres")
    }
}

/// A certificate for 127.0.0.1, signed by itself.
pub struct Certificate {
    directory: tempfile::TempDir,
}

impl Certificate {
    pub fn make() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        // The image's openssl writes to its own stdout: it sees no file of ours.
        let script = "cd $(mktemp -d) && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -batch \
            -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 \
            -addext basicConstraints=critical,CA:FALSE -keyout key -out certificate 2>/dev/null \
            && cat certificate key && rm -r $PWD";
        let both = process::output(
            Command::new("chroot")
                .arg(image::root_file_system()?)
                .args(["sh", "-c", script]),
        )?;
        let key = both.find("-----BEGIN PRIVATE KEY").context("no key")?;
        fs::write(directory.path().join("server.crt"), &both[..key])?;
        fs::write(directory.path().join("server.key"), &both[key..])?;
        Ok(Self { directory })
    }

    pub fn files(&self) -> [(PathBuf, &'static str); 2] {
        ["server.crt", "server.key"].map(|name| (self.directory.path().join(name), name))
    }

    /// Of the certificate, without its key.
    pub fn path(&self) -> String {
        self.files()[0].0.display().to_string()
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
    process: Process,
    pub port: u16,
}

impl Redis {
    pub fn start(options: &[&str]) -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new("chroot");
        command
            .arg(image::root_file_system()?)
            .args(["redis-server", "--port", &port.to_string()])
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--enable-debug-command", "yes"])
            .args(options);
        let process = Process::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()))?;
        let server = Self { process, port };
        let ready = process::until(Duration::from_secs(20), || server.cli(&["PING"]).is_ok());
        ensure!(ready, "Redis does not start");
        Ok(server)
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// A server that speaks TLS and nothing else.
    pub fn start_encrypted(certificate: &Certificate) -> Result<Self> {
        let port = free_port()?;
        let root = image::root_file_system()?;
        // Bound in a mount namespace of its own, as for PostgreSQL.
        let script = format!(
            "mount --bind {own} {root}/mnt && exec chroot {root} redis-server --port 0 \
             --tls-port {port} --bind 127.0.0.1 --save '' --appendonly no --tls-auth-clients no \
             --tls-cert-file /mnt/server.crt --tls-key-file /mnt/server.key \
             --tls-ca-cert-file /mnt/server.crt",
            own = certificate.directory.path().display(),
            root = root.display(),
        );
        let process = Process::spawn(
            Command::new("unshare")
                .args(["--mount", "--propagation", "private", "sh", "-c", &script])
                .stdin(Stdio::null())
                .stdout(Stdio::null()),
        )?;
        let ready = process::until(Duration::from_secs(20), || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        ensure!(ready, "Redis does not start");
        Ok(Self { process, port })
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
        json(&output, "redis")
    }
}

/// The report, which is as its schema says.
pub fn json(output: &Output, verb: &str) -> Result<Value> {
    ensure!(
        output.status.success(),
        "{}: {}",
        output.status,
        profiler::messages(output)
    );
    let report = serde_json::from_slice(&output.stdout)?;
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../reports");
    let schema = fs::read_to_string(format!("{directory}/{verb}.schema.json"))?;
    let schema = jsonschema::draft202012::new(&serde_json::from_str(&schema)?)?;
    let errors: Vec<String> = schema
        .iter_errors(&report)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    ensure!(errors.is_empty(), "not as the schema says: {errors:#?}");
    Ok(report)
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

pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
