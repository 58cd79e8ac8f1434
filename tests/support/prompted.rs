//! Programs that begin when they are told to: with a line on standard input.
use std::{
    fs,
    io::{Read, Write},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::process::{self, Process};

/// Starts the program and waits until it waits for its line.
pub fn ready(command: &mut Command) -> Result<Process> {
    let target = Process::spawn(
        command
            // The loader looks into what cargo sets, and does not find it there.
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped()),
    )?;
    let pid = target.pid();
    let waits = process::until(Duration::from_secs(60), || {
        fs::read_to_string(format!("/proc/{pid}/syscall"))
            // read(0, …)
            .is_ok_and(|call| call.starts_with("0 0x0 "))
    });
    ensure!(waits, "the program did not come to read");
    Ok(target)
}

/// Gives it a line.
pub fn go_on(target: &mut Process) -> Result<()> {
    let input = target.child().stdin.as_mut().context("its input")?;
    Ok(input.write_all(b"\n")?)
}

/// What it says until its end.
pub fn rest(target: &mut Process) -> Result<String> {
    let mut said = String::new();
    let mut output = target.child().stdout.take().context("its output")?;
    output.read_to_string(&mut said)?;
    Ok(said)
}
