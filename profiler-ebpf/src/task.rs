//! Reading the kernel's structures of the running task.

use core::marker::PhantomData;

use aya_ebpf::{
    bindings::task_struct,
    helpers::{bpf_get_current_task, bpf_get_current_task_btf, bpf_probe_read_kernel},
};
use profiler_ebpf::{COMM_LENGTH, Descriptor, KernelOffsets, ProcessKey};

use crate::maps::setting;

/// How a structure of the kernel is read.
pub trait Access: Copy {
    fn read<T: Default>(base: u64, offset: u32) -> T;
}

/// By a helper that checks the address: whatever it is.
#[derive(Clone, Copy)]
pub struct Checked;

/// By a load, which takes a tenth of the time. The verifier must know by BTF
/// what is there: it does of arguments of `tp_btf` programs, of what some helpers
/// return, and of what members of those point to, one structure at a time. Of
/// anything else it refuses the program.
#[derive(Clone, Copy)]
pub struct Typed;

impl Access for Checked {
    #[inline(always)]
    fn read<T: Default>(base: u64, offset: u32) -> T {
        read(base, offset)
    }
}

impl Access for Typed {
    #[inline(always)]
    fn read<T: Default>(base: u64, offset: u32) -> T {
        // SAFETY: the verifier has seen that there is such a member. The kernel
        // handles the fault, and yields 0, should the structure be gone
        // (BPF_PROBE_MEM, 5.5).
        unsafe { ((base + u64::from(offset)) as *const T).read_volatile() }
    }
}

/// A `task_struct`. The address comes from the kernel; a read that fails yields
/// 0.
#[derive(Clone, Copy)]
pub struct Task<A = Checked>(pub u64, PhantomData<A>);

/// include/linux/sched.h, 5.10 to 7.2.
const PF_KTHREAD: u32 = 0x0020_0000;
const PF_IO_WORKER: u32 = 0x0000_0010;
const PF_USER_WORKER: u32 = 0x0000_4000;

#[inline(always)]
pub fn read<T: Default>(base: u64, offset: u32) -> T {
    // SAFETY: bpf_probe_read_kernel checks the address and never faults.
    unsafe { bpf_probe_read_kernel((base + offset as u64) as *const T) }.unwrap_or_default()
}

impl Task<Typed> {
    /// The running one. Kernels that tell no type of it are before 5.11; those
    /// before 5.15, see `Settings::has_task_pt_regs`, are taken for such.
    #[inline(always)]
    pub fn running() -> Self {
        // SAFETY: has no precondition.
        Self::typed(unsafe { bpf_get_current_task_btf() })
    }

    /// `pointer` must be one that the verifier knows.
    #[inline(always)]
    pub fn typed(pointer: *mut task_struct) -> Self {
        Self(pointer as u64, PhantomData)
    }

    /// To hand it to a helper.
    #[inline(always)]
    pub fn pointer(self) -> *mut task_struct {
        self.0 as *mut task_struct
    }

    #[inline(always)]
    pub fn checked(self) -> Task {
        Task::at(self.0)
    }

    /// What the hypervisor has taken of the CPU that it runs on since the kernel
    /// started, nanoseconds; 0 if that is not known.
    #[inline(always)]
    pub fn cpu_stolen(self) -> u64 {
        let offset = setting!(offsets.cpu_stolen);
        if offset == KernelOffsets::ABSENT {
            return 0;
        }
        let queue: u64 = Typed::read(self.0, setting!(offsets.task_queue));
        let cpu: u64 = Typed::read(queue, setting!(offsets.queue_cpu));
        Typed::read(cpu, offset)
    }
}

impl<A: Access> Task<A> {
    #[inline(always)]
    pub fn tid(self) -> u32 {
        A::read(self.0, setting!(offsets.task_pid))
    }

    #[inline(always)]
    pub fn tgid(self) -> u32 {
        A::read(self.0, setting!(offsets.task_tgid))
    }

    #[inline(always)]
    pub fn state(self) -> u32 {
        A::read(self.0, setting!(offsets.task_state))
    }

    /// What its descriptor `number` refers to.
    #[inline(always)]
    pub fn descriptor(self, number: u32) -> Descriptor {
        let mode: u16 = read(self.inode(number), setting!(offsets.inode_mode));
        Descriptor::of_mode(u32::from(mode))
    }

    /// The `struct inode` of its descriptor `number`, 0 if there is none.
    #[inline(always)]
    pub fn inode(self, number: u32) -> u64 {
        read(self.file(number), setting!(offsets.file_inode))
    }

    /// The `struct file` behind its descriptor `number`, 0 for none.
    #[inline(always)]
    pub fn file(self, number: u32) -> u64 {
        let files: u64 = A::read(self.0, setting!(offsets.task_files));
        let table: u64 = A::read(files, setting!(offsets.files_table));
        let size: u32 = A::read(table, setting!(offsets.table_size));
        if number >= size {
            return 0;
        }
        // An array of pointers, of which BTF knows nothing.
        let array: u64 = A::read(table, setting!(offsets.table_files));
        read(array + u64::from(number) * 8, 0)
    }

    /// The fair run queue of its group, and how long that was throttled so
    /// far, nanoseconds.
    #[inline(always)]
    pub fn queue(self) -> (u64, u64) {
        let (queue, throttled) = (
            setting!(offsets.task_queue),
            setting!(offsets.queue_throttled),
        );
        if queue == KernelOffsets::ABSENT || throttled == KernelOffsets::ABSENT {
            return (0, 0);
        }
        let queue: u64 = A::read(self.0, queue);
        (queue, A::read(queue, throttled))
    }

    /// It has user-space registers and memory of its own.
    #[inline(always)]
    pub fn has_user_stack(self) -> bool {
        let flags: u32 = A::read(self.0, setting!(offsets.task_flags));
        // Before 6.4 the bit of PF_USER_WORKER meant PF_USED_ASYNC, which only
        // threads that load modules carry.
        let mm: u64 = A::read(self.0, setting!(offsets.task_mm));
        flags & (PF_KTHREAD | PF_IO_WORKER | PF_USER_WORKER) == 0 && mm != 0
    }

    #[inline(always)]
    pub fn leader(self) -> Self {
        Self(
            A::read(self.0, setting!(offsets.task_group_leader)),
            PhantomData,
        )
    }

    /// Identity of the process that the task belongs to. `tgid` is passed in
    /// since callers have it.
    #[inline(always)]
    pub fn process_key(self, tgid: u32) -> ProcessKey {
        ProcessKey {
            tgid,
            exec_id: A::read(self.0, setting!(offsets.task_self_exec_id)),
            start_boottime: A::read(self.leader().0, setting!(offsets.task_start_boottime)),
        }
    }

    #[inline(always)]
    pub fn name(self) -> [u8; COMM_LENGTH] {
        let words: [u64; COMM_LENGTH / 8] = A::read(self.0, setting!(offsets.task_comm));
        // SAFETY: of the same size, and any bytes are a name.
        unsafe { core::mem::transmute(words) }
    }

    /// Id of the task's cgroup in the version 2 hierarchy.
    #[inline(always)]
    pub fn cgroup_v2(self) -> u64 {
        let css_set: u64 = A::read(self.0, setting!(offsets.task_cgroups));
        cgroup_id::<A>(A::read(css_set, setting!(offsets.css_set_default_cgroup)))
    }

    /// Id of its cgroup under the version 1 controller chosen by userspace, 0
    /// when the host has none.
    #[inline(always)]
    pub fn cgroup_v1(self) -> u64 {
        let subsystem = setting!(cgroup_v1_subsystem);
        if subsystem == KernelOffsets::ABSENT {
            return 0;
        }
        let css_set: u64 = A::read(self.0, setting!(offsets.task_cgroups));
        let css: u64 = A::read(
            css_set,
            setting!(offsets.css_set_subsystems).wrapping_add(subsystem.wrapping_mul(8)),
        );
        cgroup_id::<A>(A::read(css, setting!(offsets.css_cgroup)))
    }
}

impl Task {
    #[inline(always)]
    pub fn at(address: u64) -> Self {
        Self(address, PhantomData)
    }

    #[inline(always)]
    pub fn current() -> Self {
        // SAFETY: has no precondition.
        Self::at(unsafe { bpf_get_current_task() })
    }

    /// The `struct file` behind descriptor `number` of the running task, 0 for none.
    #[inline(always)]
    pub fn file_of_current(number: u32) -> u64 {
        if setting!(has_task_pt_regs) != 0 {
            Task::running().file(number)
        } else {
            Self::current().file(number)
        }
    }

    #[inline(always)]
    pub fn is_kernel_thread(self) -> bool {
        let flags: u32 = read(self.0, setting!(offsets.task_flags));
        flags & PF_KTHREAD != 0
    }

    /// Where the path lies by which its program was started: the kernel puts it
    /// above the environment (fs/exec.c, do_execveat_common; fs/binfmt_elf.c,
    /// create_elf_tables, 5.10 to 7.2).
    #[inline(always)]
    pub fn program_path(self) -> u64 {
        let memory: u64 = read(self.0, setting!(offsets.task_mm));
        read(memory, setting!(offsets.memory_environment_end))
    }

    #[inline(always)]
    pub fn parent(self) -> Self {
        Self::at(read(self.0, setting!(offsets.task_parent)))
    }

    /// Threads of the process that are still alive, without this one once it
    /// is in `do_exit`.
    #[inline(always)]
    pub fn live_threads(self) -> i32 {
        let signal: u64 = read(self.0, setting!(offsets.task_signal));
        read(signal, setting!(offsets.signal_live))
    }
}

/// Id of a `struct cgroup`: the inode number of its directory.
#[inline(always)]
pub fn cgroup_id<A: Access>(cgroup: u64) -> u64 {
    let node: u64 = A::read(cgroup, setting!(offsets.cgroup_kernfs_node));
    A::read(node, setting!(offsets.kernfs_node_id))
}
