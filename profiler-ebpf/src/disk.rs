//! Disk requests: what is counted of them, by device, process and file.

use crate::{COMM_LENGTH, Histogram, ProcessKey};

/// What a request asks of its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Operation {
    Read = 0,
    Write = 1,
    /// That what was written before be on the medium.
    Flush = 2,
    Discard = 3,
    /// Writing zeros, and what zoned devices have of their own.
    Other = 4,
}

impl Operation {
    pub const ALL: [Self; 5] = [
        Self::Read,
        Self::Write,
        Self::Flush,
        Self::Discard,
        Self::Other,
    ];

    pub fn from_u32(value: u32) -> Option<Self> {
        Self::ALL.get(value as usize).copied()
    }

    /// Of `request.cmd_flags`, `enum req_op` in include/linux/blk_types.h, 5.10
    /// to 7.2. `None`: commands of a driver's own, and the requests that the
    /// block layer makes to serve flushes that were asked for, which are
    /// counted where they are asked for.
    #[inline(always)]
    pub const fn of_request(flags: u32, bytes: u32) -> Option<Self> {
        const OPERATION_MASK: u32 = 0xff;
        Some(match flags & OPERATION_MASK {
            0 => Self::Read,
            // blkdev_issue_flush: a write of nothing with REQ_PREFLUSH.
            1 if bytes == 0 => Self::Flush,
            1 => Self::Write,
            2 => return None,
            // REQ_OP_SECURE_ERASE is 5.
            3 | 5 => Self::Discard,
            operation if operation < 32 => Self::Other,
            _ => return None,
        })
    }

    /// Whether bytes go to or from the device.
    #[inline(always)]
    pub const fn transfers(self) -> bool {
        matches!(self, Self::Read | Self::Write)
    }
}

/// Byte offsets in structures of the block layer and of file systems. Read
/// only while disk requests are recorded; any may be absent.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct DiskOffsets {
    pub request_queue: u32,
    /// `request.rq_disk`, up to 5.16; from then on `queue_disk`.
    pub request_disk: u32,
    pub queue_disk: u32,
    pub request_flags: u32,
    pub request_length: u32,
    pub request_bio: u32,
    pub request_start: u32,
    pub disk_major: u32,
    pub disk_first_minor: u32,
    pub bio_vectors: u32,
    pub bio_vector_index: u32,
    /// `bio.bi_blkg`, absent without block I/O cgroups.
    pub bio_group: u32,
    pub group_cgroup: u32,
    pub cgroup_state: u32,
    pub page_mapping: u32,
    /// `page.compound_head`, or `compound_info` of newer kernels.
    pub page_head: u32,
    /// Order of a large folio, one byte.
    pub folio_order: u32,
    pub mapping_host: u32,
    pub inode_number: u32,
    pub inode_device: u32,
    pub inode_file_system: u32,
    pub inode_names: u32,
    pub file_system_device: u32,
    pub name_link: u32,
    pub name_text: u32,
    /// Bit of `page.flags` that a large folio has, `PG_head`.
    pub large_folio: u32,
    /// Not zero when the hooks of requests pass the queue first (5.10).
    pub passes_queue: u32,
}

/// Who asks which device for what. Key of `DISK_USES`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct DiskKey {
    pub process: ProcessKey,
    /// Of the process; of what a kernel thread writes for others, of whom it
    /// writes it for.
    pub cgroup_v2: u64,
    pub cgroup_v1: u64,
    /// `dev_t` as the kernel has it: the minor number in the low 20 bits.
    pub device: u32,
    /// An [`Operation`].
    pub operation: u32,
}

/// How a request reaches its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Access {
    /// The kernel does not tell.
    Unknown = 0,
    /// Through the page cache.
    Cached = 1,
    /// Past it, `O_DIRECT`.
    Direct = 2,
    /// A block device as a file: its file system's own data, or whoever opened
    /// the device.
    Device = 3,
}

impl Access {
    pub fn from_u32(value: u32) -> Self {
        [Self::Cached, Self::Direct, Self::Device]
            .into_iter()
            .find(|access| *access as u32 == value)
            .unwrap_or(Self::Unknown)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FileId {
    pub inode: u64,
    /// `dev_t` of the file system it lies in.
    pub file_system: u32,
    /// An [`Access`].
    pub access: u32,
}

/// Key of `DISK_FILES`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FileKey {
    pub who: DiskKey,
    pub file: FileId,
}

/// Longest name of a file that is kept, without the terminator; longer ones are
/// cut.
pub const FILE_NAME_LENGTH: usize = 63;

#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct FileUse {
    /// Requests that are done.
    pub requests: u64,
    pub bytes: u64,
    /// From submission to completion, of all requests together.
    pub nanoseconds: u64,
    /// The last component of its path, up to the first zero.
    pub name: [u8; FILE_NAME_LENGTH + 1],
}

/// What was asked for and done.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct DiskUse {
    /// Requests that are done.
    pub requests: u64,
    pub bytes: u64,
    pub errors: u64,
    /// From submission until the driver got it, sum and longest.
    pub queue_ns: u64,
    pub queue_max_ns: u64,
    /// From then until the device had done it. Of a flush, from submission on.
    pub service_ns: u64,
    pub service_max_ns: u64,
    /// Bytes for which no stack was taken yet.
    pub residual: u64,
    pub kernel_thread: u32,
    pub reserved: u32,
    pub process_name: [u8; COMM_LENGTH],
    pub queue: Histogram,
    pub service: Histogram,
}

impl DiskUse {
    pub const NEW: Self = Self {
        requests: 0,
        bytes: 0,
        errors: 0,
        queue_ns: 0,
        queue_max_ns: 0,
        service_ns: 0,
        service_max_ns: 0,
        residual: 0,
        kernel_thread: 0,
        reserved: 0,
        process_name: [0; COMM_LENGTH],
        queue: Histogram::NEW,
        service: Histogram::NEW,
    };
}

impl FileUse {
    pub const NEW: Self = Self {
        requests: 0,
        bytes: 0,
        nanoseconds: 0,
        name: [0; FILE_NAME_LENGTH + 1],
    };
}

/// A request that is under way. Key of the map: the address of its `request`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct InFlight {
    pub key: FileKey,
    /// `request.start_time_ns`: tells it from what had its structure before.
    pub allocated: u64,
    /// `CLOCK_MONOTONIC` nanoseconds of its submission, and of when the driver
    /// got it; 0 while it has not.
    pub submitted: u64,
    pub issued: u64,
    /// Time of the sample with its stack, 0 if none was taken.
    pub sample_time: u64,
    /// What it adds to [`DiskUse::residual`].
    pub amount: u64,
    /// Bytes that are not done yet.
    pub left: u64,
    pub tid: u32,
    pub reserved: u32,
}

/// A request whose stack was taken is done. The sample is that of the same
/// thread and time.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct DiskEvent {
    pub kind: u32,
    pub tid: u32,
    pub sample_time: u64,
    /// From submission to completion.
    pub nanoseconds: u64,
    /// Of the sample's weight, the part that is the request's own.
    pub amount: u64,
}

/// What a process did with the page cache, bytes. Key of the map: its
/// [`ProcessKey`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct CacheUse {
    pub cgroup_v2: u64,
    pub cgroup_v1: u64,
    /// Made dirty: what the kernel writes to the disk later.
    pub dirtied: u64,
    /// Asked for by reading calls; not told by kernels before 6.12.
    pub looked_up: u64,
    /// Read from the disk by such calls, read-ahead included.
    pub missed: u64,
    /// Read from the disk by page faults, read-around included.
    pub faulted: u64,
    /// The last look-up: a call comes back for the rest of a range.
    pub last_mapping: u64,
    pub last_first: u64,
    pub last_page: u64,
    pub process_name: [u8; COMM_LENGTH],
}

/// Bytes that a stack stands for at least, unless a request is the first of its
/// kind.
pub const DISK_PERIOD_BYTES: u64 = 128 << 10;
/// Entries of `DISK_USES`, `DISK_FILES`, `DISK_CACHE` and `DISK_REQUESTS`, while
/// disk requests are recorded.
pub const MAX_DISK_USES: usize = 1 << 12;
pub const MAX_DISK_FILES: usize = 1 << 14;
pub const MAX_DISK_CACHE: usize = 1 << 13;
pub const MAX_DISK_REQUESTS: usize = 1 << 14;
