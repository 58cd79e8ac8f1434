//! DWARF expressions, as far as compilers and assembly authors use them in
//! call frame information: evaluated over symbols, not over a process.

use profiler_ebpf::register;

use crate::elf::reader::Reader;

/// DWARF 5 section 7.7.1.
mod op {
    pub const DEREF: u8 = 0x06;
    pub const CONST1U: u8 = 0x08;
    pub const CONST1S: u8 = 0x09;
    pub const CONST2U: u8 = 0x0a;
    pub const CONST2S: u8 = 0x0b;
    pub const CONST4U: u8 = 0x0c;
    pub const CONST4S: u8 = 0x0d;
    pub const CONST8U: u8 = 0x0e;
    pub const CONST8S: u8 = 0x0f;
    pub const CONSTU: u8 = 0x10;
    pub const CONSTS: u8 = 0x11;
    pub const AND: u8 = 0x1a;
    pub const MINUS: u8 = 0x1c;
    pub const MUL: u8 = 0x1e;
    pub const PLUS: u8 = 0x22;
    pub const PLUS_UCONST: u8 = 0x23;
    pub const SHL: u8 = 0x24;
    pub const GE: u8 = 0x2a;
    pub const LIT0: u8 = 0x30;
    pub const LIT3: u8 = 0x33;
    pub const LIT8: u8 = 0x38;
    pub const LIT15: u8 = 0x3f;
    pub const LIT31: u8 = 0x4f;
    pub const BREG0: u8 = 0x70;
    pub const BREG7: u8 = 0x77;
    pub const BREG16: u8 = 0x80;
    pub const BREG31: u8 = 0x8f;
    pub const BREGX: u8 = 0x92;
    pub const NOP: u8 = 0x96;
}

/// Greatest depth that any expression we can use needs, with room.
const STACK: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// `register + offset`
    Address { register: u8, offset: i32 },
    /// `*(register + offset) + add`
    Loaded { register: u8, offset: i32, add: i32 },
    /// `*(rsp + 8 * register + offset) + add`
    Indexed { register: u8, offset: i32, add: i32 },
    /// `rsp + 8`, and 8 more once `rip & 15` is at least this.
    Plt(u8),
    /// Anything else.
    Other,
}

#[derive(Clone, Copy)]
enum Item {
    Constant(i64),
    Value(Value),
}

/// `Other` as well for what is malformed: both can be said but not followed.
pub(super) fn evaluate(expression: &[u8]) -> Value {
    if let Some(threshold) = plt(expression) {
        return Value::Plt(threshold);
    }
    indexed(expression)
        .or_else(|| symbolic(expression))
        .unwrap_or(Value::Other)
}

/// OpenSSL's Montgomery multiplication (crypto/bn/asm/x86_64-mont.pl) keeps
/// the caller's stack pointer above a buffer whose length is in a register.
fn indexed(expression: &[u8]) -> Option<Value> {
    let mut reader = Reader::new(expression);
    if reader.u8()? != op::BREG7 {
        return None;
    }
    let offset = i32::try_from(reader.sleb128()?).ok()?;
    let register = reader
        .u8()?
        .checked_sub(op::BREG0)
        .filter(|&register| register <= register::R15)?;
    if *reader.bytes(5)? != [0, op::LIT8, op::MUL, op::PLUS, op::DEREF] {
        return None;
    }
    let add = match reader.u8() {
        None => 0,
        Some(op::PLUS_UCONST) => i32::try_from(reader.uleb128()?).ok()?,
        Some(_) => return None,
    };
    reader.is_empty().then_some(Value::Indexed {
        register,
        offset,
        add,
    })
}

/// The expression that binutils (bfd/elfxx-x86.c, since 2.21) and lld write for
/// the stubs of a `.plt`, each of 16 bytes: the stub pushes a relocation index
/// before it jumps to the resolver. The threshold is the end of the push: 11
/// for the classic stub, 10 or 9 behind `endbr64`, 5 for MPX.
fn plt(expression: &[u8]) -> Option<u8> {
    match *expression {
        [
            op::BREG7,
            8,
            op::BREG16,
            0,
            op::LIT15,
            op::AND,
            literal @ op::LIT0..=op::LIT15,
            op::GE,
            op::LIT3,
            op::SHL,
            op::PLUS,
        ] => Some(literal - op::LIT0),
        _ => None,
    }
}

fn symbolic(expression: &[u8]) -> Option<Value> {
    let mut reader = Reader::new(expression);
    let mut stack = [Item::Constant(0); STACK];
    let mut depth = 0_usize;
    while !reader.is_empty() {
        let item = match reader.u8()? {
            op::NOP => continue,
            code @ op::BREG0..=op::BREG31 => base(u64::from(code - op::BREG0), reader.sleb128()?)?,
            op::BREGX => base(reader.uleb128()?, reader.sleb128()?)?,
            code @ op::LIT0..=op::LIT31 => Item::Constant(i64::from(code - op::LIT0)),
            op::CONST1U => Item::Constant(i64::from(reader.u8()?)),
            op::CONST1S => Item::Constant(i64::from(reader.u8()? as i8)),
            op::CONST2U => Item::Constant(i64::from(reader.u16()?)),
            op::CONST2S => Item::Constant(i64::from(reader.u16()? as i16)),
            op::CONST4U => Item::Constant(i64::from(reader.u32()?)),
            op::CONST4S => Item::Constant(i64::from(reader.u32()? as i32)),
            op::CONST8U | op::CONST8S => Item::Constant(reader.u64()? as i64),
            op::CONSTU => Item::Constant(reader.uleb128()? as i64),
            op::CONSTS => Item::Constant(reader.sleb128()?),
            op::PLUS_UCONST => {
                let constant = reader.uleb128()? as i64;
                add(pop(&stack, &mut depth)?, constant)?
            }
            op::PLUS => {
                let (second, first) = (pop(&stack, &mut depth)?, pop(&stack, &mut depth)?);
                match (first, second) {
                    (item, Item::Constant(constant)) | (Item::Constant(constant), item) => {
                        add(item, constant)?
                    }
                    _ => return None,
                }
            }
            op::MINUS => {
                let (second, first) = (pop(&stack, &mut depth)?, pop(&stack, &mut depth)?);
                match second {
                    Item::Constant(constant) => add(first, constant.checked_neg()?)?,
                    Item::Value(_) => return None,
                }
            }
            op::DEREF => match pop(&stack, &mut depth)? {
                Item::Value(Value::Address { register, offset }) => Item::Value(Value::Loaded {
                    register,
                    offset,
                    add: 0,
                }),
                _ => return None,
            },
            _ => return None,
        };
        *stack.get_mut(depth)? = item;
        depth += 1;
    }
    match pop(&stack, &mut depth)? {
        Item::Value(value) => Some(value),
        Item::Constant(_) => None,
    }
}

fn base(number: u64, offset: i64) -> Option<Item> {
    let register = u8::try_from(number).ok()?;
    if register > register::R15 {
        return None;
    }
    Some(Item::Value(Value::Address {
        register,
        offset: i32::try_from(offset).ok()?,
    }))
}

fn pop(stack: &[Item; STACK], depth: &mut usize) -> Option<Item> {
    *depth = depth.checked_sub(1)?;
    stack.get(*depth).copied()
}

fn add(item: Item, constant: i64) -> Option<Item> {
    let sum = |old: i32| i32::try_from(i64::from(old).checked_add(constant)?).ok();
    Some(match item {
        Item::Constant(old) => Item::Constant(old.checked_add(constant)?),
        Item::Value(Value::Address { register, offset }) => Item::Value(Value::Address {
            register,
            offset: sum(offset)?,
        }),
        Item::Value(Value::Loaded {
            register,
            offset,
            add,
        }) => Item::Value(Value::Loaded {
            register,
            offset,
            add: sum(add)?,
        }),
        Item::Value(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stubs_by_their_threshold() {
        for threshold in [5, 9, 10, 11] {
            let bytes = [
                0x77,
                8,
                0x80,
                0,
                0x3f,
                0x1a,
                0x30 + threshold,
                0x2a,
                0x33,
                0x24,
                0x22,
            ];
            assert_eq!(evaluate(&bytes), Value::Plt(threshold));
        }
    }

    #[test]
    fn sums_and_loads() {
        let address = |register, offset| Value::Address { register, offset };
        let loaded = |register, offset, add| Value::Loaded {
            register,
            offset,
            add,
        };
        for (bytes, value) in [
            // GCC, function that realigns its stack
            (&[0x76, 0x78, 0x06][..], loaded(6, -8, 0)),
            // glibc, __restore_rt
            (&[0x77, 0xa0, 0x01, 0x06], loaded(7, 160, 0)),
            // OpenSSL's assembly
            (&[0x77, 0xe0, 0, 0x06, 0x23, 8], loaded(7, 96, 8)),
            // and its Montgomery multiplication
            (
                &[0x77, 8, 0x79, 0, 0x38, 0x1e, 0x22, 0x06, 0x23, 8],
                Value::Indexed {
                    register: 9,
                    offset: 8,
                    add: 8,
                },
            ),
            (&[0x77, 8, 0x38, 0x22], address(7, 16)),
            (&[0x38, 0x77, 8, 0x22], address(7, 16)),
            (&[0x77, 8, 0x38, 0x1c], address(7, 0)),
            (&[0x92, 6, 0x70, 0x96], address(6, -16)),
        ] {
            assert_eq!(evaluate(bytes), value, "{bytes:x?}");
        }
    }

    #[test]
    fn what_cannot_be_followed() {
        for bytes in [
            &[][..],
            &[0x06],
            &[0x22],
            &[0x77],
            &[0x38],
            &[0x77, 0, 0x06, 0x06],
            &[0x77, 0, 0x76, 0, 0x22],
            &[0x80, 0],
            &[0x92, 0xff, 0xff, 0x7f, 0],
            &[0x31; 64],
            &[
                0x77, 0, 0x0e, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0x22,
            ],
            &[0x77, 0, 0x0e, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x1c],
        ] {
            assert_eq!(evaluate(bytes), Value::Other, "{bytes:x?}");
        }
    }
}
