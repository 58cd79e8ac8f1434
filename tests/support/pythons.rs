//! Interpreters of Python to test on: those of pyenv, the distribution's, and
//! those of other Debian releases in roots of their own.
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Result, ensure};

use super::{
    image,
    process::{self, Process},
};

/// Versions that must be there: each keeps its frames in another way.
const WANTED: [&str; 7] = ["3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14"];

pub struct Interpreter {
    /// "3.12 pyenv", for messages.
    pub name: String,
    pub version: String,
    executable: PathBuf,
    /// The root directory it runs in, if not the host's.
    root: Option<PathBuf>,
}

impl Interpreter {
    /// Runs a program with it; the program is copied into its root.
    pub fn start(&self, program: &Path, arguments: &[&str]) -> Result<Process> {
        let file = program.file_name().unwrap_or_default();
        let mut command = match &self.root {
            None => {
                let mut command = Command::new(&self.executable);
                command.arg(program);
                command
            }
            Some(root) => {
                fs::copy(program, root.join("tmp").join(file))?;
                let mut command = Command::new("chroot");
                command
                    .arg(root)
                    .arg(&self.executable)
                    .arg(Path::new("/tmp").join(file));
                command
            }
        };
        Process::spawn(
            command
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::piped()),
        )
    }

    /// What the report calls it, without the last number.
    pub fn runtime(&self) -> String {
        format!("CPython {}.", self.version)
    }

    /// Its library, if it is one that other programs can hold.
    pub fn library(&self) -> Option<PathBuf> {
        let library = self
            .home()?
            .join(format!("lib/libpython{}.so.1.0", self.version));
        library.exists().then_some(library)
    }

    /// The directory it is installed in, if it is not the system's.
    pub fn home(&self) -> Option<PathBuf> {
        match self.root {
            None => Some(self.executable.parent()?.parent()?.to_owned()),
            Some(_) => None,
        }
    }
}

/// What `cargo xtask setup test` fetched.
const PY_SPY: &str = "py-spy==0.4.3";

/// Functions and lines, outermost first, of a thread's frames in a file: what
/// py-spy finds while the process is stopped. `None` when it does not know the
/// interpreter.
pub fn dump(pid: u32, file: &str, thread: &str) -> Result<Option<Vec<(String, u32)>>> {
    let py_spy = image::cache().join(PY_SPY).join("bin/py-spy");
    ensure!(
        py_spy.exists(),
        "no {PY_SPY}: `cargo xtask setup test` fetches it"
    );
    let output = process::any_output(Command::new(py_spy).args([
        "dump",
        "--json",
        "--pid",
        &pid.to_string(),
    ]))?;
    if !output.status.success() {
        return Ok(None);
    }
    let threads: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    // It knows names of threads where the interpreter keeps them readable.
    let frames = threads
        .as_array()
        .into_iter()
        .flatten()
        .filter(|it| it["thread_name"] == thread || it["thread_name"].is_null())
        .filter_map(|it| it["frames"].as_array())
        .map(|frames| {
            frames
                .iter()
                .rev()
                .filter(|frame| {
                    frame["filename"]
                        .as_str()
                        .is_some_and(|name| name.ends_with(file))
                })
                .filter_map(|frame| {
                    let line = u32::try_from(frame["line"].as_u64()?).ok()?;
                    // Qualified from 3.11 on in newer versions of it.
                    let name = frame["name"].as_str()?.rsplit('.').next()?.to_owned();
                    Some((name, line))
                })
                .collect::<Vec<_>>()
        })
        .find(|frames| !frames.is_empty() && frames[0].0 != "<module>");
    Ok(frames)
}

/// All that are here.
///
/// # Errors
///
/// Names the versions that are missing.
pub fn all() -> Result<Vec<Interpreter>> {
    let mut found = Vec::new();
    let home = PathBuf::from(env::var_os("HOME").unwrap_or_default());
    let pyenv = env::var_os("PYENV_ROOT").map_or_else(|| home.join(".pyenv"), PathBuf::from);
    for entry in fs::read_dir(pyenv.join("versions")).into_iter().flatten() {
        let directory = entry?.path();
        let full = directory
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        add(
            &mut found,
            &full,
            "pyenv",
            directory.join("bin/python3"),
            None,
        );
    }
    for version in WANTED {
        let executable = PathBuf::from(format!("/usr/bin/python{version}"));
        add(&mut found, version, "of this system", executable, None);
    }
    for entry in fs::read_dir(image::cache().join("python-roots"))
        .into_iter()
        .flatten()
    {
        let root = entry?.path();
        let suite = root
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        for version in WANTED {
            let executable = PathBuf::from(format!("/usr/bin/python{version}"));
            add(&mut found, version, &suite, executable, Some(root.clone()));
        }
    }
    let missing: Vec<&str> = WANTED
        .into_iter()
        .filter(|wanted| {
            !found
                .iter()
                .any(|python: &Interpreter| python.version == *wanted)
        })
        .collect();
    ensure!(
        missing.is_empty(),
        "no CPython {}: `cargo xtask test` fetches those that Debian has, the others come from \
         `pyenv install`",
        missing.join(", ")
    );
    found.sort_by_key(|python| order(&python.version));
    Ok(found)
}

fn order(version: &str) -> u32 {
    version
        .rsplit('.')
        .next()
        .and_then(|minor| minor.parse().ok())
        .unwrap_or_default()
}

fn add(
    found: &mut Vec<Interpreter>,
    full: &str,
    origin: &str,
    executable: PathBuf,
    root: Option<PathBuf>,
) {
    let version = full.splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
    let outside = root.as_deref().map_or_else(
        || executable.clone(),
        |root| root.join(executable.strip_prefix("/").unwrap_or(&executable)),
    );
    if WANTED.contains(&version.as_str()) && outside.exists() {
        found.push(Interpreter {
            name: format!("{full} {origin}"),
            version,
            executable,
            root,
        });
    }
}
