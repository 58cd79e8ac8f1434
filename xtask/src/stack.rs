//! `cargo xtask stack up|down`: containers to try the profiler on. The stack
//! itself is code of the package `tests`, which uses it too.
use anyhow::Result;

use crate::{setup, shell};

pub fn stack(arguments: &[String]) -> Result<()> {
    setup::test()?;
    shell::run(shell::cargo().args(["build", "--quiet", "--package", "tests", "--bin", "stack"]))?;
    shell::run(shell::as_root(shell::target().join("debug/stack"))?.args(arguments))
}
