//! MariaDB with the libraries of the containers' image, each with a port and a
//! directory of its own.
use std::{
    env, fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{ChildStdin, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{
    databases::{Certificate, PASSWORD, free_port, json},
    image,
    process::{self, Process},
    profiler,
};

/// The account of the probe, which may not change anything.
pub const MONITOR: &str = "monitor";
/// The account of the tests' own client.
const TESTER: &str = "tester";

/// Where `cargo xtask` unpacks it.
fn packages() -> Result<PathBuf> {
    let packages = image::cache().join("mariadb-bookworm");
    ensure!(
        packages.is_dir(),
        "there is no {}: cargo xtask test fetches it",
        packages.display()
    );
    Ok(packages)
}

pub struct Mariadb {
    process: Process,
    directory: tempfile::TempDir,
    pub port: u16,
}

impl Mariadb {
    /// Starts a new server with these settings beside the usual ones.
    pub fn start(settings: &[&str]) -> Result<Self> {
        Self::start_with(settings, None)
    }

    pub fn start_with(settings: &[&str], certificate: Option<&Certificate>) -> Result<Self> {
        let root = image::root_file_system()?;
        let directory = tempfile::tempdir()?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        for (file, name) in certificate.into_iter().flat_map(Certificate::files) {
            let copy = directory.path().join(name);
            fs::copy(file, &copy)?;
            // It has no worth but for this test.
            fs::set_permissions(copy, fs::Permissions::from_mode(0o644))?;
        }
        fs::write(
            directory.path().join("accounts.sql"),
            format!(
                "CREATE USER {TESTER}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n\
                 GRANT ALL ON *.* TO {TESTER}@'127.0.0.1';\n\
                 CREATE USER {MONITOR}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n\
                 CREATE USER {MONITOR}@localhost IDENTIFIED BY '{PASSWORD}';\n\
                 GRANT SELECT, PROCESS, SLAVE MONITOR ON *.* TO {MONITOR}@'127.0.0.1';\n\
                 GRANT SELECT, PROCESS, SLAVE MONITOR ON *.* TO {MONITOR}@localhost;\n\
                 CREATE USER limited@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n\
                 CREATE DATABASE shop;\n"
            ),
        )?;
        let port = free_port()?;
        // In a mount namespace of its own: nothing is left mounted behind.
        let script = format!(
            "set -e
             mount --bind {own} {root}/mnt
             mount --bind {packages} {root}/opt
             chroot {root} install -d -o nobody -m 700 /mnt/data
             chroot {root} install -d -o nobody -m 755 /mnt/run
             exec chroot {root} setpriv --reuid nobody --regid nogroup --clear-groups \
               --pdeathsig KILL sh -c 'cd /mnt
               export LC_ALL=C.UTF-8 LD_LIBRARY_PATH=/opt/lib/x86_64-linux-gnu:/opt/usr/lib/x86_64-linux-gnu
               server=\"/opt/usr/sbin/mariadbd --no-defaults --basedir=/opt/usr \
                 --lc-messages-dir=/opt/usr/share/mysql --datadir=/mnt/data \
                 --character-sets-dir=/opt/usr/share/mysql/charsets --innodb-use-native-aio=0 \
                 --innodb-flush-method=nosync --innodb-log-file-size=4M\"
               {{ printf \"CREATE DATABASE mysql;\\nUSE mysql;\\n\"
                 for part in system_tables performance_tables system_tables_data; do
                   cat /opt/usr/share/mysql/mysql_$part.sql; done
               }} | $server --bootstrap
               exec $server --port={port} --bind-address=127.0.0.1 --socket=/mnt/run/socket \
                 --pid-file=/mnt/run/pid --init-file=/mnt/accounts.sql --innodb-lock-wait-timeout=60 \
                 --innodb-buffer-pool-size=32M {settings}'",
            own = directory.path().display(),
            packages = packages()?.display(),
            root = root.display(),
            settings = settings.join(" "),
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
            "MariaDB does not start: {}",
            fs::read_to_string(server.directory.path().join("log"))?
        );
        Ok(server)
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The server's own client, run by the image's loader.
    pub fn client(&self) -> Result<Command> {
        let (root, packages) = (image::root_file_system()?, packages()?);
        let libraries = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"];
        let paths = [&root, &packages];
        let paths = paths.map(|directory| libraries.map(|part| directory.join(part)));
        let mut command = Command::new(root.join("lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"));
        command
            .arg("--library-path")
            .arg(env::join_paths(paths.concat()).context("a path with a colon")?)
            .arg(packages.join("usr/bin/mariadb"))
            .args(["--no-defaults", "--batch", "--skip-column-names"])
            .args(["--unbuffered", "--protocol=tcp", "--host=127.0.0.1"])
            .arg(format!("--port={}", self.port))
            .args([&format!("--user={TESTER}"), "--database=shop"])
            .env("MYSQL_PWD", PASSWORD);
        Ok(command)
    }

    /// The answer of the client to a statement: columns with tabs between them.
    pub fn sql(&self, statement: &str) -> Result<String> {
        let answer = process::output(self.client()?.args(["-e", statement]))?;
        Ok(answer.trim_end().to_owned())
    }

    pub fn url(&self, user: &str) -> String {
        format!("mysql://{user}@127.0.0.1:{}", self.port)
    }

    /// Its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("run/socket")
    }

    /// The report of a probe of this server.
    pub fn probe(&self, options: &[&str]) -> Result<Value> {
        self.probe_as(MONITOR, options)
    }

    pub fn probe_as(&self, user: &str, options: &[&str]) -> Result<Value> {
        let output = process::any_output(
            profiler::command()
                .args(["mysql", &self.url(user), "--format", "json"])
                .args(options)
                .env("MYSQL_PWD", PASSWORD),
        )?;
        json(&output, "mysql")
    }
}

/// The client on a connection of its own, which lives as long as this.
pub struct Client {
    _process: Process,
    input: ChildStdin,
}

impl Client {
    pub fn start(server: &Mariadb, statements: &str) -> Result<Self> {
        let mut process = Process::spawn(
            server
                .client()?
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        )?;
        let input = process.child().stdin.take().context("no input")?;
        let mut client = Self {
            _process: process,
            input,
        };
        client.run(statements)?;
        Ok(client)
    }

    /// Runs more, after what it runs.
    pub fn run(&mut self, statements: &str) -> Result<()> {
        Ok(writeln!(self.input, "{statements}")?)
    }
}
