//! `cargo xtask dist`: one static binary that runs on any x86-64 Linux.
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{setup, shell};

const TARGET: &str = "x86_64-unknown-linux-gnu";

pub fn build() -> Result<PathBuf> {
    setup::build()?;
    let mut flags = env::var("RUSTFLAGS").unwrap_or_default();
    flags.push_str(" -C target-feature=+crt-static");
    // The target is named although it is the host's: otherwise the flag would
    // reach procedural macros as well, which must be dynamic.
    shell::run(shell::cargo().env("RUSTFLAGS", flags.trim()).args([
        "build",
        "--release",
        "--locked",
        "--package",
        "profiler",
        "--target",
        TARGET,
    ]))?;
    let built = shell::target().join(TARGET).join("release/profiler");
    let directory = shell::target().join("dist");
    fs::create_dir_all(&directory)?;
    let binary = directory.join("profiler");
    // A copy in place would fail while an old one is running.
    let new = directory.join("profiler.new");
    fs::copy(&built, &new).with_context(|| format!("copying {}", built.display()))?;
    fs::rename(&new, &binary)?;
    require_static(&binary)?;
    Ok(binary)
}

/// A static binary names no interpreter and no library.
fn require_static(binary: &Path) -> Result<()> {
    let text = shell::output(
        Command::new("readelf")
            .args(["--wide", "--program-headers", "--dynamic"])
            .arg(binary),
    )?;
    for sign in ["INTERP", "(NEEDED)"] {
        if let Some(line) = text.lines().find(|line| line.contains(sign)) {
            bail!("{} is not static: {}", binary.display(), line.trim());
        }
    }
    Ok(())
}
