//! A project for Vite to build: a few files as people write them, and one of
//! each kind as often as projects have such.
use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use super::{image, nodes::Node, process::Process, programs};

/// What `cargo xtask setup test` fetched.
const VITE: &str = "vite@7.3.8";
/// Modules of TypeScript, and as many of CSS and of JSON.
const PARTS: usize = 150;

pub struct Project {
    directory: tempfile::TempDir,
    packages: PathBuf,
}

impl Project {
    pub fn generate() -> Result<Self> {
        let packages = image::cache().join(VITE).join("node_modules");
        ensure!(
            packages.exists(),
            "no {VITE}: `cargo xtask setup test` fetches it"
        );
        let directory = tempfile::tempdir()?;
        let parts = directory.path().join("parts");
        fs::create_dir(&parts)?;
        for entry in fs::read_dir(programs::source("vite"))? {
            let source = entry?.path();
            let name = source.file_name().context("no name")?;
            match name.to_str().and_then(|name| name.strip_prefix("part.")) {
                Some(kind) => generate_parts(&source, kind, &parts)?,
                None => drop(fs::copy(&source, directory.path().join(name))?),
            }
        }
        Ok(Self {
            directory,
            packages,
        })
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where Vite and what it builds with lie.
    pub fn packages(&self) -> &Path {
        &self.packages
    }

    /// Builds it again and again for some time, and once at least.
    pub fn start(&self, node: &Node, seconds: u32) -> Result<Process> {
        let vite = self.packages.join("vite");
        let vite = vite.to_str().context("a path in UTF-8")?;
        let program = self.path().join("build.mjs");
        node.start(&[], &program, &[vite, &seconds.to_string()])
    }
}

/// Each imports two others, so that the graph is as deep as it is wide.
fn generate_parts(template: &Path, kind: &str, into: &Path) -> Result<()> {
    let template = fs::read_to_string(template)?;
    for number in 0..PARTS {
        let text = template
            .replace("NUMBER", &number.to_string())
            .replace("FIRST", &((number * 7 + 1) % PARTS).to_string())
            .replace("SECOND", &((number + PARTS / 2) % PARTS).to_string());
        fs::write(into.join(format!("part{number}.{kind}")), text)?;
    }
    Ok(())
}
