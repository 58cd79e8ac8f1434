//! Where large things are kept that are made or fetched once: a machine's, not
//! the work tree's, so that a fresh clone finds them again.
use std::{
    env, fs,
    path::{Path, PathBuf},
};

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

/// Makes the directory `name` if it is not there. `make` fills it under
/// another name, so that what was interrupted is not taken for whole. Returns
/// its path.
pub fn once(name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let partial = directory(&format!("{name}.partial"))?;
    let finished = partial.with_extension("");
    fs::remove_dir_all(&partial)?;
    if finished.exists() {
        return Ok(finished);
    }
    fs::create_dir_all(&partial)?;
    make(&partial)?;
    fs::rename(&partial, &finished)
        .with_context(|| format!("cannot keep {}", finished.display()))?;
    Ok(finished)
}
