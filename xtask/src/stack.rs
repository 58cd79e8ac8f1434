//! `cargo xtask stack up|down`: containers to try the profiler on. The stack
//! itself is code of the package `tests`, which uses it too.
use anyhow::Result;

use crate::{setup, shell, vector_databases};

pub fn stack(arguments: &[String]) -> Result<()> {
    setup::test()?;
    if arguments.iter().any(|word| word == "--demo") {
        vector_databases::fetch()?;
    }
    shell::run(shell::cargo().args(["build", "--quiet", "--package", "tests", "--bin", "stack"]))?;
    shell::run(shell::as_root(shell::target().join("debug/stack"))?.args(arguments))
}
