//! When, where and how a recording was made.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// Version of the profiler that recorded it.
    pub profiler_version: String,
    pub host: String,
    /// `uname -r` and machine.
    pub kernel: String,
    pub architecture: String,
    pub cpus_online: u32,
    /// As `/proc/cpuinfo` names it; empty when it does not.
    #[serde(default)]
    pub cpu_model: String,
    /// Of the profiler itself, secrets masked.
    pub command_line: String,
    /// Start, milliseconds after the Unix epoch.
    pub start_unix_ms: u64,
    /// What was recorded, not what was asked for.
    pub duration_ns: u64,
    pub frequency_hz: u64,
    /// The sampling clock: `cpu-clock` or `cycles`.
    pub clock: String,
    /// `all`, or which pids or containers.
    pub scope: String,
    /// Why it ended before its time, empty if it did not.
    pub interrupted: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoteKind {
    /// Good to know.
    #[default]
    Info,
    /// Something was not measured, or not fully.
    Missing,
    /// Something went wrong that a user should repair.
    Warning,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    pub kind: NoteKind,
    /// One line: what, why, and what to do about it.
    pub text: String,
}

impl Note {
    /// Something that the report does not have.
    pub fn missing(text: impl Into<String>) -> Self {
        Self {
            kind: NoteKind::Missing,
            text: text.into(),
        }
    }

    pub fn info(text: impl Into<String>) -> Self {
        Self {
            kind: NoteKind::Info,
            text: text.into(),
        }
    }
}
