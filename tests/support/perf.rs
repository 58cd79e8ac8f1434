//! `perf record --call-graph dwarf`, which unwinds offline from copies of the
//! stack: slow, but by other code than ours.
use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Result, ensure};

use super::{
    folded::{Folded, Stack},
    process::{self, Process},
};

/// Starts to record a process for some seconds.
pub fn start(pid: u32, frequency: u32, seconds: u32, data: &Path) -> Result<Process> {
    Process::spawn(
        Command::new("perf")
            .args([
                "record",
                "--quiet",
                "--event",
                "cpu-clock",
                "--call-graph",
                "dwarf,16384",
            ])
            .args([
                "--freq",
                &frequency.to_string(),
                "--pid",
                &pid.to_string(),
                "--output",
            ])
            .arg(data)
            .args(["--", "sleep", &seconds.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    )
}

/// Waits for a recording and reads its stacks.
pub fn finish(mut perf: Process, data: &Path) -> Result<Folded> {
    let status = perf.wait(Duration::from_secs(60))?;
    ensure!(status.success(), "perf record: {status}");
    let text = process::output(
        Command::new("perf")
            .args([
                "script",
                "--no-inline",
                "--fields",
                "comm,ip,sym",
                "--input",
            ])
            .arg(data),
    )?;
    Ok(parse(&text))
}

/// A block of lines a sample: the thread's name, then frames, innermost first.
fn parse(text: &str) -> Folded {
    let stacks = text
        .split("\n\n")
        .filter_map(|block| {
            let mut lines = block.lines().filter(|line| !line.trim().is_empty());
            let process = lines.next()?.trim().to_owned();
            let mut frames: Vec<String> = lines
                .filter_map(|line| {
                    let (_, symbol) = line.trim().split_once(' ')?;
                    Some(symbol.split('+').next().unwrap_or(symbol).to_owned())
                })
                .collect();
            frames.reverse();
            (!frames.is_empty()).then(|| Stack {
                container: "host".to_owned(),
                process,
                frames,
                weight: 1.0,
            })
        })
        .collect();
    Folded { stacks }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_perf_script() {
        let folded = parse("shares \n\t 55d direct\n\t 7f main\n\nshares \n\t 1 alpha+0x1\n\n");
        assert_eq!(folded.stacks.len(), 2);
        assert_eq!(folded.stacks[0].frames, ["main", "direct"]);
        assert_eq!(folded.stacks[1].frames, ["alpha"]);
    }
}
