//! What a recording is asked for: made by the command line, consumed by the
//! session.

use std::{path::Path, time::Duration};

use thiserror::Error;

use crate::profile::Note;

pub const DEFAULT_DURATION: Duration = Duration::from_secs(60);
pub const DEFAULT_FREQUENCY: u64 = 99;
pub const MAX_FREQUENCY: u64 = 10_000;
/// Longest recording: beyond it a user wants several, to compare.
pub const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);

/// Which parts of the system a recording covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// All of the following.
    #[default]
    Full,
    /// Services are loaded while they are recorded.
    Backend,
    /// Databases are asked while they are recorded.
    Database,
    System,
}

impl Mode {
    pub fn loads_services(self) -> bool {
        matches!(self, Self::Full | Self::Backend)
    }

    pub fn asks_databases(self) -> bool {
        matches!(self, Self::Full | Self::Database)
    }
}

/// Which containers are recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ContainerScope {
    /// The whole host: all containers, and what runs in none.
    #[default]
    All,
    /// Those whose name or id matches one of these globs.
    Patterns(Vec<String>),
}

/// What is recorded beside CPU time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordedSources {
    /// The wall time of threads, and what they wait for.
    pub waits: bool,
    pub syscalls: bool,
    pub disk: bool,
    pub network: bool,
    /// Page faults, and what memory shortage does.
    pub memory: bool,
}

impl RecordedSources {
    /// Whether threads are followed: what all of these count by.
    pub fn follow_threads(self) -> bool {
        self.waits || self.syscalls || self.memory
    }

    pub const ALL: Self = Self {
        waits: true,
        syscalls: true,
        disk: true,
        network: true,
        memory: true,
    };
}

#[derive(Clone, Debug, PartialEq)]
pub struct RecordOptions {
    pub mode: Mode,
    pub duration: Duration,
    /// Samples a second and CPU, 1 to [`MAX_FREQUENCY`].
    pub frequency: u64,
    /// Only these processes; empty for all. Never together with patterns.
    pub pids: Vec<u32>,
    pub containers: ContainerScope,
    pub sources: RecordedSources,
    /// Counting system calls ends when there are so many that it costs much.
    pub guards_calls: bool,
    /// Numbers of the system calls that are counted; `None`: all.
    pub trace: Option<Vec<u32>>,
    /// Phases of PostgreSQL's statements.
    pub statements: bool,
    /// Names of remote addresses are looked up.
    pub resolve_names: bool,
    /// Most of the host's CPU time that the recording may cost, percent; `None`:
    /// whatever it takes.
    pub max_overhead: Option<f64>,
    /// Our own command line for the report, secrets masked.
    pub command_line: String,
}

impl Default for RecordOptions {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            duration: DEFAULT_DURATION,
            frequency: DEFAULT_FREQUENCY,
            pids: Vec::new(),
            containers: ContainerScope::default(),
            sources: RecordedSources::ALL,
            guards_calls: true,
            trace: None,
            statements: false,
            resolve_names: false,
            max_overhead: None,
            command_line: String::new(),
        }
    }
}

impl RecordOptions {
    /// Whether it is told which files and peers system calls are about: when they
    /// were asked for by name, since it costs as much again.
    pub fn tells_targets(&self) -> bool {
        self.sources.syscalls && !self.guards_calls
    }

    /// The scope as the report shows it: `About::scope`.
    pub fn scope(&self) -> String {
        let join = |items: &[String]| items.join(",");
        match (&self.containers, self.pids.is_empty()) {
            (ContainerScope::Patterns(patterns), _) => format!("containers {}", join(patterns)),
            (ContainerScope::All, false) => {
                let pids: Vec<String> = self.pids.iter().map(u32::to_string).collect();
                format!("pids {}", join(&pids))
            }
            (ContainerScope::All, true) => "all".to_string(),
        }
    }

    /// What a reader of the report must know of the parts that were asked for
    /// and that this version does not have.
    pub fn notes(&self) -> Vec<Note> {
        match self.mode {
            Mode::Full => vec![Note::missing(
                "frontend: no section, since this version does not drive a browser",
            )],
            Mode::Backend | Mode::Database | Mode::System => Vec::new(),
        }
    }

    /// Whether the processes asked for are there and are processes. Asked
    /// before the recording, since it would be empty otherwise.
    pub fn check_pids(&self) -> Result<(), OptionError> {
        self.pids
            .iter()
            .try_for_each(|&pid| check_pid(Path::new("/proc"), pid))
    }
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum OptionError {
    #[error("there is no process {0}; `ps -e` lists those that run")]
    NoProcess(u32),
    #[error("{tid} is a thread of process {pid}; use --pid {pid}")]
    IsThread { tid: u32, pid: u32 },
}

fn check_pid(proc: &Path, pid: u32) -> Result<(), OptionError> {
    // /proc/TID exists for threads too, though it is not listed.
    let status = std::fs::read_to_string(proc.join(pid.to_string()).join("status"))
        .map_err(|_| OptionError::NoProcess(pid))?;
    let leader = status
        .lines()
        .find_map(|line| line.strip_prefix("Tgid:"))
        .and_then(|value| value.trim().parse::<u32>().ok());
    match leader {
        Some(leader) if leader != pid => Err(OptionError::IsThread {
            tid: pid,
            pid: leader,
        }),
        _ => Ok(()),
    }
}

/// Reads `2`, `0.5` or `2%`: more than 0, at most 100.
pub fn parse_percent(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches('%').trim_end();
    match number.parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent),
        _ => Err("not a percentage above 0, up to 100".to_string()),
    }
}

/// Reads `60`, `10s`, `1.5m`, `500ms`, `2h`: seconds when there is no unit.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit.trim() {
        "" | "s" | "sec" => 1.0,
        "ms" => 0.001,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        other => return Err(format!("unknown unit `{other}`: use ms, s, m or h")),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| "not a duration: use seconds, or 10s, 2m, 1h".to_string())?;
    // A number that overflows is infinite, and too long like the rest.
    let duration = Duration::try_from_secs_f64(number * seconds).unwrap_or(Duration::MAX);
    if duration < Duration::from_millis(1) {
        return Err("a recording takes at least 1ms".to_string());
    }
    if duration > MAX_DURATION {
        return Err("a recording takes at most 24h".to_string());
    }
    Ok(duration)
}

/// Makes the scope of what `--containers` was given. `all` wins.
pub fn container_scope(given: &[String]) -> ContainerScope {
    let patterns: Vec<String> = given
        .iter()
        .map(|pattern| pattern.trim().to_string())
        .filter(|pattern| !pattern.is_empty())
        .collect();
    if patterns.is_empty() || patterns.iter().any(|pattern| pattern == "all") {
        ContainerScope::All
    } else {
        ContainerScope::Patterns(patterns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, milliseconds) in [
            ("60", 60_000),
            ("10s", 10_000),
            ("2m", 120_000),
            ("1.5m", 90_000),
            ("500ms", 500),
            ("1h", 3_600_000),
            (" 5 ", 5_000),
            ("5 s", 5_000),
            ("0.25", 250),
            ("24h", 86_400_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        let huge = "9".repeat(400);
        for text in [
            "", "s", "-5", "0", "0ms", "5d", "1.2.3", "nan", "inf", "25h", "5s5", &huge,
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn scopes() {
        let given = |items: &[&str]| items.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(container_scope(&[]), ContainerScope::All);
        assert_eq!(
            container_scope(&given(&["web", "all"])),
            ContainerScope::All
        );
        assert_eq!(
            container_scope(&given(&["web-*", " db "])),
            ContainerScope::Patterns(given(&["web-*", "db"]))
        );
        let mut options = RecordOptions::default();
        assert_eq!(options.scope(), "all");
        options.pids = vec![4, 5];
        assert_eq!(options.scope(), "pids 4,5");
        options.pids.clear();
        options.containers = ContainerScope::Patterns(given(&["web-*", "db"]));
        assert_eq!(options.scope(), "containers web-*,db");
    }

    #[test]
    fn full_says_what_is_not_there() {
        let notes = RecordOptions::default().notes();
        assert!(notes.iter().any(|note| note.text.starts_with("frontend")));
        let system = RecordOptions {
            mode: Mode::System,
            ..RecordOptions::default()
        };
        assert!(system.notes().is_empty());
    }

    #[test]
    fn pids_must_be_processes() {
        let us = std::process::id();
        let proc = Path::new("/proc");
        assert_eq!(check_pid(proc, us), Ok(()));
        assert_eq!(
            check_pid(proc, u32::MAX),
            Err(OptionError::NoProcess(u32::MAX))
        );
        let (tell, tid) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            // SAFETY: it has no arguments and cannot fail.
            let tid = unsafe { libc::gettid() };
            tell.send(tid as u32).expect("the test waits");
            ended.recv().ok();
        });
        let tid = tid.recv().expect("the thread runs");
        assert_eq!(
            check_pid(proc, tid),
            Err(OptionError::IsThread { tid, pid: us })
        );
        drop(end);
        thread.join().expect("the thread ended");
    }
}
