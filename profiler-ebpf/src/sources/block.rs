//! Disk requests: who made them, how long they waited for their device, and how
//! long that took.
//!
//! A request is met where it is made, in process context, and looked up where
//! the driver gets it and where the device has done it, which is an interrupt.
//! Totals are exact. Stacks are taken for every [`DISK_PERIOD_BYTES`]-th byte
//! that a process asks of a device, and of its first request.

use aya_ebpf::{
    helpers::{
        bpf_get_current_cgroup_id, bpf_get_prandom_u32, bpf_ktime_get_ns,
        bpf_probe_read_kernel_str_bytes,
    },
    programs::RawTracePointContext,
};
use profiler_ebpf::{
    Access, Counter, DISK_PERIOD_BYTES, DiskEvent, DiskUse, EventKind, FileId, FileKey, Histogram,
    InFlight, KernelOffsets, Operation, Source, THINNING_WINDOW_NS, Thinning, Wait, bucket,
    gate as gates, wait_of_call,
};

use crate::{
    atomic::{add, add_one},
    gate::{self, Verdict, Wanted},
    maps::{
        DISK_FILES, DISK_REQUESTS, DISK_THINNING, DISK_USES, EVENTS, NEW_DISK_USE, NEW_FILE_USE,
        NEW_REQUEST, STACKS_ALLOWED, WANTED_CGROUPS, count, setting,
    },
    scratch::claim,
    task::{Checked, Task, cgroup_id, read},
    walk::{self, Context, Disk, Told, registers},
};

/// `dev_t` in the kernel, include/linux/kdev_t.h.
const MINOR_BITS: u32 = 20;
/// Of a mode, include/uapi/linux/stat.h.
const FORMAT: u16 = 0o170_000;
const BLOCK_DEVICE: u16 = 0o060_000;
/// Low bits of `page.mapping`: anonymous memory, and pages that a driver moves
/// (include/linux/page-flags.h).
const NO_FILE: u64 = 3;
const VECTOR_BYTES: u64 = 16;
/// How many times more bytes a stack must stand for when a window has all the
/// stacks it is allowed; it may have as many again of these.
const RARE: u64 = 16;

/// The request that a hook passes.
#[inline(always)]
pub fn request_of(context: &RawTracePointContext) -> u64 {
    if setting!(disk.passes_queue) != 0 {
        context.arg(1)
    } else {
        context.arg(0)
    }
}

/// A request is made, or put back into the queue by the driver.
#[inline(always)]
pub fn submitted(context: &RawTracePointContext, request: u64) {
    let allocated: u64 = read(request, setting!(disk.request_start));
    if let Some(flight) = DISK_REQUESTS.get_ptr_mut(request) {
        // SAFETY: the map returned it; one CPU at a time has a request.
        let flight = unsafe { &*flight };
        if flight.allocated == allocated {
            return;
        }
        ended_unseen(flight);
    }
    begin(context, request, allocated);
}

/// What had the structure of a request before was done, and its completion was
/// not seen: in interrupts of a process that its host protects the kernel runs
/// no program, without counting that as a miss (seen on 6.18).
#[inline(always)]
fn ended_unseen(flight: &InFlight) {
    count(Counter::DiskEndsUnseen as u32);
    if let Some(usage) = DISK_USES.get_ptr_mut(&flight.key.who) {
        // SAFETY: the map returned it; shared fields are added to atomically.
        let usage = unsafe { &mut *usage };
        add(&mut usage.bytes, flight.left);
        add(&mut usage.requests, 1);
    }
    if let Some(file) = DISK_FILES.get_ptr_mut(&flight.key) {
        // SAFETY: as above.
        let file = unsafe { &mut *file };
        add(&mut file.bytes, flight.left);
        add(&mut file.requests, 1);
    }
}

/// A request is merged into another, which goes on for both.
#[inline(always)]
pub fn merged(request: u64) {
    let _ = DISK_REQUESTS.remove(request);
}

/// The driver gets a request.
#[inline(always)]
pub fn issued(request: u64) {
    if let Some(flight) = DISK_REQUESTS.get_ptr_mut(request) {
        // SAFETY: the map returned it; one CPU at a time has a request.
        let flight = unsafe { &mut *flight };
        // Not again after the driver gave it back.
        if flight.issued == 0 {
            // SAFETY: has no precondition.
            flight.issued = unsafe { bpf_ktime_get_ns() };
        }
    }
}

/// The device has done `bytes` of a request.
#[inline(always)]
pub fn completed(request: u64, error: bool, bytes: u64) {
    let Some(flight) = DISK_REQUESTS.get_ptr_mut(request) else {
        return;
    };
    // SAFETY: as above.
    let flight = unsafe { &mut *flight };
    let left: u32 = read(request, setting!(disk.request_length));
    let done = bytes >= u64::from(left);
    // SAFETY: has no precondition.
    let now = unsafe { bpf_ktime_get_ns() };
    let nanoseconds = now.wrapping_sub(flight.submitted);
    match DISK_USES.get_ptr_mut(&flight.key.who) {
        // SAFETY: the map returned it; shared fields are added to atomically.
        Some(usage) => charge(unsafe { &mut *usage }, flight, now, error, bytes, done),
        None => count(Counter::DiskRequestsLost as u32),
    }
    if let Some(file) = DISK_FILES.get_ptr_mut(&flight.key) {
        // SAFETY: as above.
        let file = unsafe { &mut *file };
        add(&mut file.bytes, bytes);
        if done {
            add(&mut file.requests, 1);
            add(&mut file.nanoseconds, nanoseconds);
        }
    }
    if done {
        if flight.sample_time != 0 {
            tell(flight, nanoseconds);
        }
        let _ = DISK_REQUESTS.remove(request);
    } else {
        flight.left = flight.left.saturating_sub(bytes);
    }
}

#[inline(always)]
fn charge(usage: &mut DiskUse, flight: &InFlight, now: u64, error: bool, bytes: u64, done: bool) {
    add(&mut usage.bytes, bytes);
    if error {
        add(&mut usage.errors, 1);
    }
    if !done {
        return;
    }
    add(&mut usage.requests, 1);
    let mut began = flight.submitted;
    if flight.issued != 0 {
        began = flight.issued;
        let queued = flight.issued.wrapping_sub(flight.submitted);
        add(&mut usage.queue_ns, queued);
        // Another CPU may be faster by a moment: of two that are longer than
        // all before, either is the longest.
        usage.queue_max_ns = usage.queue_max_ns.max(queued);
        count_in(&mut usage.queue, queued);
    }
    let served = now.wrapping_sub(began);
    add(&mut usage.service_ns, served);
    usage.service_max_ns = usage.service_max_ns.max(served);
    count_in(&mut usage.service, served);
}

#[inline(always)]
fn count_in(histogram: &mut Histogram, nanoseconds: u64) {
    if let Some(counter) = histogram.counts.get_mut(bucket(nanoseconds)) {
        add_one(counter);
    }
}

/// The time of a request whose stack was taken.
#[inline(always)]
fn tell(flight: &InFlight, nanoseconds: u64) {
    let Some(mut entry) = EVENTS.reserve_untyped::<DiskEvent>(0) else {
        count(Counter::EventsLost as u32);
        return;
    };
    let event = entry.as_mut_ptr();
    // SAFETY: the reservation is as large as the event, and every field is
    // written.
    unsafe {
        (*event).kind = EventKind::DiskRequestDone as u32;
        (*event).tid = flight.tid;
        (*event).sample_time = flight.sample_time;
        (*event).nanoseconds = nanoseconds;
        (*event).amount = flight.amount;
    }
    entry.submit(u64::from(aya_ebpf::bindings::BPF_RB_NO_WAKEUP));
}

#[inline(always)]
fn begin(context: &RawTracePointContext, request: u64, allocated: u64) {
    let flags: u32 = read(request, setting!(disk.request_flags));
    let bytes: u32 = read(request, setting!(disk.request_length));
    let Some(operation) = Operation::of_request(flags, bytes) else {
        return;
    };
    let bio: u64 = read(request, setting!(disk.request_bio));
    let group = bio_cgroup(bio);
    let (wanted, kernel_thread) = match gate::current() {
        Verdict::Wanted(wanted) => (wanted, wanted.task.is_kernel_thread()),
        // What it does for a cgroup that is wanted.
        Verdict::NotWanted
            if group != 0
                && setting!(gate) == gates::CGROUPS
                // SAFETY: only its presence is looked at.
                && unsafe { WANTED_CGROUPS.get(group) }.is_some() =>
        {
            let pid_tgid = aya_ebpf::helpers::bpf_get_current_pid_tgid();
            let task = Task::current();
            let wanted = Wanted {
                task,
                tgid: (pid_tgid >> 32) as u32,
                tid: pid_tgid as u32,
            };
            if !task.is_kernel_thread() {
                return;
            }
            (wanted, true)
        }
        _ => return,
    };
    let Some(mut place) = claim(&NEW_REQUEST) else {
        count(Counter::DiskRequestsLost as u32);
        return;
    };
    let flight: &mut InFlight = &mut place;
    let who = &mut flight.key.who;
    who.operation = operation as u32;
    who.device = device_of(request);
    let task = wanted.task;
    who.process = task.process_key(wanted.tgid);
    who.cgroup_v2 = group;
    who.cgroup_v1 = 0;
    if !kernel_thread || group == 0 {
        // SAFETY: has no precondition.
        who.cgroup_v2 = unsafe { bpf_get_current_cgroup_id() };
        who.cgroup_v1 = task.cgroup_v1();
    }
    // Bytes do not tell how much the others are worth: each has a stack.
    flight.amount = DISK_PERIOD_BYTES;
    if operation.transfers() {
        flight.amount = u64::from(bytes);
    }
    flight.left = u64::from(bytes);
    flight.allocated = allocated;
    flight.tid = wanted.tid;
    flight.issued = 0;
    flight.sample_time = 0;
    // SAFETY: has no precondition.
    flight.submitted = unsafe { bpf_ktime_get_ns() };
    let inode = file_of(task, bio, kernel_thread, &mut flight.key.file);
    match account(flight, task, kernel_thread) {
        Some(weight) => {
            keep_file(&flight.key, inode);
            if DISK_REQUESTS.insert(request, &*flight, 0).is_err() {
                count(Counter::DiskRequestsLost as u32);
            } else if weight != 0 {
                take_stack(context, wanted, weight, request);
            }
        }
        None => count(Counter::DiskRequestsLost as u32),
    }
}

/// Takes the stack of a request.
#[inline(always)]
fn take_stack(context: &RawTracePointContext, wanted: Wanted, weight: u64, request: u64) {
    let Some(flight) = DISK_REQUESTS.get_ptr_mut(request) else {
        return;
    };
    // SAFETY: the map returned it; the request cannot be done before it is made.
    let flight = unsafe { &mut *flight };
    let who = &flight.key.who;
    let disk = Disk {
        operation: who.operation,
        device: who.device,
        cgroup_v2: who.cgroup_v2,
        cgroup_v1: who.cgroup_v1,
    };
    let context = Context::Return(context);
    flight.sample_time = walk::record(context, wanted, Source::Disk, weight, Told::Disk(disk));
}

/// Counts a request that is made. Returns the weight of its stack, 0 if none is
/// due; `None` if there is no room for it.
#[inline(always)]
fn account(flight: &InFlight, task: Task, kernel_thread: bool) -> Option<u64> {
    let (who, now) = (&flight.key.who, flight.submitted);
    if let Some(usage) = DISK_USES.get_ptr_mut(who) {
        // SAFETY: the map returned it.
        let usage = unsafe { &mut *usage };
        // Threads of a process may do this at the same time: then a stack more
        // or less is taken. Totals do not come from here.
        usage.residual = usage.residual.wrapping_add(flight.amount);
        if usage.residual < DISK_PERIOD_BYTES {
            return Some(0);
        }
        let period = period(now, usage.residual);
        if period == 0 {
            return Some(0);
        }
        let rest = usage.residual % period;
        let weight = usage.residual - rest;
        usage.residual = rest;
        return Some(weight);
    }
    DISK_USES.insert(who, NEW_DISK_USE.get(0)?, 0).ok()?;
    // SAFETY: as above.
    let usage = unsafe { &mut *DISK_USES.get_ptr_mut(who)? };
    // SAFETY: has no precondition.
    usage.residual = u64::from(unsafe { bpf_get_prandom_u32() }) % DISK_PERIOD_BYTES;
    usage.kernel_thread = kernel_thread.into();
    usage.process_name = task.leader().name();
    // The first of its kind stands for itself.
    Some(if period(now, u64::MAX) == 0 {
        0
    } else {
        flight.amount
    })
}

/// Bytes that a stack stands for now on this CPU; 0: none is taken of somebody
/// with so many bytes left.
#[inline(always)]
fn period(now: u64, residual: u64) -> u64 {
    let (Some(thinning), Some(&allowed)) = (DISK_THINNING.get_ptr_mut(0), STACKS_ALLOWED.get(0))
    else {
        return 0;
    };
    // SAFETY: the map returned it; only this CPU uses it.
    let thinning: &mut Thinning = unsafe { &mut *thinning };
    if now.wrapping_sub(thinning.window) > THINNING_WINDOW_NS {
        if thinning.taken < allowed / 4 {
            thinning.period /= 2;
        }
        thinning.window = now;
        thinning.taken = 0;
    }
    thinning.period = thinning.period.max(DISK_PERIOD_BYTES);
    if thinning.taken >= 2 * allowed {
        count(Counter::DiskThinned as u32);
        return 0;
    }
    // What one process does often must not hide what another does once.
    let period = if thinning.taken < allowed {
        thinning.period
    } else {
        thinning.period * RARE
    };
    if residual < period {
        if residual >= thinning.period {
            count(Counter::DiskThinned as u32);
        }
        return 0;
    }
    thinning.taken += 1;
    if thinning.taken == allowed && thinning.period < DISK_PERIOD_BYTES << 20 {
        thinning.period *= 2;
    }
    period
}

#[inline(always)]
fn device_of(request: u64) -> u32 {
    let disk: u64 = if setting!(disk.request_disk) != KernelOffsets::ABSENT {
        read(request, setting!(disk.request_disk))
    } else {
        let queue: u64 = read(request, setting!(disk.request_queue));
        read(queue, setting!(disk.queue_disk))
    };
    let major: u32 = read(disk, setting!(disk.disk_major));
    let minor: u32 = read(disk, setting!(disk.disk_first_minor));
    major << MINOR_BITS | minor
}

/// Id of the cgroup that a bio is charged to in the version 2 hierarchy, 0 if
/// the kernel does not keep it.
#[inline(always)]
fn bio_cgroup(bio: u64) -> u64 {
    if setting!(disk.bio_group) == KernelOffsets::ABSENT {
        return 0;
    }
    let group: u64 = read(bio, setting!(disk.bio_group));
    let owner: u64 = read(group, setting!(disk.group_cgroup));
    let state = owner.wrapping_add(u64::from(setting!(disk.cgroup_state)));
    let cgroup: u64 = read(state, setting!(offsets.css_cgroup));
    let root: u64 = read(cgroup, setting!(offsets.cgroup_root));
    let hierarchy: u32 = read(root, setting!(offsets.cgroup_root_hierarchy_id));
    if cgroup == 0 || hierarchy != 0 {
        return 0;
    }
    cgroup_id::<Checked>(cgroup)
}

/// The file that a request is for. Returns the address of its inode, 0 if it has
/// no name.
#[inline(always)]
fn file_of(task: Task, bio: u64, kernel_thread: bool, file: &mut FileId) -> u64 {
    file.inode = 0;
    file.file_system = 0;
    file.access = Access::Unknown as u32;
    let index: u32 = read(bio, setting!(disk.bio_vector_index));
    let vectors: u64 = read(bio, setting!(disk.bio_vectors));
    let page: u64 = read(vectors.wrapping_add(u64::from(index) * VECTOR_BYTES), 0);
    let mapping: u64 = read(head_of(page), setting!(disk.page_mapping));
    if page == 0 {
        return 0;
    }
    if mapping != 0 && mapping & NO_FILE == 0 {
        let inode: u64 = read(mapping, setting!(disk.mapping_host));
        return identify(inode, Access::Cached, file);
    }
    // The memory is the caller's own, so it reads or writes a file that it has
    // open past the cache.
    if mapping & NO_FILE != 0 && !kernel_thread {
        let call = registers::call(task);
        if matches!(wait_of_call(call.number), Wait::Read | Wait::Write) {
            let inode = task.inode(call.arguments[0] as u32);
            return identify(inode, Access::Direct, file);
        }
    }
    0
}

#[inline(always)]
fn identify(inode: u64, access: Access, file: &mut FileId) -> u64 {
    let mode: u16 = read(inode, setting!(offsets.inode_mode));
    if mode == 0 {
        return 0;
    }
    if mode & FORMAT == BLOCK_DEVICE {
        file.file_system = read(inode, setting!(disk.inode_device));
        file.access = Access::Device as u32;
        return 0;
    }
    let file_system: u64 = read(inode, setting!(disk.inode_file_system));
    file.inode = read(inode, setting!(disk.inode_number));
    file.file_system = read(file_system, setting!(disk.file_system_device));
    file.access = access as u32;
    inode
}

/// The page that stands for a compound page, include/linux/page-flags.h: a tail
/// page has bit 0 set in the word that leads there.
#[inline(always)]
fn head_of(page: u64) -> u64 {
    let head: u64 = read(page, setting!(disk.page_head));
    if head & 1 == 0 {
        return page;
    }
    // From 7.0 on it may be a mask of the page's own address instead, which is
    // no address: all its upper bits are set.
    if head >> 40 == 0xff_ffff {
        return page & head;
    }
    head - 1
}

/// Makes the entry of a file.
#[inline(always)]
fn keep_file(key: &FileKey, inode: u64) {
    if key.file.access == Access::Unknown as u32 || DISK_FILES.get_ptr(key).is_some() {
        return;
    }
    let Some(new) = NEW_FILE_USE.get(0) else {
        return;
    };
    if DISK_FILES.insert(key, new, 0).is_err() {
        count(Counter::DiskFilesLost as u32);
        return;
    }
    let link: u64 = read(inode, setting!(disk.inode_names));
    if let (true, Some(file)) = (inode != 0 && link != 0, DISK_FILES.get_ptr_mut(key)) {
        let entry = link.wrapping_sub(u64::from(setting!(disk.name_link)));
        let name: u64 = read(entry, setting!(disk.name_text));
        // SAFETY: the map returned the entry; the kernel checks the address.
        let _ = unsafe { bpf_probe_read_kernel_str_bytes(name as *const u8, &mut (*file).name) };
    }
}
