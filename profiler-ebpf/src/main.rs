//! Entry points of the kernel side: which hook calls which source.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
// For one instruction, see atomic.rs.
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod atomic;
#[cfg(target_arch = "bpf")]
mod gate;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod scratch;
#[cfg(target_arch = "bpf")]
mod sources;
#[cfg(target_arch = "bpf")]
mod task;
#[cfg(target_arch = "bpf")]
mod walk;

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::{
        macros::{btf_tracepoint, perf_event, raw_tracepoint, tracepoint, uprobe},
        programs::{
            BtfTracePointContext, PerfEventContext, ProbeContext, RawTracePointContext,
            TracePointContext,
        },
    };

    use profiler_ebpf::{Direction, Phase, fault};

    use crate::{
        maps::{network_setting, setting},
        sources::{
            block, cache, cgroup, cpu, gil, kernel, lifecycle, memory, network, sched, statements,
            syscalls,
        },
        task::Task,
        walk::{Context, registers::Saved},
    };

    #[perf_event]
    pub fn on_cpu(context: PerfEventContext) -> u32 {
        cpu::sample(&context);
        0
    }

    /// Attached nowhere: userspace runs it, to learn what data the kernel's stacks are
    /// walked by.
    ///
    /// Without aya's attribute, whose programs return 0 whatever they say.
    #[unsafe(no_mangle)]
    #[unsafe(link_section = "raw_tp")]
    pub extern "C" fn kernel_word(context: *mut core::ffi::c_void) -> u32 {
        kernel::word(RawTracePointContext::new(context).arg(0))
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
        let previous = Task::typed(context.arg(1));
        let state: u32 = if setting!(has_switch_state) != 0 {
            context.arg(3)
        } else {
            previous.state()
        };
        let next = Task::typed(context.arg(2));
        sched::switch(context.arg::<u64>(0) & 1 != 0, state, previous, next);
        0
    }

    #[btf_tracepoint(function = "sched_wakeup")]
    pub fn thread_wake(context: BtfTracePointContext) -> u32 {
        sched::wake(Task::typed(context.arg(0)));
        0
    }

    #[btf_tracepoint(function = "sched_waking")]
    pub fn thread_waking(context: BtfTracePointContext) -> u32 {
        let woken = Task::typed(context.arg(0));
        sched::wakes(Context::Within(&context), woken);
        0
    }

    /// Arguments of this and the next, include/trace/events/syscalls.h: where the
    /// registers are saved, and the call's number or what it returns.
    #[btf_tracepoint(function = "sys_enter")]
    pub fn call_enter(context: BtfTracePointContext) -> u32 {
        syscalls::enter(Saved::typed(context.arg(0)), context.arg(1));
        0
    }

    #[btf_tracepoint(function = "sys_exit")]
    pub fn call_return(context: BtfTracePointContext) -> u32 {
        let (saved, result) = (Saved::typed(context.arg(0)), context.arg(1));
        sched::call_returns(Context::Within(&context), saved, result);
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

    /// Arguments of this and the next, include/trace/events/sock.h (6.3): the
    /// socket, what the call returns, and its flags.
    #[btf_tracepoint(function = "sock_send_length")]
    pub fn network_send(context: BtfTracePointContext) -> u32 {
        let length = i64::from(context.arg::<i32>(1));
        let within = Context::Within(&context);
        network::moved(within, Direction::Sent, context.arg(0), length, 0);
        0
    }

    #[btf_tracepoint(function = "sock_recv_length")]
    pub fn network_receive(context: BtfTracePointContext) -> u32 {
        let length = i64::from(context.arg::<i32>(1));
        let flags = context.arg::<u32>(2).into();
        let within = Context::Within(&context);
        network::moved(within, Direction::Received, context.arg(0), length, flags);
        0
    }

    /// In place of the two before on kernels that do not have them.
    #[raw_tracepoint(tracepoint = "sys_exit")]
    pub fn network_call(context: RawTracePointContext) -> u32 {
        network::call_returns(&context);
        0
    }

    /// The socket, its old and its new state, include/trace/events/sock.h.
    #[btf_tracepoint(function = "inet_sock_set_state")]
    pub fn network_state(context: BtfTracePointContext) -> u32 {
        network::tcp::state_changes(context.arg(0), context.arg(1), context.arg(2));
        0
    }

    #[btf_tracepoint(function = "tcp_retransmit_skb")]
    pub fn network_retransmit(context: BtfTracePointContext) -> u32 {
        network::tcp::retransmitted(context.arg(0));
        0
    }

    #[btf_tracepoint(function = "tcp_send_reset")]
    pub fn network_reset_sent(context: BtfTracePointContext) -> u32 {
        network::tcp::reset_sent(context.arg(0));
        0
    }

    #[btf_tracepoint(function = "tcp_receive_reset")]
    pub fn network_reset(context: BtfTracePointContext) -> u32 {
        network::tcp::reset_received(context.arg(0));
        0
    }

    /// The packet, where it is dropped, why (5.17), and the socket that it was
    /// for (6.11), include/trace/events/skb.h.
    #[btf_tracepoint(function = "kfree_skb")]
    pub fn network_drop(context: BtfTracePointContext) -> u32 {
        let reason = if network_setting!(has_drop_reason) != 0 {
            context.arg(2)
        } else {
            0
        };
        if network_setting!(has_drop_socket) != 0 {
            network::tcp::dropped(reason, context.arg(3));
        } else {
            network::tcp::dropped(reason, core::ptr::null_mut());
        }
        0
    }

    /// Where the kernel does not tell of requests when they are made (before
    /// 6.5), attached to `block_rq_insert`.
    #[raw_tracepoint(tracepoint = "block_io_start")]
    pub fn request_submit(context: RawTracePointContext) -> u32 {
        block::submitted(&context, block::request_of(&context));
        0
    }

    #[raw_tracepoint(tracepoint = "block_rq_issue")]
    pub fn request_issue(context: RawTracePointContext) -> u32 {
        block::issued(block::request_of(&context));
        0
    }

    /// On such a kernel, of a request that went to the driver without being
    /// queued.
    #[raw_tracepoint(tracepoint = "block_rq_issue")]
    pub fn request_direct(context: RawTracePointContext) -> u32 {
        let request = block::request_of(&context);
        block::submitted(&context, request);
        block::issued(request);
        0
    }

    #[raw_tracepoint(tracepoint = "block_rq_merge")]
    pub fn request_merge(context: RawTracePointContext) -> u32 {
        block::merged(block::request_of(&context));
        0
    }

    /// Arguments of the tracepoint, include/trace/events/block.h: the request,
    /// its error (of one byte from 5.17 on), and how many bytes are done.
    #[raw_tracepoint(tracepoint = "block_rq_complete")]
    pub fn request_complete(context: RawTracePointContext) -> u32 {
        let error = context.arg::<u64>(1) & 0xff != 0;
        let bytes = context.arg::<u64>(2) & 0xffff_ffff;
        block::completed(context.arg(0), error, bytes);
        0
    }

    #[raw_tracepoint(tracepoint = "writeback_dirty_folio")]
    pub fn page_dirty(context: RawTracePointContext) -> u32 {
        cache::dirtied(context.arg(0));
        0
    }

    #[raw_tracepoint(tracepoint = "mm_filemap_add_to_page_cache")]
    pub fn page_add(context: RawTracePointContext) -> u32 {
        cache::added(context.arg(0));
        0
    }

    #[raw_tracepoint(tracepoint = "mm_filemap_get_pages")]
    pub fn page_look_up(context: RawTracePointContext) -> u32 {
        cache::looked_up(context.arg(0), context.arg(1), context.arg(2));
        0
    }

    #[raw_tracepoint(tracepoint = "cgroup_mkdir")]
    pub fn cgroup_created(context: RawTracePointContext) -> u32 {
        cgroup::created(context.arg(0), context.arg(1));
        0
    }

    /// `statement-status` of PostgreSQL: what a backend is at. Of this and the next,
    /// which probe each is attached to stands in userspace.
    #[uprobe]
    pub fn statement_status(context: ProbeContext) -> u32 {
        statements::status(&context);
        0
    }

    #[uprobe]
    pub fn statement_parse_start(context: ProbeContext) -> u32 {
        statements::phase_begins(&context, Phase::Parse);
        0
    }

    #[uprobe]
    pub fn statement_parse_done(context: ProbeContext) -> u32 {
        statements::phase_ends(&context, Phase::Parse);
        0
    }

    #[uprobe]
    pub fn statement_rewrite_start(context: ProbeContext) -> u32 {
        statements::phase_begins(&context, Phase::Rewrite);
        0
    }

    #[uprobe]
    pub fn statement_rewrite_done(context: ProbeContext) -> u32 {
        statements::phase_ends(&context, Phase::Rewrite);
        0
    }

    #[uprobe]
    pub fn statement_plan_start(context: ProbeContext) -> u32 {
        statements::phase_begins(&context, Phase::Plan);
        0
    }

    #[uprobe]
    pub fn statement_plan_done(context: ProbeContext) -> u32 {
        statements::phase_ends(&context, Phase::Plan);
        0
    }

    #[uprobe]
    pub fn statement_execute_start(context: ProbeContext) -> u32 {
        statements::phase_begins(&context, Phase::Execute);
        0
    }

    #[uprobe]
    pub fn statement_execute_done(context: ProbeContext) -> u32 {
        statements::phase_ends(&context, Phase::Execute);
        0
    }

    #[uprobe]
    pub fn statement_lock_start(_: ProbeContext) -> u32 {
        statements::lock_wait_begins();
        0
    }

    #[uprobe]
    pub fn statement_lock_done(_: ProbeContext) -> u32 {
        statements::lock_wait_ends();
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
