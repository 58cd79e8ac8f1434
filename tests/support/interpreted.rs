//! Recordings of programs in Python and JavaScript, and what their frames say.
use std::{io::Read as _, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};

use super::{
    folded::{Folded, Stack, plain},
    process::Process,
    profiler,
};

/// A recording of some seconds, rendered.
pub struct Recorded {
    pub report: serde_json::Value,
    pub folded: Folded,
    /// Waits for the GIL.
    pub waits: Folded,
    /// All waits.
    pub off_cpu: Folded,
}

impl Recorded {
    pub fn of(scope: &[&str]) -> Result<Self> {
        Self::lasting(4, scope)
    }

    pub fn lasting(seconds: u32, scope: &[&str]) -> Result<Self> {
        let scratch = tempfile::tempdir()?;
        let saved = scratch.path().join("x.profile");
        let path = saved.to_str().context("a path in UTF-8")?;
        let seconds = seconds.to_string();
        let options = ["--mode", "system", "--frequency", "997", "--duration"];
        let output =
            profiler::run(&[&options[..], &[&seconds], scope, &["--output", path]].concat())?;
        ensure!(
            output.status.success(),
            "the recording failed: {}",
            profiler::messages(&output)
        );
        Self::read(&saved)
    }

    /// One that was saved.
    pub fn read(saved: &Path) -> Result<Self> {
        let folded = |source| -> Result<Folded> {
            let options = ["--format", "folded", "--source", source];
            Folded::parse(&profiler::render_with(saved, &options)?)
        };
        Ok(Self {
            report: serde_json::from_str(&profiler::render(saved, "json")?)?,
            folded: Folded::parse(&profiler::render(saved, "folded")?)?,
            waits: folded("gil-wait")?,
            off_cpu: folded("off-cpu")?,
        })
    }

    /// Percent of the stacks that are whole, of those with frames of the
    /// runtimes whose name starts so.
    pub fn complete(&self, name: &str) -> Result<f64> {
        let runtimes = self.report["quality"]["runtimes"]
            .as_array()
            .context("no quality by runtime")?;
        // Another test's interpreter of this version may just be ending.
        let number = |field: &str| -> f64 {
            runtimes
                .iter()
                .filter(|runtime| {
                    runtime["runtime"]
                        .as_str()
                        .is_some_and(|text| text.starts_with(name))
                })
                .filter_map(|runtime| runtime[field].as_f64())
                .sum()
        };
        ensure!(
            number("stacks") > 200.0,
            "only {} stacks of {name}",
            number("stacks")
        );
        Ok(100.0 * number("complete") / number("stacks"))
    }
}

/// What a program printed until it ended.
pub fn output_of(target: &mut Process, limit: Duration) -> Result<String> {
    target.wait(limit)?;
    let mut text = String::new();
    target
        .child()
        .stdout
        .take()
        .context("no output")?
        .read_to_string(&mut text)?;
    Ok(text)
}

/// Whether something of the stack is missing.
pub fn missing(stack: &Stack) -> bool {
    stack.truncated() || stack.frames.iter().any(|frame| frame.contains("missing"))
}

/// File and line of a frame of an interpreter.
pub fn location(frame: &str) -> Option<(&str, u32)> {
    let inside = frame.strip_suffix(')')?.rsplit_once(" (")?.1;
    let (file, line) = inside.rsplit_once(':')?;
    Some((file, line.parse().ok()?))
}

/// Without the class, which not all versions know.
pub fn function(frame: &str) -> &str {
    let name = plain(frame);
    name.rsplit('.').next().unwrap_or(name)
}
