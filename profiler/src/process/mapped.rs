//! Which processes map code: the kernel tells, `PERF_RECORD_MMAP` of
//! perf_event_open(2).
//!
//! A walk that finds no mapping says so. But of a library that was loaded where
//! another one had been, it finds the other's.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    sync::atomic::{AtomicU64, Ordering},
};

use perf_event_open_sys::bindings::{
    PERF_COUNT_SW_DUMMY, PERF_FLAG_FD_CLOEXEC, PERF_RECORD_LOST, PERF_RECORD_MMAP,
    PERF_TYPE_SOFTWARE, perf_event_attr, perf_event_mmap_page,
};

use crate::bpf::SharedArray;

/// Of records of one CPU, a power of two: some hundreds.
const RING_WORDS: usize = 1 << 13;
/// `perf_event_header`: type, miscellaneous, size.
const HEADER_BYTES: u64 = 8;
/// In a record of a mapping: process, and where the file's name begins
/// (include/uapi/linux/perf_event.h).
const PROCESS: u64 = 8;
const NAME: u64 = 40;
/// As the kernel names memory without a file (kernel/events/core.c,
/// perf_event_mmap_event): code that a program makes itself.
const ANONYMOUS: &[u8; 7] = b"//anon\0";

/// What the kernel has to tell, CPU by CPU.
pub struct MappedCode {
    rings: BTreeMap<u32, Ring>,
    /// An epoll(7) descriptor, readable when there is something.
    ready: OwnedFd,
    /// Records that found no room.
    pub lost: u64,
}

impl MappedCode {
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes no memory of ours.
        let descriptor = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        Ok(Self {
            rings: BTreeMap::new(),
            ready: owned(descriptor)?,
            lost: 0,
        })
    }

    /// Listens on these CPUs, and on no others any more.
    ///
    /// # Errors
    ///
    /// Of the first CPU on which that is not possible; the others are listened on.
    pub fn follow(&mut self, cpus: &[u32]) -> io::Result<()> {
        self.rings.retain(|cpu, _| cpus.contains(cpu));
        let mut result = Ok(());
        for &cpu in cpus {
            if self.rings.contains_key(&cpu) {
                continue;
            }
            match Ring::open(cpu).and_then(|ring| self.await_ready(&ring).map(|()| ring)) {
                Ok(ring) => {
                    self.rings.insert(cpu, ring);
                }
                Err(error) => result = result.and(Err(error)),
            }
        }
        result
    }

    fn await_ready(&self, ring: &Ring) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: 0,
        };
        let (epoll, ring) = (self.ready.as_raw_fd(), ring.event.as_raw_fd());
        // SAFETY: both descriptors are open, and the event outlives the call. One
        // that is closed leaves the set by itself.
        match unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, ring, &raw mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Readable when a process has mapped code.
    pub fn ready(&self) -> &OwnedFd {
        &self.ready
    }

    /// Calls `mapped` for each mapping of code of a file, with the process.
    pub fn drain(&mut self, mut mapped: impl FnMut(u32)) {
        for ring in self.rings.values_mut() {
            self.lost += ring.drain(&mut mapped);
        }
    }
}

fn owned(descriptor: i32) -> io::Result<OwnedFd> {
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Records of one CPU.
struct Ring {
    event: OwnedFd,
    /// In words: a page that says how far they are, and the records.
    memory: SharedArray<u64>,
    page_words: usize,
}

impl Ring {
    fn open(cpu: u32) -> io::Result<Self> {
        let mut attributes = perf_event_attr {
            type_: PERF_TYPE_SOFTWARE,
            size: size_of::<perf_event_attr>() as u32,
            config: u64::from(PERF_COUNT_SW_DUMMY),
            ..perf_event_attr::default()
        };
        attributes.set_mmap(1);
        attributes.__bindgen_anon_2.wakeup_events = 1;
        // SAFETY: the attributes outlive the call.
        let event = owned(unsafe {
            perf_event_open_sys::perf_event_open(
                &raw mut attributes,
                -1,
                cpu as i32,
                -1,
                u64::from(PERF_FLAG_FD_CLOEXEC) as _,
            )
        })?;
        let page_words = rustix::param::page_size() / size_of::<u64>();
        let memory = SharedArray::new(&event, page_words + RING_WORDS)?;
        Ok(Self {
            event,
            memory,
            page_words,
        })
    }

    /// Returns how many records were lost.
    fn drain(&mut self, mapped: &mut impl FnMut(u32)) -> u64 {
        let control = self.memory.as_ptr().cast::<perf_event_mmap_page>();
        // SAFETY: the first page of the mapping holds the two, aligned. Only the
        // kernel writes the first, only we the second.
        let (head, tail) = unsafe {
            (
                AtomicU64::from_ptr(&raw mut (*control).data_head),
                AtomicU64::from_ptr(&raw mut (*control).data_tail),
            )
        };
        let end = head.load(Ordering::Acquire);
        let mut position = tail.load(Ordering::Relaxed);
        let mut lost = 0;
        while position < end {
            let header = self.word(position);
            let size = header >> 48;
            if size < HEADER_BYTES {
                // Not what the kernel writes: begin anew behind it.
                break;
            }
            match header as u32 {
                PERF_RECORD_MMAP if !self.is_anonymous(position) => {
                    mapped(self.word(position + PROCESS) as u32);
                }
                // Behind the header the event's id, then how many.
                PERF_RECORD_LOST => lost += self.word(position + 16),
                _ => {}
            }
            position += size;
        }
        tail.store(end, Ordering::Release);
        lost
    }

    fn is_anonymous(&self, record: u64) -> bool {
        let name = self.word(record + NAME).to_ne_bytes();
        name.starts_with(ANONYMOUS)
    }

    /// Records begin at multiples of 8 bytes, so no word is in two pieces.
    fn word(&self, position: u64) -> u64 {
        let index = (position as usize / size_of::<u64>()) & (RING_WORDS - 1);
        // SAFETY: within the memory, behind its first page; the kernel does not write
        // there until the tail has passed it.
        unsafe { self.memory.as_ptr().add(self.page_words + index).read() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_program_that_starts_maps_code() {
        let mut mapped = MappedCode::new().expect("epoll");
        let cpus = (0..std::thread::available_parallelism().expect("CPUs").get() as u32)
            .collect::<Vec<_>>();
        mapped.follow(&cpus).expect("root may listen");
        assert_eq!(mapped.rings.len(), cpus.len());
        let mut child = std::process::Command::new("true").spawn().expect("true");
        let begin = Instant::now();
        let mut times = 0;
        while times == 0 && begin.elapsed() < Duration::from_secs(10) {
            mapped.drain(|pid| times += u32::from(pid == child.id()));
        }
        child.wait().expect("it ends");
        mapped.drain(|pid| times += u32::from(pid == child.id()));
        assert!(times >= 2, "itself and its libraries: {times}");
        // What is passed is not told again, and the ring goes round.
        for _ in 0..300 {
            let mut child = std::process::Command::new("true").spawn().expect("true");
            child.wait().expect("it ends");
            let mut seen = 0;
            mapped.drain(|pid| seen += u32::from(pid == child.id()));
            assert!((2..20).contains(&seen), "{seen}");
        }
        assert_eq!(mapped.lost, 0);
        mapped.follow(&cpus[..1]).expect("fewer");
        assert_eq!(mapped.rings.len(), 1);
    }
}
