//! Where large things are kept that are made or fetched once: a machine's, not
//! the work tree's, so that a fresh clone finds them again.
use std::{env, fs, path::PathBuf};

use anyhow::{Context, Result};

pub fn directory(name: &str) -> Result<PathBuf> {
    let base = match env::var_os("PROFILER_TEST_CACHE") {
        Some(directory) => PathBuf::from(directory),
        None if crate::shell::is_root() => PathBuf::from("/var/cache/profiler-tests"),
        None => {
            let home = env::var_os("HOME").context("HOME is not set")?;
            PathBuf::from(home).join(".cache/profiler-tests")
        }
    };
    let directory = base.join(name);
    fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
    Ok(directory)
}
