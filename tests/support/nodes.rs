//! Versions of Node to test on.
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::{image, process::Process};

/// Each line has a V8 of its own.
const WANTED: [&str; 5] = ["18", "20", "22", "24", "26"];

pub struct Node {
    pub line: &'static str,
    executable: PathBuf,
}

impl Node {
    pub fn start(&self, flags: &[&str], program: &Path, arguments: &[&str]) -> Result<Process> {
        Process::spawn(
            std::process::Command::new(&self.executable)
                .args(flags)
                .arg(program)
                .args(arguments)
                .stdin(std::process::Stdio::null())
                .stdout(std::process::Stdio::piped()),
        )
    }
}

/// # Errors
///
/// If one is missing.
pub fn all() -> Result<Vec<Node>> {
    WANTED
        .into_iter()
        .map(|line| {
            let executable = image::cache()
                .join("nodes")
                .join(line)
                .join("package/bin/node");
            ensure!(
                executable.exists(),
                "no Node {line}: `cargo xtask setup test` fetches it"
            );
            Ok(Node { line, executable })
        })
        .collect()
}
