//! Rules for Go's own code, which has no call frame information: from the
//! stack depths of `.gopclntab`.

use profiler_ebpf::{Rule, cfa, register};

use crate::elf::Elf;
use crate::elf::go::{GoFunction, GoTable};

/// Where a goroutine or a thread of the runtime begins. Newer tables flag
/// them (`TOPFRAME`); these are the names for the older ones, and those that
/// Go's own walker stops at too (src/runtime/traceback.go, `topofstack`, until
/// 1.16).
const ROOTS: [&str; 8] = [
    "_rt0_amd64",
    "_rt0_amd64_linux",
    "_rt0_amd64_linux_lib",
    "runtime.goexit",
    "runtime.mcall",
    "runtime.morestack",
    "runtime.mstart",
    "runtime.rt0_go",
];

/// They move the stack pointer to another stack; the frame pointer alone
/// still leads to the caller (src/runtime/asm_amd64.s).
const STACK_SWITCHES: [&str; 4] = [
    "runtime.asmcgocall",
    "runtime.asmcgocall_landingpad",
    "runtime.systemstack",
    "runtime.cgocallback",
];

/// The signal trampoline (src/runtime/sys_linux_amd64.s), by its names until
/// and since 1.20.
const TRAMPOLINES: [&str; 2] = ["runtime.sigreturn", "runtime.sigreturn__sigaction"];

pub(super) fn is_trampoline(function: &GoFunction) -> bool {
    TRAMPOLINES.contains(&function.name().as_ref())
}

/// Calls `row` with the start, the end and the rule of each row.
pub(super) fn rows(
    elf: &Elf,
    table: &GoTable,
    function: &GoFunction,
    mut row: impl FnMut(u64, u64, Rule),
) {
    let name = function.name();
    // Assembly functions have a second entry of another calling convention.
    let name = name.strip_suffix(".abi0").unwrap_or(&name);
    let whole = if is_trampoline(function) {
        Some(Rule::new(cfa::SIGNAL))
    } else if function.top_frame || ROOTS.contains(&name) {
        Some(Rule::new(cfa::ROOT))
    } else if STACK_SWITCHES.contains(&name) {
        Some(Rule::new(cfa::NONE))
    } else {
        None
    };
    if let Some(rule) = whole {
        row(function.start, function.end, rule);
        return;
    }
    let mut saves: Option<bool> = None;
    for (range, depth) in table.stack_depths(function) {
        let Some(offset) = depth
            .checked_add(8)
            .filter(|_| depth >= 0)
            .and_then(|offset| i32::try_from(offset).ok())
        else {
            row(range.start, range.end, Rule::new(cfa::NONE));
            continue;
        };
        let rule = Rule {
            register: register::RSP,
            offset,
            ..Rule::new(cfa::REGISTER)
        };
        if depth == 0 {
            row(range.start, range.end, rule);
            continue;
        }
        // The prologue's store comes right after the row begins, once.
        let store = match saves {
            Some(saves) => saves.then_some(0),
            None => saved_after(elf, range.start, offset),
        };
        saves = Some(store.is_some());
        match store {
            Some(length) => {
                let stored = (range.start + length).min(range.end);
                if stored > range.start {
                    row(range.start, stored, rule);
                }
                let mut saved = rule;
                // `rbp` is the first of SAVED_REGISTERS.
                saved.saved[0] = 2;
                if range.end > stored {
                    row(stored, range.end, saved);
                }
            }
            None => row(range.start, range.end, rule),
        }
    }
}

/// Bytes until the caller's frame pointer is stored at CFA - 16, if the
/// prologue does that: `mov [rsp + depth - 8], rbp` behind the subtraction, or
/// `push rbp` before it (Go 1.21 and later); src/cmd/internal/obj/x86/obj6.go.
fn saved_after(elf: &Elf, address: u64, offset: i32) -> Option<u64> {
    let place = offset - 16;
    let before = elf.bytes_at(address.checked_sub(1)?)?;
    let (&last, code) = before.split_first()?;
    if last == 0x55 && offset == 16 {
        return Some(0);
    }
    match *code.get(..5)? {
        [0x48, 0x89, 0x6c, 0x24, short] if i32::from(short as i8) == place => Some(5),
        [0x48, 0x89, 0xac, 0x24, _] => {
            let long = code.get(4..8)?.first_chunk::<4>()?;
            (i32::from_le_bytes(*long) == place).then_some(8)
        }
        // A frame of 8 bytes holds the frame pointer only.
        [0x48, 0x89, 0x2c, 0x24, _] if place == 0 => Some(4),
        _ => None,
    }
}
