//! From a state of call frame information to the rule that the walker reads.

use profiler_ebpf::{Rule, SAVED_REGISTERS, cfa, flag, register, saved};

use super::expression::Value;
use super::interpreter::{Location, RETURN_ADDRESS, STACK_POINTER, State};

/// The walker reads this many words below the CFA to find the return address.
const MAX_RETURN_SLOT: u8 = 8;

/// Offsets in `ucontext_t`: arch/x86/include/uapi/asm/sigcontext.h behind 40
/// bytes of arch/x86/include/uapi/asm/ucontext.h.
mod context {
    pub const RBP: i32 = 120;
    pub const RSP: i32 = 160;
    pub const RIP: i32 = 168;
}

/// `flags`: those of `profiler_ebpf::flag` that may be used.
pub(super) fn of(state: &State, signal: bool, flags: u8) -> Rule {
    const UNSUPPORTED: Rule = Rule::new(cfa::UNSUPPORTED);
    // DWARF 5 section 6.4.1: without a rule a register is undefined, and an
    // undefined return address ends the stack. For the others the psABI has a
    // better default (callee-saved).
    if matches!(
        state.locations[RETURN_ADDRESS],
        Location::Undefined | Location::Unspecified
    ) {
        return Rule::new(cfa::ROOT);
    }
    if let Some(rule) = signal_frame(state) {
        return rule;
    }
    // The walker gets all registers back from a signal frame, or none.
    if signal {
        return UNSUPPORTED;
    }
    let Some(mut rule) = state.cfa.and_then(frame_address) else {
        return UNSUPPORTED;
    };
    if !matches!(
        state.locations[STACK_POINTER],
        Location::Unspecified | Location::ValueOffset(0)
    ) {
        return UNSUPPORTED;
    }
    match state.locations[RETURN_ADDRESS] {
        Location::Register(number)
            if flags & flag::RETURN_REGISTER != 0 && number <= u64::from(register::R15) =>
        {
            rule.return_slot = number as u8;
            rule.flags |= flag::RETURN_REGISTER;
        }
        location => match slot(&location, state.cfa) {
            Some(slot) if slot <= MAX_RETURN_SLOT => rule.return_slot = slot,
            _ => return UNSUPPORTED,
        },
    }
    for (index, slots) in rule.saved.iter_mut().enumerate() {
        let location = &state.locations[index];
        *slots = match location {
            Location::Unspecified | Location::Same => saved::SAME,
            Location::Register(number) if *number == u64::from(SAVED_REGISTERS[index]) => {
                saved::SAME
            }
            _ => match (slot(location, state.cfa), frame_slot(location)) {
                (Some(slot), _) => slot,
                (None, Some(slot)) if flags & 1 << index & flag::FRAME_SLOTS != 0 => {
                    rule.flags |= 1 << index;
                    slot
                }
                _ => saved::LOST,
            },
        };
    }
    rule
}

fn frame_address(value: Value) -> Option<Rule> {
    match value {
        Value::Address { register, offset } if register <= register::R15 => Some(Rule {
            register,
            offset,
            ..Rule::new(cfa::REGISTER)
        }),
        Value::Loaded {
            register,
            offset,
            add,
        } => Some(Rule {
            register,
            offset,
            add: i16::try_from(add).ok()?,
            ..Rule::new(cfa::DEREFERENCE)
        }),
        Value::Indexed {
            register,
            offset,
            add,
        } => Some(Rule {
            register,
            offset,
            add: i16::try_from(add).ok()?,
            ..Rule::new(cfa::INDEXED)
        }),
        Value::Plt(threshold) => Some(Rule {
            register: register::RSP,
            offset: i32::from(threshold),
            ..Rule::new(cfa::PLT)
        }),
        _ => None,
    }
}

/// The slot below the CFA that a register is saved in, however it is said.
fn slot(location: &Location, frame_address: Option<Value>) -> Option<u8> {
    let offset = match (location, frame_address?) {
        (Location::Offset(offset), _) => *offset,
        (
            Location::At(Value::Address { register, offset }),
            Value::Address {
                register: base,
                offset: above,
            },
        ) if *register == base => i64::from(*offset) - i64::from(above),
        (
            Location::At(Value::Loaded {
                register,
                offset,
                add,
            }),
            Value::Loaded {
                register: base,
                offset: from,
                add: above,
            },
        ) if *register == base && *offset == from => i64::from(*add) - i64::from(above),
        _ => return None,
    };
    in_slots(offset)
}

/// The slot below `rbp + 8`: so `rbp` itself, at `[rbp]`, has slot 1.
fn frame_slot(location: &Location) -> Option<u8> {
    match location {
        Location::At(Value::Address {
            register: register::RBP,
            offset,
        }) => in_slots(i64::from(*offset) - 8),
        _ => None,
    }
}

fn in_slots(offset: i64) -> Option<u8> {
    if offset % 8 != 0 {
        return None;
    }
    u8::try_from(offset.checked_neg()? / 8)
        .ok()
        .filter(|slot| (1..=saved::MAX_SLOT).contains(slot))
}

/// A trampoline such as glibc's `__restore_rt` (sysdeps/unix/sysv/linux/x86_64/
/// libc_sigaction.c) describes each register by its place in the `ucontext`
/// above `rsp`. Where that is, three of them must agree on.
fn signal_frame(state: &State) -> Option<Rule> {
    let Some(Value::Loaded {
        register: register::RSP,
        offset,
        add: 0,
    }) = state.cfa
    else {
        return None;
    };
    let start = offset.checked_sub(context::RSP)?;
    let at = |field: i32| {
        start.checked_add(field).map(|offset| {
            Location::At(Value::Address {
                register: register::RSP,
                offset,
            })
        })
    };
    (state.locations[RETURN_ADDRESS] == at(context::RIP)?
        && state.locations[0] == at(context::RBP)?)
    .then_some(Rule {
        register: register::RSP,
        offset: start,
        ..Rule::new(cfa::SIGNAL)
    })
}
