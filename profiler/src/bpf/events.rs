//! Events as they come out of the ring buffer.

use std::os::fd::{AsRawFd, RawFd};

use aya::maps::{MapData, RingBuf};
use profiler_ebpf::{
    AcceptedEvent, CgroupEvent, DiskEvent, EventKind, OomKillEvent, Outcome, ProcessEvent,
    SampleHeader, Source, StatementEvent, StatementTextEvent, ThreadEvent, TrafficEvent,
};

/// The ring buffer of the programs, apart from the other maps: these are
/// written while an event is looked at.
pub struct EventRing {
    ring: RingBuf<MapData>,
}

impl EventRing {
    pub(super) fn new(ring: RingBuf<MapData>) -> Self {
        Self { ring }
    }

    /// Takes all events that are there, at most `limit`. Returns how many.
    pub fn drain(&mut self, limit: usize, mut consume: impl FnMut(Event<'_>)) -> usize {
        let mut taken = 0;
        while taken < limit
            && let Some(item) = self.ring.next()
        {
            taken += 1;
            match Event::parse(&item) {
                Some(event) => consume(event),
                None => log::warn!("an event of {} bytes that no program sends", item.len()),
            }
        }
        taken
    }
}

/// Readable when a stack arrived that userspace can mend.
impl AsRawFd for EventRing {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

/// One event. Borrows from the ring: it must be dealt with before the next.
pub enum Event<'a> {
    Sample(Sample<'a>),
    Exec(ProcessEvent),
    Exit(ProcessEvent),
    Fork(ProcessEvent),
    ThreadEnded(Box<ThreadEvent>),
    OomKill(OomKillEvent),
    TrafficEnded(Box<TrafficEvent>),
    Accepted(AcceptedEvent),
    DiskRequestDone(DiskEvent),
    StatementText {
        hash: u64,
        text: Vec<u8>,
    },
    StatementDone(Box<StatementEvent>),
    CgroupCreated {
        hierarchy: u32,
        id: u64,
        path: Vec<u8>,
    },
}

pub struct Sample<'a> {
    pub header: SampleHeader,
    pub source: Source,
    pub outcome: Outcome,
    /// Addresses, innermost first.
    pub kernel_stack: &'a [u64],
    /// Packed [`profiler_ebpf::Frame`]s, innermost first.
    pub user_stack: &'a [u64],
}

impl<'a> Event<'a> {
    /// `None` for what no version of the kernel side sends.
    pub fn parse(data: &'a [u8]) -> Option<Self> {
        let kind = u32::from_ne_bytes(data.get(..4)?.try_into().ok()?);
        const SAMPLE: u32 = EventKind::Sample as u32;
        const EXEC: u32 = EventKind::Exec as u32;
        const EXIT: u32 = EventKind::Exit as u32;
        const FORK: u32 = EventKind::Fork as u32;
        const THREAD: u32 = EventKind::ThreadEnded as u32;
        const OOM_KILL: u32 = EventKind::OomKill as u32;
        const TRAFFIC: u32 = EventKind::TrafficEnded as u32;
        const ACCEPTED: u32 = EventKind::Accepted as u32;
        const DISK: u32 = EventKind::DiskRequestDone as u32;
        const TEXT: u32 = EventKind::StatementText as u32;
        const STATEMENT: u32 = EventKind::StatementDone as u32;
        const CGROUP: u32 = EventKind::CgroupCreated as u32;
        Some(match kind {
            SAMPLE => Self::Sample(Sample::parse(data)?),
            EXEC => Self::Exec(copy(data)?),
            EXIT => Self::Exit(copy(data)?),
            FORK => Self::Fork(copy(data)?),
            THREAD => Self::ThreadEnded(Box::new(copy(data)?)),
            OOM_KILL => Self::OomKill(copy(data)?),
            TRAFFIC => Self::TrafficEnded(Box::new(copy(data)?)),
            ACCEPTED => Self::Accepted(copy(data)?),
            DISK => Self::DiskRequestDone(copy(data)?),
            STATEMENT => Self::StatementDone(Box::new(copy(data)?)),
            TEXT => {
                let event: StatementTextEvent = copy(data)?;
                let text = event.text.get(..event.length as usize)?;
                Self::StatementText {
                    hash: event.hash,
                    text: text.to_vec(),
                }
            }
            CGROUP => {
                let event: CgroupEvent = copy(data)?;
                let path = event.path.get(..event.path_length as usize)?;
                Self::CgroupCreated {
                    hierarchy: event.hierarchy,
                    id: event.id,
                    path: path.to_vec(),
                }
            }
            _ => return None,
        })
    }
}

impl<'a> Sample<'a> {
    fn parse(data: &'a [u8]) -> Option<Self> {
        let header: SampleHeader = copy(data)?;
        // SAFETY: any bit pattern is a u64; align_to takes care of alignment.
        let (before, words, _) = unsafe { data[size_of::<SampleHeader>()..].align_to::<u64>() };
        if !before.is_empty() {
            return None;
        }
        let (kernel_stack, rest) = words.split_at_checked(header.kernel_frames as usize)?;
        Some(Self {
            source: Source::from_u32(header.source)?,
            outcome: Outcome::from_u32(header.outcome)?,
            header,
            kernel_stack,
            user_stack: rest.get(..header.user_words as usize)?,
        })
    }
}

/// The clock of events' times, `bpf_ktime_get_ns`: `CLOCK_MONOTONIC`, nanoseconds.
pub fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Copies an event of the ABI from the start of `data`.
fn copy<T: AbiEvent>(data: &[u8]) -> Option<T> {
    if data.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: long enough, and any bit pattern is valid (see AbiEvent).
    Some(unsafe { data.as_ptr().cast::<T>().read_unaligned() })
}

/// # Safety
///
/// Any bit pattern must be a valid value.
unsafe trait AbiEvent: Copy {}
// SAFETY: made of integers and arrays of them only.
unsafe impl AbiEvent for SampleHeader {}
// SAFETY: as above.
unsafe impl AbiEvent for ProcessEvent {}
// SAFETY: as above.
unsafe impl AbiEvent for CgroupEvent {}
// SAFETY: as above.
unsafe impl AbiEvent for ThreadEvent {}
// SAFETY: as above.
unsafe impl AbiEvent for OomKillEvent {}
// SAFETY: as above.
unsafe impl AbiEvent for TrafficEvent {}
// SAFETY: as above.
unsafe impl AbiEvent for AcceptedEvent {}
// SAFETY: as above.
unsafe impl AbiEvent for DiskEvent {}
// SAFETY: as above.
unsafe impl AbiEvent for StatementEvent {}
// SAFETY: as above.
unsafe impl AbiEvent for StatementTextEvent {}
