//! Maps that userspace fills through shared memory: one copy is far cheaper
//! than a system call for every entry.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    ptr::NonNull,
};

use aya::maps::{Array, Map, MapData, MapError};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;
use profiler_ebpf::Block;
use thiserror::Error;

use super::Shared;

/// Flags of the inner maps; they must equal those of the kernel side's
/// `Table`. Values from include/uapi/linux/bpf.h.
const INNER_FLAGS: u32 = BPF_F_MMAPABLE | BPF_F_INNER_MAP;
const BPF_F_MMAPABLE: u32 = 1 << 10;
const BPF_F_INNER_MAP: u32 = 1 << 12;

#[derive(Debug, Error)]
pub enum TableError {
    #[error("cannot create the map of an unwind table: {0}")]
    Create(#[from] MapError),
    #[error("cannot map it into memory: {0}")]
    Map(#[from] io::Error),
}

/// An inner map of `TABLES` that holds one unwind table.
pub struct TableMemory {
    pub(super) map: Array<MapData, Shared<Block>>,
    bytes: u64,
}

impl TableMemory {
    /// Makes a map and copies the blocks into it.
    pub fn new(blocks: &[Block]) -> Result<Self, TableError> {
        let definition = aya_obj::Map::new_from_params(
            BPF_MAP_TYPE_ARRAY as u32,
            size_of::<u32>() as u32,
            size_of::<Block>() as u32,
            blocks.len().max(1) as u32,
            INNER_FLAGS,
        );
        let data = MapData::create(definition, "unwind_table", None)?;
        if !blocks.is_empty() {
            SharedArray::<Block>::new(data.fd(), blocks.len())?.write(0, blocks);
        }
        Ok(Self {
            map: Array::try_from(Map::Array(data))?,
            bytes: size_of_val(blocks) as u64,
        })
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Memory that the kernel shares: of an array map, writable from here while programs
/// read it, or the records of a perf event.
pub struct SharedArray<T> {
    start: NonNull<T>,
    length: usize,
}

// SAFETY: it owns its mapping; nothing is tied to a thread.
unsafe impl<T: Send> Send for SharedArray<T> {}

impl<T: Copy> SharedArray<T> {
    /// Maps an array map of `length` entries of `T`, made with
    /// `BPF_F_MMAPABLE`, or as much of what else has this descriptor.
    pub fn new(map: impl AsFd, length: usize) -> io::Result<Self> {
        // Entries of a mmapable array lie 8 bytes apart or a multiple of it.
        assert_eq!(size_of::<T>() % 8, 0, "entry size of a mapped array");
        // SAFETY: a fresh shared mapping; the kernel refuses one that is
        // longer than the map.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length * size_of::<T>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_fd().as_raw_fd(),
                0,
            )
        };
        match NonNull::new(address.cast::<T>()) {
            Some(start) if address != libc::MAP_FAILED => Ok(Self { start, length }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Its first entry. What the kernel writes meanwhile is the caller's to know.
    pub fn as_ptr(&self) -> *mut T {
        self.start.as_ptr()
    }

    /// Copies `entries` to `first` and the entries behind it.
    ///
    /// # Panics
    ///
    /// If they do not fit.
    pub fn write(&mut self, first: usize, entries: &[T]) {
        assert!(
            first <= self.length && entries.len() <= self.length - first,
            "write beyond a mapped array"
        );
        // SAFETY: within the mapping, by the check above; `entries` is
        // ordinary memory and does not overlap it. Programs may read at the
        // same time: they see entries only after they are published through
        // another map.
        unsafe {
            std::ptr::copy_nonoverlapping(
                entries.as_ptr(),
                self.start.as_ptr().add(first),
                entries.len(),
            );
        }
    }
}

impl<T> Drop for SharedArray<T> {
    fn drop(&mut self) {
        // SAFETY: our own mapping, not used any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length * size_of::<T>()) };
    }
}
