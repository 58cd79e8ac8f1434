//! A walk of the generated code's frames of a stopped thread.

use std::path::Path;

use profiler_ebpf::{V8Runtime, v8};

use crate::{
    elf::Elf,
    process::{Image, MapsEntry, Parts, read_maps},
    runtimes::{Memory, ProcessMemory, v8::Engine},
};

/// Deeper stacks are none of our programs'.
const MAX_FRAMES: usize = 200;

/// A process whose main thread is stopped, as long as this lives.
pub struct Stopped {
    pid: libc::pid_t,
}

impl Stopped {
    pub fn new(pid: u32) -> Self {
        let pid = libc::pid_t::try_from(pid).expect("a pid");
        let nothing = std::ptr::null_mut::<libc::c_void>();
        let mut status = 0;
        // SAFETY: the calls take no pointers but `status`.
        unsafe {
            assert_eq!(libc::ptrace(libc::PTRACE_SEIZE, pid, nothing, nothing), 0);
            assert_eq!(
                libc::ptrace(libc::PTRACE_INTERRUPT, pid, nothing, nothing),
                0
            );
            assert_eq!(libc::waitpid(pid, &mut status, libc::__WALL), pid);
        }
        Self { pid }
    }

    fn registers(&self) -> libc::user_regs_struct {
        // SAFETY: plain numbers.
        let mut registers = unsafe { std::mem::zeroed::<libc::user_regs_struct>() };
        let nothing = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: the kernel writes a user_regs_struct.
        let done =
            unsafe { libc::ptrace(libc::PTRACE_GETREGS, self.pid, nothing, &raw mut registers) };
        assert_eq!(done, 0);
        registers
    }

    /// Frames of JavaScript, innermost first: kind, object and detail. `None`
    /// when the thread is in native code.
    pub fn walk(
        &self,
        memory: &ProcessMemory,
        engine: &Engine,
        node: &Path,
    ) -> Option<Vec<(u32, u64, u64)>> {
        let places = Places::of(self.pid, engine, node);
        let registers = self.registers();
        let (mut pc, mut stack, mut frame) = (registers.rip, registers.rsp, registers.rbp);
        let mut exact = true;
        let mut frames = Vec::new();
        for _ in 0..MAX_FRAMES {
            let address = if exact { pc } else { pc - 1 };
            let builtin = match places.find(address) {
                Place::Generated => false,
                Place::Builtin => true,
                Place::Native if exact => return None,
                Place::Native => return Some(frames),
            };
            let area = area(memory, frame)?;
            let top = memory.u64(stack).unwrap_or(0);
            let kind = v8::classify(&engine.runtime, &area, |address| memory.u64(address).ok());
            let entries = v8::entries(kind, address, exact, builtin, top);
            if let Some(detail) = entries.code {
                frames.push((profiler_ebpf::javascript::CODE, address, detail));
            }
            frames.extend(entries.function);
            if frame < stack {
                return Some(frames);
            }
            pc = memory.u64(frame + 8).ok()?;
            stack = frame + 16;
            frame = memory.u64(frame).ok()?;
            exact = false;
        }
        Some(frames)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let nothing = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: takes no pointers.
        unsafe {
            libc::ptrace(libc::PTRACE_DETACH, self.pid, nothing, nothing);
        }
    }
}

fn area(memory: &ProcessMemory, frame: u64) -> Option<[u64; V8Runtime::FRAME_WORDS]> {
    let mut area = [0; V8Runtime::FRAME_WORDS];
    let start = frame.checked_sub(8 * V8Runtime::FRAME_WORDS as u64)?;
    for (word, address) in area.iter_mut().zip((start..).step_by(8)) {
        *word = memory.u64(address).ok()?;
    }
    Some(area)
}

enum Place {
    Generated,
    Builtin,
    Native,
}

/// The executable mappings of a Node.
struct Places {
    mappings: Vec<(MapsEntry, Option<u64>)>,
    builtins: profiler_ebpf::CodeRange,
}

impl Places {
    fn of(pid: libc::pid_t, engine: &Engine, node: &Path) -> Self {
        let file = std::fs::File::open(node).expect("node");
        let image = Image::read(&file, Parts::Description).expect("its parts");
        let elf = Elf::parse(image.bytes()).expect("an ELF file");
        let bias = |entry: &MapsEntry| {
            (entry.path == node)
                .then(|| elf.bias(entry.start, entry.offset))
                .flatten()
        };
        let mappings = read_maps(pid as u32)
            .expect("its mappings")
            .into_iter()
            .map(|entry| {
                let bias = bias(&entry);
                (entry, bias)
            })
            .collect();
        Self {
            mappings,
            builtins: engine.builtins,
        }
    }

    fn find(&self, address: u64) -> Place {
        let mapping = self
            .mappings
            .iter()
            .find(|(entry, _)| (entry.start..entry.end).contains(&address));
        match mapping {
            Some((entry, _)) if entry.inode == 0 && entry.path.as_os_str().is_empty() => {
                Place::Generated
            }
            Some((_, Some(bias))) if self.builtins.contains(address.wrapping_sub(*bias)) => {
                Place::Builtin
            }
            _ => Place::Native,
        }
    }
}
