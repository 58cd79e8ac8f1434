//! Entry points of the kernel side: which hook calls which source.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod gate;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod sources;
#[cfg(target_arch = "bpf")]
mod task;
#[cfg(target_arch = "bpf")]
mod walk;

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::{
        bindings::task_struct,
        macros::{btf_tracepoint, perf_event, raw_tracepoint, tracepoint},
        programs::{
            BtfTracePointContext, PerfEventContext, RawTracePointContext, TracePointContext,
        },
    };

    use profiler_ebpf::fault;

    use crate::{
        maps::setting,
        sources::{cgroup, cpu, gil, lifecycle, memory, sched, syscalls},
        task::Task,
        walk::Context,
    };

    #[perf_event]
    pub fn on_cpu(context: PerfEventContext) -> u32 {
        cpu::sample(&context);
        0
    }

    #[raw_tracepoint(tracepoint = "sched_process_exec")]
    pub fn process_exec(context: RawTracePointContext) -> u32 {
        lifecycle::exec(context.arg(1));
        0
    }

    #[raw_tracepoint(tracepoint = "sched_process_fork")]
    pub fn process_fork(context: RawTracePointContext) -> u32 {
        lifecycle::fork(context.arg(0), context.arg(1));
        0
    }

    #[raw_tracepoint(tracepoint = "sched_process_exit")]
    pub fn process_exit(_: RawTracePointContext) -> u32 {
        lifecycle::exit();
        0
    }

    #[tracepoint(category = "syscalls", name = "sys_enter_futex")]
    pub fn futex_enter(context: TracePointContext) -> u32 {
        gil::enter(&context);
        0
    }

    #[tracepoint(category = "syscalls", name = "sys_exit_futex")]
    pub fn futex_exit(context: TracePointContext) -> u32 {
        gil::exit(&context);
        0
    }

    /// Arguments of the tracepoint, include/trace/events/sched.h: whether the
    /// task was preempted, it, the next, and from 5.18 on its state.
    #[btf_tracepoint(function = "sched_switch")]
    pub fn thread_switch(context: BtfTracePointContext) -> u32 {
        let previous = Task::current();
        let state: u32 = if setting!(has_switch_state) != 0 {
            context.arg(3)
        } else {
            previous.state()
        };
        // As the kernel's own pointer, which the verifier must recognise.
        let next: *mut task_struct = context.arg(2);
        sched::switch(context.arg::<u64>(0) & 1 != 0, state, previous, next);
        0
    }

    #[raw_tracepoint(tracepoint = "sched_wakeup")]
    pub fn thread_wake(context: RawTracePointContext) -> u32 {
        sched::wake(Task(context.arg::<u64>(0)));
        0
    }

    #[raw_tracepoint(tracepoint = "sched_waking")]
    pub fn thread_waking(context: RawTracePointContext) -> u32 {
        let woken = Task(context.arg::<u64>(0));
        sched::wakes(Context::Return(&context), woken);
        0
    }

    #[raw_tracepoint(tracepoint = "sys_enter")]
    pub fn call_enter(context: RawTracePointContext) -> u32 {
        syscalls::enter(context.arg(0), context.arg(1));
        0
    }

    #[raw_tracepoint(tracepoint = "sys_exit")]
    pub fn call_return(context: RawTracePointContext) -> u32 {
        sched::call_returns(Context::Return(&context), context.arg(1));
        0
    }

    #[perf_event]
    pub fn minor_fault(context: PerfEventContext) -> u32 {
        memory::fault(&context, fault::MINOR);
        0
    }

    #[perf_event]
    pub fn major_fault(context: PerfEventContext) -> u32 {
        memory::fault(&context, fault::MAJOR);
        0
    }

    /// Of the host, `mm_vmscan_direct_reclaim_begin`, or of a cgroup,
    /// `mm_vmscan_memcg_reclaim_begin`.
    #[raw_tracepoint]
    pub fn reclaim_begin(_: RawTracePointContext) -> u32 {
        memory::reclaim_begins();
        0
    }

    #[raw_tracepoint]
    pub fn reclaim_end(_: RawTracePointContext) -> u32 {
        memory::reclaim_ends();
        0
    }

    #[raw_tracepoint(tracepoint = "mark_victim")]
    pub fn oom_kill(context: RawTracePointContext) -> u32 {
        memory::oom_kill(context.arg(0));
        0
    }

    #[raw_tracepoint(tracepoint = "cgroup_mkdir")]
    pub fn cgroup_created(context: RawTracePointContext) -> u32 {
        cgroup::created(context.arg(0), context.arg(1));
        0
    }
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Never reached: nothing on this side panics, and the verifier would
    // reject the endless loop if something could.
    loop {}
}

#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// The package is built for the host too, for its library; there the binary
/// has nothing to do.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
