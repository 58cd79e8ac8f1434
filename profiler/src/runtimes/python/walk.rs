//! The frames of a process, walked from outside as the kernel side does:
//! what each offset is checked with.

use profiler_ebpf::{PythonRuntime, ThreadSpecific, python_checksum, shape};

use super::Interpreter;
use crate::runtimes::{Memory, Unreadable};

/// A frame as the kernel side would send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walked {
    pub code: u64,
    pub instruction: u32,
    pub checksum: u32,
    /// Counts the activations of the evaluator, from the innermost one.
    pub activation: u32,
}

const MAX_FRAMES: usize = 1000;

fn word(bytes: &[u8], offset: u32) -> u64 {
    let offset = offset as usize;
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("8 bytes"))
}

/// All states of threads, by the list that the interpreter keeps.
pub fn thread_states(
    memory: &impl Memory,
    interpreter: &Interpreter,
    bias: u64,
) -> Result<Vec<ThreadState>, Unreadable> {
    let lists = &interpreter.lists;
    let runtime = interpreter.runtime.address.wrapping_add(bias);
    let head = memory.u64(runtime + u64::from(lists.interpreters))?;
    let mut address = memory.u64(head + u64::from(lists.threads))?;
    let mut states = Vec::new();
    while address != 0 && states.len() < MAX_FRAMES {
        let thread_pointer = memory.u64(address + u64::from(lists.thread_id))?;
        states.push(ThreadState {
            address,
            thread_pointer,
        });
        address = memory.u64(address + u64::from(lists.next))?;
    }
    Ok(states)
}

#[derive(Clone, Copy, Debug)]
pub struct ThreadState {
    pub address: u64,
    /// glibc and musl: `pthread_self()` is the thread pointer.
    pub thread_pointer: u64,
}

/// The thread state as `pthread_getspecific` finds it.
pub fn by_key(
    memory: &impl Memory,
    runtime: &PythonRuntime,
    bias: u64,
    thread_pointer: u64,
    values: ThreadSpecific,
) -> Result<u64, Unreadable> {
    let key = memory.u32(runtime.address.wrapping_add(bias) + u64::from(runtime.key))?;
    let mut table = thread_pointer + u64::from(values.offset);
    if values.indirect != 0 {
        table = memory.u64(table)?;
    } else if key >= ThreadSpecific::DIRECT_KEYS {
        return Ok(0);
    }
    memory.u64(table + u64::from(key) * u64::from(values.stride))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gil {
    pub last_holder: u64,
    pub locked: u32,
}

/// `struct _gil_runtime_state`, Include/internal/pycore_gil.h.
pub fn gil(
    memory: &impl Memory,
    runtime: &PythonRuntime,
    bias: u64,
    state: u64,
) -> Result<Gil, Unreadable> {
    let address = if runtime.gil_in_interpreter == 0 {
        runtime.address.wrapping_add(bias) + u64::from(runtime.gil)
    } else {
        let interpreter = memory.u64(state + u64::from(runtime.thread_interpreter))?;
        memory.u64(interpreter + u64::from(runtime.gil))?
    };
    Ok(Gil {
        last_holder: memory.u64(address + 8)?,
        locked: memory.u32(address + 16)?,
    })
}

/// Frames of a thread, innermost first.
pub fn frames(
    memory: &impl Memory,
    runtime: &PythonRuntime,
    state: u64,
) -> Result<Vec<Walked>, Unreadable> {
    let mut frame = memory.u64(state + u64::from(runtime.thread_frame))?;
    if matches!(runtime.shape, shape::ENTRY_FLAG | shape::SHIM_BY_CFRAME) {
        frame = memory.u64(frame + u64::from(runtime.cframe_current))?;
    }
    let mut frames = Vec::new();
    let mut activation = 0;
    for _ in 0..MAX_FRAMES {
        if frame == 0 {
            break;
        }
        let bytes = memory.bytes(frame, 112)?;
        let previous = word(&bytes, runtime.frame_previous);
        let owner = bytes[runtime.frame_owner as usize];
        let shims = matches!(runtime.shape, shape::SHIM | shape::SHIM_BY_CFRAME);
        if shims && owner >= PythonRuntime::FIRST_SHIM_OWNER {
            activation += 1;
            frame = previous;
            continue;
        }
        let code = word(&bytes, runtime.frame_code) & !PythonRuntime::TAG_BITS;
        let instruction = word(&bytes, runtime.frame_instruction);
        let name = memory.u64(code + u64::from(runtime.code_name))?;
        let first_line = memory.u32(code + u64::from(runtime.code_first_line))?;
        frames.push(Walked {
            code,
            instruction: if runtime.shape == shape::FRAME_OBJECTS {
                instruction as u32
            } else {
                instruction.wrapping_sub(code + u64::from(runtime.code_start)) as u32
            },
            checksum: python_checksum(name, first_line),
            activation,
        });
        if runtime.shape == shape::FRAME_OBJECTS || runtime.shape == shape::ENTRY_FLAG && owner != 0
        {
            activation += 1;
        }
        frame = previous;
    }
    Ok(frames)
}
