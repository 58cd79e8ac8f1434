//! A machine without a program: registers of fixed values and a memory whose
//! every word is a function of its address. Two ways of unwinding agree if
//! they compute the same frame on it.

use gimli::{
    CfaRule, EvaluationResult, Register, RegisterRule, UnwindExpression, UnwindSection,
    UnwindTableRow, Value,
};
use profiler_ebpf::{Rule, SAVED_REGISTERS, cfa, flag, register, saved};

pub type Slice<'a> = gimli::EndianSlice<'a, gimli::LittleEndian>;

const ENCODING: gimli::Encoding = gimli::Encoding {
    address_size: 8,
    format: gimli::Format::Dwarf32,
    version: 5,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    Root,
    Frame {
        cfa: u64,
        return_address: u64,
        /// `None`: lost.
        saved: [Option<u64>; SAVED_REGISTERS.len()],
    },
}

fn memory(address: u64) -> u64 {
    (address ^ 0x5bd1_e995).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn register_value(number: u16, pc: u64) -> u64 {
    match number {
        16 => pc,
        number => 0x7f00_0000_0000 + u64::from(number) * 0x0101_0000_0010,
    }
}

/// As the walker of the kernel side does it; `None`: it stops here.
pub fn by_rule(rule: &Rule, pc: u64) -> Option<Caller> {
    let value = |number: u8| register_value(u16::from(number), pc);
    let based = value(rule.register).wrapping_add(rule.offset as i64 as u64);
    let frame_address = match rule.cfa {
        cfa::REGISTER => based,
        cfa::DEREFERENCE => memory(based).wrapping_add(rule.add as i64 as u64),
        cfa::INDEXED => {
            let place = value(register::RSP)
                .wrapping_add(value(rule.register).wrapping_mul(8))
                .wrapping_add(rule.offset as i64 as u64);
            memory(place).wrapping_add(rule.add as i64 as u64)
        }
        cfa::PLT => value(register::RSP) + 8 + if pc & 15 >= rule.offset as u64 { 8 } else { 0 },
        cfa::SIGNAL => {
            // `struct sigcontext`, arch/x86/include/uapi/asm/sigcontext.h.
            let context = value(register::RSP).wrapping_add(rule.offset as i64 as u64) + 40;
            let field = |index: u64| memory(context + 8 * index);
            return Some(Caller::Frame {
                cfa: field(15),
                return_address: field(16),
                saved: [10, 11, 4, 5, 6, 7].map(|index| Some(field(index))),
            });
        }
        cfa::ROOT => return Some(Caller::Root),
        _ => return None,
    };
    let below = |slot: u8| frame_address.wrapping_sub(8 * u64::from(slot));
    let mut saved = [None; SAVED_REGISTERS.len()];
    for (index, number) in SAVED_REGISTERS.into_iter().enumerate() {
        saved[index] = match rule.saved[index] {
            saved::SAME => Some(value(number)),
            saved::LOST => None,
            slot if rule.flags & 1 << index != 0 => Some(memory(
                value(register::RBP)
                    .wrapping_add(8)
                    .wrapping_sub(8 * u64::from(slot)),
            )),
            slot => Some(memory(below(slot))),
        };
    }
    Some(Caller::Frame {
        cfa: frame_address,
        return_address: if rule.flags & flag::RETURN_REGISTER != 0 {
            value(rule.return_slot)
        } else {
            memory(below(rule.return_slot))
        },
        saved,
    })
}

/// As `gimli` reads the same row.
pub fn by_row<'a, S: UnwindSection<Slice<'a>>>(
    section: &S,
    row: &UnwindTableRow<usize>,
    pc: u64,
) -> Caller {
    let frame_address = match row.cfa() {
        CfaRule::RegisterAndOffset { register, offset } => {
            register_value(register.0, pc).wrapping_add(*offset as u64)
        }
        CfaRule::Expression(expression) => evaluate(section, expression, pc, None),
    };
    let of = |number: u16, default: Option<u64>| match row.register(Register(number)) {
        None => default,
        Some(RegisterRule::Undefined) => None,
        Some(RegisterRule::SameValue) => Some(register_value(number, pc)),
        Some(RegisterRule::Offset(offset)) => {
            Some(memory(frame_address.wrapping_add(offset as u64)))
        }
        Some(RegisterRule::ValOffset(offset)) => Some(frame_address.wrapping_add(offset as u64)),
        Some(RegisterRule::Register(other)) => Some(register_value(other.0, pc)),
        Some(RegisterRule::Expression(expression)) => Some(memory(evaluate(
            section,
            &expression,
            pc,
            Some(frame_address),
        ))),
        Some(RegisterRule::ValExpression(expression)) => {
            Some(evaluate(section, &expression, pc, Some(frame_address)))
        }
        Some(rule) => panic!("{rule:?}"),
    };
    let Some(return_address) = of(16, None) else {
        return Caller::Root;
    };
    let saved = SAVED_REGISTERS.map(|number| {
        let number = u16::from(number);
        of(number, Some(register_value(number, pc)))
    });
    Caller::Frame {
        cfa: of(7, Some(frame_address)).unwrap_or_default(),
        return_address,
        saved,
    }
}

fn evaluate<'a, S: UnwindSection<Slice<'a>>>(
    section: &S,
    expression: &UnwindExpression<usize>,
    pc: u64,
    initial: Option<u64>,
) -> u64 {
    let expression = expression.get(section).expect("an expression");
    let mut evaluation = expression.evaluation(ENCODING);
    if let Some(initial) = initial {
        evaluation.set_initial_value(initial);
    }
    let mut result = evaluation.evaluate().expect("an evaluation");
    loop {
        result = match result {
            EvaluationResult::Complete => break,
            EvaluationResult::RequiresMemory { address, .. } => {
                evaluation.resume_with_memory(Value::Generic(memory(address)))
            }
            EvaluationResult::RequiresRegister { register, .. } => {
                evaluation.resume_with_register(Value::Generic(register_value(register.0, pc)))
            }
            other => panic!("{other:?}"),
        }
        .expect("an evaluation");
    }
    match evaluation.result().first().expect("a result").location {
        gimli::Location::Address { address } => address,
        ref other => panic!("{other:?}"),
    }
}
