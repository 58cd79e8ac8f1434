//! What registers hold along a straight piece of code, as far as that can be
//! said: enough to follow how a short function computes an address.

use iced_x86::{Instruction, Mnemonic, OpKind, Register};

/// What a value counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    Zero,
    /// Base of `fs`.
    ThreadPointer,
    /// What was read from memory: an index in [`Registers::loads`].
    Loaded(usize),
}

/// `base + argument * scale + add`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub base: Base,
    /// How often the function's first argument is in it.
    pub scale: i64,
    pub add: i64,
}

impl Value {
    const fn constant(add: i64) -> Self {
        Self {
            base: Base::Zero,
            scale: 0,
            add,
        }
    }

    fn plus(self, other: Self) -> Option<Self> {
        let base = match (self.base, other.base) {
            (base, Base::Zero) | (Base::Zero, base) => base,
            _ => return None,
        };
        Some(Self {
            base,
            scale: self.scale.wrapping_add(other.scale),
            add: self.add.wrapping_add(other.add),
        })
    }

    fn times(self, factor: i64) -> Option<Self> {
        (self.base == Base::Zero).then(|| Self {
            base: Base::Zero,
            scale: self.scale.wrapping_mul(factor),
            add: self.add.wrapping_mul(factor),
        })
    }
}

/// A value that was read from memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load {
    pub address: Value,
    /// Bytes.
    pub size: usize,
}

const COUNT: usize = 16;
const RDI: usize = 7;
/// Those that a call leaves alone: rbx, rsp, rbp, r12 to r15.
const PRESERVED: [usize; 7] = [3, 4, 5, 12, 13, 14, 15];

pub(super) struct Registers {
    values: [Option<Value>; COUNT],
    pub loads: Vec<Load>,
}

impl Registers {
    /// At the start of a function.
    pub fn new() -> Self {
        let mut values = [None; COUNT];
        values[RDI] = Some(Value {
            base: Base::Zero,
            scale: 1,
            add: 0,
        });
        Self {
            values,
            loads: Vec::new(),
        }
    }

    /// What a function that is called now gets as its first argument.
    pub fn argument(&self) -> Option<Value> {
        self.values[RDI]
    }

    /// After `instruction`. Jumps are taken for not taken.
    pub fn step(&mut self, instruction: &Instruction) {
        match instruction.mnemonic() {
            Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Nop | Mnemonic::Endbr64 | Mnemonic::Push => {
                return;
            }
            Mnemonic::Call => {
                for (index, value) in self.values.iter_mut().enumerate() {
                    if !PRESERVED.contains(&index) {
                        *value = None;
                    }
                }
                return;
            }
            _ => {}
        }
        if instruction.op_count() == 0 || instruction.op0_kind() != OpKind::Register {
            return;
        }
        let Some(target) = number(instruction.op0_register()) else {
            return;
        };
        let before = self.values[target];
        let size = width(instruction.op0_register());
        self.values[target] = match instruction.mnemonic() {
            Mnemonic::Mov | Mnemonic::Movsxd => self.operand(instruction, 1, size),
            Mnemonic::Lea => self.address(instruction),
            Mnemonic::Add => before.and_then(|before| {
                let other = self.operand(instruction, 1, size)?;
                before.plus(other)
            }),
            Mnemonic::Sub => before.and_then(|before| {
                let other = self.operand(instruction, 1, size)?;
                before.plus(other.times(-1)?)
            }),
            Mnemonic::Shl => before.and_then(|before| match instruction.op1_kind() {
                OpKind::Immediate8 => before.times(1 << (instruction.immediate8() & 31)),
                _ => None,
            }),
            Mnemonic::Xor
                if instruction.op1_kind() == OpKind::Register
                    && number(instruction.op1_register()) == Some(target) =>
            {
                Some(Value::constant(0))
            }
            _ => None,
        }
        // Half a register holds neither an address nor, for us, a number.
        .filter(|_| size >= 4);
    }

    fn operand(&mut self, instruction: &Instruction, index: u32, size: usize) -> Option<Value> {
        match instruction.op_kind(index) {
            OpKind::Register => {
                let register = instruction.op_register(index);
                (width(register) >= 4).then_some(())?;
                self.values[number(register)?]
            }
            OpKind::Memory => {
                let address = self.address(instruction)?;
                let own = Value {
                    base: Base::ThreadPointer,
                    scale: 0,
                    add: address.add,
                };
                // The thread's structure points to itself: `self` is first in
                // musl's, and third in glibc's `tcbhead_t`, after `tcb`.
                if address == own && matches!(address.add, 0 | 16) && size == 8 {
                    return Some(Value { add: 0, ..own });
                }
                self.loads.push(Load { address, size });
                Some(Value {
                    base: Base::Loaded(self.loads.len() - 1),
                    scale: 0,
                    add: 0,
                })
            }
            _ => {
                let value = instruction.try_immediate(index).ok()?;
                Some(Value::constant(value as i64))
            }
        }
    }

    fn address(&self, instruction: &Instruction) -> Option<Value> {
        let mut value = Value::constant(instruction.memory_displacement64() as i64);
        if instruction.memory_segment() == Register::FS {
            value.base = Base::ThreadPointer;
        }
        // The displacement of an address relative to rip is the address.
        if instruction.is_ip_rel_memory_operand() {
            return Some(value);
        }
        if instruction.memory_base() != Register::None {
            value = value.plus(self.values[number(instruction.memory_base())?]?)?;
        }
        if instruction.memory_index() != Register::None {
            let index = self.values[number(instruction.memory_index())?]?;
            value = value.plus(index.times(i64::from(instruction.memory_index_scale()))?)?;
        }
        Some(value)
    }
}

/// As instructions encode it. `None` for what is no general register.
fn number(register: Register) -> Option<usize> {
    let register = register as usize;
    let within = |first: Register, last: Register| {
        (first as usize..=last as usize)
            .contains(&register)
            .then(|| register - first as usize)
    };
    within(Register::RAX, Register::R15)
        .or_else(|| within(Register::EAX, Register::R15D))
        .or_else(|| within(Register::AX, Register::R15W))
        .or_else(|| within(Register::AL, Register::BL))
        .or_else(|| within(Register::AH, Register::BH))
        .or_else(|| within(Register::SPL, Register::R15L).map(|index| index + 4))
}

/// Bytes of a general register.
fn width(register: Register) -> usize {
    match register as usize {
        register if register >= Register::RAX as usize => 8,
        register if register >= Register::EAX as usize => 4,
        _ => 1,
    }
}
