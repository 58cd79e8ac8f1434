//! Disk requests: who made them, how long they took, for which files.

use serde::{Deserialize, Serialize};

use super::{Histogram, ProcessId};

/// What a request asks of its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskOperation {
    Read,
    Write,
    /// That what was written before be on the medium.
    Flush,
    Discard,
    /// Writing zeros, and what zoned devices have of their own.
    Other,
}

impl DiskOperation {
    pub const ALL: [Self; 5] = [
        Self::Read,
        Self::Write,
        Self::Flush,
        Self::Discard,
        Self::Other,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Flush => "flush",
            Self::Discard => "discard",
            Self::Other => "other",
        }
    }

    /// Whether bytes go to or from the device.
    pub fn transfers(self) -> bool {
        matches!(self, Self::Read | Self::Write)
    }

    /// The frame that ends the stack of a request.
    pub fn frame(self, device: &str) -> String {
        format!("[disk {}: {device}]", self.name())
    }
}

/// How a request reaches its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskAccess {
    /// The kernel does not tell.
    Unknown,
    /// Through the page cache.
    Cached,
    /// Past it, `O_DIRECT`.
    Direct,
    /// A block device as a file: its file system's own data, or whoever opened
    /// the device.
    Device,
}

impl DiskAccess {
    /// As shown to people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Unknown => "not told by the kernel",
            Self::Cached => "page cache",
            Self::Direct => "direct I/O",
            Self::Device => "device",
        }
    }
}

/// What a process asked of a device. Exact: counted by the block layer's events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskUse {
    /// Place in [`Disk::devices`].
    pub device: u32,
    pub process: ProcessId,
    pub operation: DiskOperation,
    /// Requests that were done in the recording.
    pub requests: u64,
    pub bytes: u64,
    /// Requests that failed, wholly or in part.
    pub errors: u64,
    /// From submission until the driver got it, sum.
    pub queue_ns: u64,
    /// From then until the device had done it, sum. Of a flush, which the block
    /// layer serves with requests of its own, from submission on.
    pub service_ns: u64,
    pub queue: Histogram,
    pub service: Histogram,
}

/// The part of it that was for one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileUse {
    pub device: u32,
    pub process: ProcessId,
    pub operation: DiskOperation,
    pub access: DiskAccess,
    /// The path that a process had it open by; only the file's name where none
    /// was found to have it open. Of a device, its name.
    pub path: String,
    /// 0 of a device.
    pub inode: u64,
    pub requests: u64,
    pub bytes: u64,
    /// From submission to completion, sum.
    pub ns: u64,
}

/// What a process did with the page cache, bytes in whole pages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheUse {
    pub process: ProcessId,
    /// Made dirty, metadata included: the kernel writes it to the disk later.
    pub dirtied_bytes: u64,
    /// Asked for by reading calls; `None`: this kernel does not tell.
    pub looked_up_bytes: Option<u64>,
    /// Read into the cache by such calls, read-ahead included.
    pub missed_bytes: u64,
    /// Read into the cache by page faults, read-around included.
    pub faulted_bytes: u64,
}

/// Disk requests of a recording; empty when they were not recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    pub recorded: bool,
    /// As the kernel calls them: `sda`, `nvme0n1`.
    pub devices: Vec<String>,
    pub uses: Vec<DiskUse>,
    pub files: Vec<FileUse>,
    pub cache: Vec<CacheUse>,
}
