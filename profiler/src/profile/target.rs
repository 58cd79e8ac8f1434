//! What system calls were about.

use serde::{Deserialize, Serialize};

use super::ProcessId;

/// What a file or peer is to a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// The call passed a path.
    Path,
    /// An open file, by its descriptor.
    File,
    Pipe,
    Socket,
    /// An eventfd, an epoll descriptor and the like.
    Anonymous,
    /// Neither: a descriptor that was not open, an address that could not be read.
    #[default]
    None,
}

/// How the name of a file falls short of its whole path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Partial {
    /// As it was passed, relative to a directory that is not told.
    Relative,
    /// The last component only.
    LastName,
    /// Its first bytes only.
    Cut,
}

/// What the threads of a process did with a call on a file or peer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CallTarget {
    /// `None`: it ended, and the event that says so was lost.
    pub process: Option<ProcessId>,
    /// Place in [`super::Syscalls::names`].
    pub call: u32,
    pub kind: TargetKind,
    /// A path, or protocol and address.
    pub name: String,
    pub partial: Option<Partial>,
    /// Calls that began in the recording and returned.
    pub calls: u64,
    /// Of them, those that failed, and the name of the last error.
    pub errors: u64,
    pub error: Option<String>,
    pub ns: u64,
    pub longest_ns: u64,
}

impl CallTarget {
    /// Adds what was counted apart of the same file or peer.
    pub fn merge(&mut self, other: Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.errors = self.errors.saturating_add(other.errors);
        self.ns = self.ns.saturating_add(other.ns);
        self.longest_ns = self.longest_ns.max(other.longest_ns);
        self.error = other.error.or(self.error.take());
    }

    /// For people.
    pub fn title(&self) -> String {
        match (self.kind, self.partial) {
            (TargetKind::None, _) => "(not open, or not readable)".to_owned(),
            (_, Some(Partial::Cut)) => format!("{}…", self.name),
            (_, Some(Partial::LastName)) => format!("…/{}", self.name),
            (_, Some(Partial::Relative)) => format!("{} (relative)", self.name),
            (_, None) => self.name.clone(),
        }
    }
}
