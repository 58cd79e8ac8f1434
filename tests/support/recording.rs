//! A recording of the whole host that goes on while a test does something.
use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{process::Process, profiler};

/// One that has begun.
pub struct Recording {
    process: Process,
    saved: tempfile::TempPath,
}

impl Recording {
    pub fn start(options: &[&str]) -> Result<Self> {
        Self::begin(profiler::command(), options)
    }

    /// By a profiler with another view of the host.
    pub fn begin(profiler: Command, options: &[&str]) -> Result<Self> {
        Self::begin_in("system", profiler, options)
    }

    /// In another mode.
    pub fn begin_in(mode: &str, mut profiler: Command, options: &[&str]) -> Result<Self> {
        let saved = tempfile::Builder::new()
            .suffix(".profile")
            .tempfile()?
            .into_temp_path();
        let mut process = Process::spawn(
            profiler
                .args(["--mode", mode, "--duration", "120", "--output"])
                .arg(&*saved)
                .args(options)
                .env("RUST_LOG", "profiler=info")
                .stderr(Stdio::piped()),
        )?;
        let messages = process.child().stderr.take().context("its messages")?;
        let mut messages = BufReader::new(messages);
        let mut line = String::new();
        while !line.contains("warmed up") {
            line.clear();
            ensure!(messages.read_line(&mut line)? > 0, "it ended at once");
        }
        // Nothing may fill the pipe.
        std::thread::spawn(move || messages.read_to_end(&mut Vec::new()));
        std::thread::sleep(Duration::from_millis(200));
        Ok(Self { process, saved })
    }

    /// The profiler's process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Ends it; returns its report, and the recording itself.
    pub fn end(mut self) -> Result<(Value, tempfile::TempPath)> {
        self.process.signal(libc::SIGINT);
        let status = self.process.wait(Duration::from_secs(60))?;
        ensure!(status.success(), "the profiler: {status}");
        let report = serde_json::from_str(&profiler::render(&self.saved, "json")?)?;
        Ok((report, self.saved))
    }
}
