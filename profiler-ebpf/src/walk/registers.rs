//! Registers of user space at the moment of the event. The only file of the
//! walker that knows the order of `struct pt_regs`; another architecture
//! needs another of these, and its own DWARF numbers in the ABI.

use core::marker::PhantomData;

use aya_ebpf::{
    helpers::{bpf_get_current_task_btf, bpf_probe_read_kernel_buf, bpf_task_pt_regs},
    programs::PerfEventContext,
};
use profiler_ebpf::{Outcome, register};

use super::{Context, Walk};
use crate::{
    maps::setting,
    task::{Access, Checked, Task, Typed, read},
};

/// Words of `struct pt_regs`, arch/x86/include/asm/ptrace.h.
pub const COUNT: usize = 21;
/// Room for them: a power of two, so that an index can be bounded by a mask.
pub const ROOM: usize = 32;

/// `regs->di` and `regs->si`, the first arguments of a system call.
const RDI: usize = 14;
const RSI: usize = 13;
const RDX: usize = 12;
const R10: usize = 7;
const RBP: usize = 4;
const R8: usize = 9;
const R9: usize = 8;
/// `regs->orig_ax`: its number, or -1 in an exception.
const CALL_NUMBER: usize = 15;
const RCX: usize = 11;
const RIP: usize = 16;
const CS: usize = 17;
const RSP: usize = 19;
/// `pt_regs` index and DWARF number of the other registers.
const GENERAL: [(usize, u8); 15] = [
    (0, register::R15),
    (1, register::R14),
    (2, register::R13),
    (3, register::R12),
    (4, register::RBP),
    (5, register::RBX),
    (6, register::R11),
    (7, register::R10),
    (8, register::R9),
    (9, register::R8),
    (10, register::RAX),
    (11, register::RCX),
    (12, register::RDX),
    (13, register::RSI),
    (14, register::RDI),
];

/// Low bits of the code segment: 3 in user mode.
const PRIVILEGE_MASK: u64 = 3;
/// Code segment of 32-bit code, `__USER32_CS`.
const USER32_CS: u64 = 0x23;

/// Fills the walk's registers.
#[inline(always)]
pub fn load(context: &Context<'_>, task: Task, walk: &mut Walk) -> Result<(), Outcome> {
    if let Context::Perf(perf) | Context::Fault(perf) = context
        && !in_kernel(perf)
    {
        let interrupted = perf.ctx.cast::<[u64; COUNT]>();
        // SAFETY: as in `in_kernel`; the index is within it.
        return begin(walk, |_, index| unsafe { (*interrupted)[index] });
    }
    load_saved(task, walk)?;
    begin(walk, |walk, index| walk.entry_registers[index & (ROOM - 1)])
}

/// `saved` tells a word of the `pt_regs` of user space.
#[inline(always)]
fn begin(walk: &mut Walk, saved: impl Fn(&Walk, usize) -> u64) -> Result<(), Outcome> {
    if saved(walk, CS) == USER32_CS {
        return Err(Outcome::Compat32);
    }
    for (index, number) in GENERAL {
        walk.registers[number as usize & 15] = saved(walk, index);
    }
    walk.registers[register::RSP as usize] = saved(walk, RSP);
    // What follows the instruction that made a system call may be another
    // function: a signal trampoline ends with it. It leaves that address in rcx
    // (AMD64 Architecture Programmer's Manual 3, SYSCALL), where a thread that is
    // about to begin a program or a handler has something else.
    let next = saved(walk, RIP);
    let calls = saved(walk, CALL_NUMBER) != u64::MAX && saved(walk, RCX) == next;
    walk.pc = next.wrapping_sub(u64::from(calls));
    walk.valid = 0xffff;
    Ok(())
}

/// Of the kernel code that the event interrupted: what [`super::kernel`] follows.
#[inline(always)]
pub fn begin_kernel(perf: &PerfEventContext, walk: &mut Walk) {
    let interrupted = perf.ctx.cast::<[u64; COUNT]>();
    // SAFETY: as in `in_kernel`; the indices are within it.
    let word = |index: usize| unsafe { (*interrupted)[index] };
    walk.pc = word(RIP);
    walk.registers[register::RSP as usize] = word(RSP);
    walk.registers[register::RBP as usize] = word(RBP);
    walk.exact = 1;
}

/// From the `pt_regs` in `entry_registers`, of which all or only some are there.
/// False if they are user space's.
#[inline(always)]
pub fn continue_kernel(walk: &mut Walk, all: bool) -> bool {
    let saved = &walk.entry_registers;
    if saved[CS] & PRIVILEGE_MASK != 0 {
        return false;
    }
    walk.pc = saved[RIP];
    walk.registers[register::RSP as usize] = saved[RSP];
    if all {
        walk.registers[register::RBP as usize] = saved[RBP];
    }
    true
}

/// How many events a sample stands for.
#[inline(always)]
pub fn sample_period(perf: &PerfEventContext) -> u64 {
    // SAFETY: it is the word behind the pt_regs
    // (include/uapi/linux/bpf_perf_event.h).
    unsafe { (*perf.ctx.cast::<[u64; COUNT + 1]>())[COUNT] }
}

/// Whether the event interrupted the kernel.
#[inline(always)]
pub fn in_kernel(perf: &PerfEventContext) -> bool {
    let interrupted = perf.ctx.cast::<[u64; COUNT]>();
    // SAFETY: the context begins with the interrupted pt_regs
    // (include/uapi/linux/bpf_perf_event.h).
    let cs = unsafe { (*interrupted)[CS] };
    cs & PRIVILEGE_MASK == 0
}

/// Where the registers are saved of a thread that is in a system call.
#[derive(Clone, Copy)]
pub struct Saved<A = Typed>(u64, PhantomData<A>);

impl Saved {
    /// `pointer` must be one that the verifier knows.
    #[inline(always)]
    pub fn typed(pointer: u64) -> Self {
        Self(pointer, PhantomData)
    }
}

impl Saved<Checked> {
    #[inline(always)]
    fn at(address: u64) -> Self {
        Self(address, PhantomData)
    }
}

impl<A: Access> Saved<A> {
    #[inline(always)]
    fn word(self, index: usize) -> u64 {
        A::read(self.0, (index * 8) as u32)
    }

    /// Whether they are those of 32-bit code.
    #[inline(always)]
    pub fn is_compat(self) -> bool {
        self.word(CS) == USER32_CS
    }

    /// Argument `index` of the call.
    #[inline(always)]
    pub fn argument(self, index: usize) -> u64 {
        const ORDER: [usize; 6] = [RDI, RSI, RDX, R10, R8, R9];
        self.word(ORDER[index])
    }

    /// Its number; `u64::MAX` in an exception.
    #[inline(always)]
    pub fn number(self) -> u64 {
        self.word(CALL_NUMBER)
    }

    #[inline(always)]
    fn call(self) -> Call {
        Call {
            number: self.number(),
            arguments: [self.argument(0), self.argument(1)],
        }
    }
}

/// A system call that the running task is in.
#[derive(Clone, Copy)]
pub struct Call {
    /// `u64::MAX` in an exception.
    pub number: u64,
    /// The first two.
    pub arguments: [u64; 2],
}

/// Of the running task, which is `task`.
#[inline(always)]
pub fn call<A: Access>(task: Task<A>) -> Call {
    if setting!(has_task_pt_regs) != 0 {
        Saved::typed(known_saved()).call()
    } else {
        Saved::at(saved_by_stack(task.0)).call()
    }
}

/// Its third and fourth arguments.
#[inline(always)]
pub fn more_arguments(task: Task) -> [u64; 2] {
    let saved = Saved::at(saved_at(task));
    [saved.argument(2), saved.argument(3)]
}

/// Where the kernel saved the registers when the running task entered it.
#[inline(always)]
fn saved_at(task: Task) -> u64 {
    if setting!(has_task_pt_regs) != 0 {
        known_saved()
    } else {
        saved_by_stack(task.0)
    }
}

/// As the verifier knows it.
#[inline(always)]
fn known_saved() -> u64 {
    // SAFETY: the current task is valid for the length of the program.
    unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) as u64 }
}

/// arch/x86/include/asm/processor.h, task_pt_regs(): at the top of the kernel
/// stack, without padding on x86-64 before 6.9.
#[inline(always)]
fn saved_by_stack(task: u64) -> u64 {
    let stack: u64 = read(task, setting!(offsets.task_stack));
    stack + u64::from(setting!(kernel_stack_size)) - (COUNT * 8) as u64
}

#[inline(always)]
fn load_saved(task: Task, walk: &mut Walk) -> Result<(), Outcome> {
    let address = saved_at(task);
    let buffer = walk.entry_registers.as_mut_ptr().cast::<[u8; COUNT * 8]>();
    // SAFETY: the buffer is the walk's own; the kernel checks the address.
    unsafe { bpf_probe_read_kernel_buf(address as *const u8, &mut *buffer) }
        .map_err(|_| Outcome::StackUnreadable)
}
