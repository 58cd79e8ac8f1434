//! py-spy from PyPI, whose dumps tests compare with.
use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result};

use crate::{cache, shell};

/// Also the directory's name.
const PY_SPY: &str = "py-spy==0.4.3";

/// Fetches it if it is not there. Returns the binary.
pub fn fetch() -> Result<PathBuf> {
    let directory = cache::once(PY_SPY, |directory| {
        eprintln!("fetching {PY_SPY}");
        shell::output(
            Command::new("python3")
                .args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"])
                .arg(directory)
                .arg(PY_SPY),
        )
        .map(drop)
        .with_context(|| format!("pip cannot fetch {PY_SPY}"))
    })?;
    Ok(directory.join("bin/py-spy"))
}
