//! The stack walker: one record, one loop, one outcome.
//!
//! The verifier checks [`native::step`] and the searches once each, as
//! global functions (5.6), and not again for every frame. So the loop below
//! has no tail calls, and its length is a constant of ours.

mod kernel;
mod native;
mod orc;
mod python;
pub mod registers;
mod rules;
mod v8;

use aya_ebpf::{
    EbpfContext as _,
    bindings::BPF_RB_NO_WAKEUP,
    helpers::{bpf_get_smp_processor_id, bpf_get_stack, bpf_ktime_get_ns},
    programs::{BtfTracePointContext, PerfEventContext, RawTracePointContext, TracePointContext},
};
use profiler_ebpf::{
    Activity, BLOCKED_KERNEL_FRAMES, Counter, Direction, EventKind, MAX_KERNEL_FRAMES,
    MAX_USER_FRAMES, MAX_WORDS, Mapping, NO_EXECUTABLE, Outcome, ProcessEntry, RECORDS_PER_CPU,
    SampleHeader, Source, TICK_NS, ThreadClock,
};

use crate::{
    atomic::take_one,
    gate::Wanted,
    maps::{EVENTS, PROCESSES, RECORDS, count, setting},
    scratch::{PLACES, try_claim},
    task::{Access, Task},
};

// Those of hooks in process context, and the sampling clock's.
const _: () = assert!(RECORDS_PER_CPU == PLACES + 1);
const NO_RECORD: u32 = u32::MAX;

/// Innermost frames of a tracepoint's stack: the program and what calls it,
/// `bpf_trace_run` in kernel/trace/bpf_trace.c.
const OWN_FRAMES: u64 = 2;

/// Where the walk is. Lives in the per-CPU record, since the BPF stack is too
/// small and must not be read at a variable offset before 5.12.
#[repr(C)]
pub struct Walk {
    /// By DWARF number.
    pub registers: [u64; 16],
    /// Bytes just below the caller's frame, from `CFA - 64`.
    pub saved_area: [u64; 8],
    /// Registers of user space as the kernel stored them.
    pub entry_registers: [u64; registers::ROOM],
    pub pc: u64,
    /// A bit for each register whose value is known.
    pub valid: u32,
    /// 1 when `pc` is where the thread stopped, 0 when it is a return address.
    pub exact: u32,
    /// 1 when the last step followed the frame pointer.
    pub by_frame_pointer: u32,
    pub reserved: u32,
    pub first_mapping: u32,
    pub mapping_count: u32,
    /// The mapping of the last address: mostly that of the next too.
    pub mapping: Mapping,
    pub python: python::Python,
    pub v8: v8::V8,
    /// By which a hook has the record for itself, see `scratch`.
    pub claims: u32,
    /// Kernel stacks that were walked with this record.
    pub kernel_stacks: u32,
}

#[repr(C)]
pub struct Record {
    pub walk: Walk,
    pub header: SampleHeader,
    /// Directly behind the header: both are sent as one piece.
    pub words: [u64; MAX_WORDS],
}

/// The hook a stack is recorded for.
pub enum Context<'a> {
    Perf(&'a PerfEventContext),
    /// A page fault, in process context.
    Fault(&'a PerfEventContext),
    /// In process context, in a system call.
    Syscall(&'a TracePointContext),
    /// As above, where any system call ends.
    Return(&'a RawTracePointContext),
    /// As above, where the kernel does what the call is for.
    Within(&'a BtfTracePointContext),
}

/// What a sample says beside its stack.
pub enum Told<'a> {
    Nothing,
    Returned(Returned<'a>),
    Woken(Woken),
    /// Its kind, of [`profiler_ebpf::fault`].
    Fault(u32),
    Moved(Direction),
    Disk(Disk),
}

/// A disk request that the running thread makes.
#[derive(Clone, Copy)]
pub struct Disk {
    pub operation: u32,
    pub device: u32,
    /// Of whom it is made for, which may be another than who makes it.
    pub cgroup_v2: u64,
    pub cgroup_v1: u64,
}

/// The thread that the running one wakes.
pub struct Woken {
    pub tid: u32,
    /// What it waited for.
    pub activity: u32,
}

/// A system call returns: the waits in it, and it itself, have one stack.
pub struct Returned<'a> {
    pub clock: &'a ThreadClock,
    /// Weight of the wait, nanoseconds.
    pub blocked: u64,
    /// Weight of the wait for a CPU that followed.
    pub queued: u64,
    /// Weight of the call.
    pub called: u64,
}

impl Returned<'_> {
    #[inline(always)]
    fn waited(&self) -> bool {
        self.blocked | self.queued != 0
    }
}

impl Context<'_> {
    /// Claims one of the records of this CPU that the hook may use. Returns which,
    /// or one that there is not when all are in use.
    #[inline(always)]
    fn claim(&self) -> u32 {
        match self {
            Self::Perf(_) => claim_if_free(PLACES as u32).unwrap_or(NO_RECORD),
            Self::Fault(_) | Self::Syscall(_) | Self::Return(_) | Self::Within(_) => claim_record(),
        }
    }

    #[inline(always)]
    fn as_ptr(&self) -> *mut core::ffi::c_void {
        match self {
            Self::Perf(context) | Self::Fault(context) => context.as_ptr(),
            Self::Syscall(context) => context.as_ptr(),
            Self::Return(context) => context.as_ptr(),
            Self::Within(context) => context.as_ptr(),
        }
    }
}

/// Claims one of the records for hooks in process context, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn claim_record() -> u32 {
    for slot in 0..PLACES as u32 {
        if let Some(claimed) = claim_if_free(slot) {
            return claimed;
        }
    }
    NO_RECORD
}

#[inline(always)]
fn claim_if_free(slot: u32) -> Option<u32> {
    let record = RECORDS.get_ptr_mut(slot)?;
    // SAFETY: the map returned it; of what is not ours, only the claims are
    // looked at.
    try_claim(unsafe { &mut (*record).walk.claims }).then_some(slot)
}

/// Records the running task's stacks with a weight. Returns the time of the
/// sample, 0 if there is none.
#[inline(always)]
pub fn record(
    context: Context<'_>,
    wanted: Wanted,
    source: Source,
    weight: u64,
    told: Told<'_>,
) -> u64 {
    let counter = match (source, &told) {
        (Source::OnCpu, _) => Some(Counter::Samples),
        (Source::GilWait, _) => Some(Counter::GilWaits),
        // Or it is the stack of a system call that did not wait.
        (Source::OffCpu, Told::Returned(returned)) if !returned.waited() => None,
        (Source::OffCpu, _) => Some(Counter::Waits),
        (Source::Wakeup, _) => Some(Counter::Wakeups),
        (Source::Disk, _) => Some(Counter::DiskStacks),
        _ => None,
    };
    if let Some(counter) = counter {
        count(counter as u32);
    }
    let slot = context.claim();
    let Some(record) = RECORDS.get_ptr_mut(slot) else {
        count(Counter::RecordBusy as u32);
        return 0;
    };
    // SAFETY: the map returned the record, and it is claimed.
    let record = unsafe { &mut *record };
    let has_user_stack = if setting!(has_task_pt_regs) != 0 {
        fill_header(record, wanted, Task::running(), source, weight)
    } else {
        fill_header(record, wanted, wanted.task, source, weight)
    };
    // At its exit, a system call's own kernel stack says nothing.
    if let Context::Perf(perf) | Context::Fault(perf) = &context
        && registers::in_kernel(perf)
        && !kernel::walk(perf, record, slot)
    {
        kernel_stack(&context, record, 0);
    }
    if matches!(source, Source::Disk) {
        kernel_stack(&context, record, OWN_FRAMES);
    }
    if let Told::Returned(returned) = &told
        && returned.waited()
    {
        blocked_kernel_stack(returned.clock, record);
    }
    if has_user_stack {
        user_stack(&context, wanted, record, slot);
    }
    if matches!(source, Source::OnCpu) {
        count(Counter::OUTCOMES + record.header.outcome);
    }
    match told {
        Told::Nothing => send(record),
        Told::Fault(kind) => {
            record.header.activity = kind;
            send(record);
        }
        Told::Disk(disk) => {
            record.header.activity = disk.operation;
            record.header.device = disk.device;
            record.header.cgroup_v2 = disk.cgroup_v2;
            record.header.cgroup_v1 = disk.cgroup_v1;
            send(record);
        }
        Told::Woken(woken) => {
            record.header.activity = woken.activity;
            record.header.woken_tid = woken.tid;
            send(record);
        }
        Told::Moved(direction) => {
            record.header.activity = direction as u32;
            send(record);
        }
        Told::Returned(returned) => {
            record.header.weight = returned.blocked;
            record.header.activity = returned.clock.due_activity;
            if returned.blocked != 0 {
                send(record);
            }
            record.header.weight = returned.queued;
            record.header.activity = Activity::RunQueue as u32;
            if returned.queued != 0 {
                send(record);
            }
            record.header.source = Source::Syscall as u32;
            record.header.weight = returned.called;
            record.header.activity = returned.clock.last_call;
            if returned.called != 0 {
                send(record);
            }
        }
    }
    take_one(&mut record.walk.claims);
    record.header.time
}

/// `task` is the running one. Returns whether it has a user stack.
#[inline(always)]
fn fill_header<A: Access>(
    record: &mut Record,
    wanted: Wanted,
    task: Task<A>,
    source: Source,
    weight: u64,
) -> bool {
    let header = &mut record.header;
    let Wanted { tgid, tid, .. } = wanted;
    header.kind = EventKind::Sample as u32;
    header.source = source as u32;
    // SAFETY: these helpers have no precondition.
    header.time = unsafe { bpf_ktime_get_ns() };
    header.cpu = unsafe { bpf_get_smp_processor_id() };
    header.weight = weight;
    header.process = task.process_key(tgid);
    header.tid = tid;
    header.cgroup_v2 = task.cgroup_v2();
    header.cgroup_v1 = task.cgroup_v1();
    header.outcome = Outcome::NoUserStack as u32;
    header.kernel_frames = 0;
    header.user_words = 0;
    header.python_state = 0;
    header.python_runtime = 0;
    header.gil = 0;
    header.failed_executable = NO_EXECUTABLE;
    header.failed_address = 0;
    header.activity = 0;
    header.woken_tid = 0;
    header.device = 0;
    header.reserved = 0;
    let name = task.name();
    header.thread_name = name;
    header.process_name = if tid == tgid {
        name
    } else {
        task.leader().name()
    };
    task.has_user_stack()
}

#[inline(always)]
fn kernel_stack(context: &Context<'_>, record: &mut Record, skipped: u64) {
    // SAFETY: the kernel writes at most the size given into the record.
    let bytes = unsafe {
        bpf_get_stack(
            context.as_ptr(),
            record.words.as_mut_ptr().cast(),
            (MAX_KERNEL_FRAMES * 8) as u32,
            skipped,
        )
    };
    if bytes > 0 {
        record.header.kernel_frames = (bytes as u32) / 8;
    } else {
        count(Counter::KernelStackFailed as u32);
    }
}

/// The kernel stack of the wait, kept since the thread went on.
#[inline(always)]
fn blocked_kernel_stack(clock: &ThreadClock, record: &mut Record) {
    let frames = clock.kernel_frames.min(BLOCKED_KERNEL_FRAMES as u32);
    for index in 0..BLOCKED_KERNEL_FRAMES {
        if index as u32 >= frames {
            break;
        }
        record.words[index] = clock.kernel_stack[index];
    }
    record.header.kernel_frames = frames;
}

/// `record` is the one in `slot`; a pointer for the reason told at [`kernel::walk`].
#[inline(always)]
fn user_stack(context: &Context<'_>, wanted: Wanted, record: *mut Record, slot: u32) {
    // SAFETY: the caller claimed the record; no step runs before `user_frames`, and
    // these are not used from there on.
    let (walk, header) = unsafe { (&mut (*record).walk, &mut (*record).header) };
    walk.exact = 1;
    walk.by_frame_pointer = 0;
    walk.mapping = Mapping::default();
    if let Err(outcome) = registers::load(context, wanted.task, walk) {
        header.outcome = outcome as u32;
        return;
    }
    header.outcome = Outcome::ProcessUnknown as u32;
    header.failed_address = walk.pc;
    // SAFETY: copied at once; userspace replaces entries whole.
    let Some(entry) = (unsafe { PROCESSES.get(&wanted.tgid) }) else {
        return;
    };
    let entry = *entry;
    if entry.start_ticks != header.process.start_boottime / TICK_NS
        || (entry.exec_id != header.process.exec_id && entry.exec_id != ProcessEntry::ANY_EXEC)
    {
        return;
    }
    header.failed_address = 0;
    header.outcome = Outcome::FrameLimit as u32;
    walk.first_mapping = entry.first_mapping;
    walk.mapping_count = entry.mapping_count;
    walk.python.begin(entry.thread_specific);
    walk.v8.begin(entry.v8);
    user_frames(slot);
    // SAFETY: as above; the walk has ended.
    let record = unsafe { &mut *record };
    if record.header.outcome == Outcome::RootReached as u32 {
        python::finish(record);
    }
}

/// All steps, see [`kernel::kernel_frames`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn user_frames(slot: u32) -> u32 {
    let Some(record) = RECORDS.get_ptr_mut(slot) else {
        return native::STOP;
    };
    for _ in 0..MAX_USER_FRAMES {
        // SAFETY: the map returned it, and the caller claimed it. The steps find it
        // by themselves: no reference may be kept.
        let (v8, python) = unsafe { ((*record).walk.v8.next, (*record).walk.python.phase) };
        let next = if v8 != 0 {
            v8::v8_step(slot)
        } else if python == python::phase::NONE {
            native::step(slot)
        } else {
            python::python_step(slot)
        };
        if next != native::CONTINUE {
            break;
        }
    }
    native::STOP
}

#[inline(always)]
fn send(record: &mut Record) {
    let words = (record.header.kernel_frames + record.header.user_words) as usize & (MAX_WORDS - 1);
    let size = size_of::<SampleHeader>() + words * 8;
    // Userspace drains the ring on a timer; only a stack that it can repair
    // is worth waking it for.
    let outcome = record.header.outcome;
    let flags = if outcome == Outcome::ProcessUnknown as u32
        || outcome == Outcome::TableNotReady as u32
        || outcome == Outcome::MappingUnknown as u32
    {
        0
    } else {
        u64::from(BPF_RB_NO_WAKEUP)
    };
    // SAFETY: header and words are contiguous (repr(C), no padding between
    // them) and `size` stays within them.
    let sent = unsafe {
        aya_ebpf::helpers::bpf_ringbuf_output(
            core::ptr::addr_of!(EVENTS).cast_mut().cast(),
            core::ptr::addr_of_mut!(record.header).cast(),
            size as u64,
            flags,
        )
    };
    if sent != 0 {
        count(Counter::SamplesLost as u32);
    }
}
