//! Vite from npm and what it builds with, of these versions, so that the same
//! code is measured everywhere. No script of a package runs.
use std::process::Command;

use anyhow::{Context, Result};

use crate::{cache, shell};

/// Also the directory's name.
const VITE: &str = "vite@7.3.8";
const BUILDS_WITH: [&str; 2] = ["rollup@4.68.7", "esbuild@0.28.2"];

/// Fetches it if it is not there.
pub fn fetch() -> Result<()> {
    cache::once(VITE, |directory| {
        eprintln!("fetching {VITE}");
        shell::output(
            Command::new("npm")
                .args(["install", "--ignore-scripts", "--no-audit", "--no-fund"])
                .arg("--prefix")
                .arg(directory)
                .arg(VITE)
                .args(BUILDS_WITH),
        )
        .map(drop)
        .with_context(|| format!("npm cannot fetch {VITE}"))
    })?;
    Ok(())
}
