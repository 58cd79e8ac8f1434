//! The instructions of call frame information (DWARF 5 section 6.4.2) and
//! what they leave in force: a [`State`] for every range of addresses.

use profiler_ebpf::register;

use super::expression::{self, Value};
use super::frames::Cie;
use crate::elf::reader::{Bases, Reader};

/// DWARF 5 section 7.24, and the GNU ones of binutils' include/dwarf2.def.
mod op {
    pub const NOP: u8 = 0x00;
    pub const SET_LOC: u8 = 0x01;
    pub const ADVANCE_LOC1: u8 = 0x02;
    pub const ADVANCE_LOC2: u8 = 0x03;
    pub const ADVANCE_LOC4: u8 = 0x04;
    pub const OFFSET_EXTENDED: u8 = 0x05;
    pub const RESTORE_EXTENDED: u8 = 0x06;
    pub const UNDEFINED: u8 = 0x07;
    pub const SAME_VALUE: u8 = 0x08;
    pub const REGISTER: u8 = 0x09;
    pub const REMEMBER_STATE: u8 = 0x0a;
    pub const RESTORE_STATE: u8 = 0x0b;
    pub const DEF_CFA: u8 = 0x0c;
    pub const DEF_CFA_REGISTER: u8 = 0x0d;
    pub const DEF_CFA_OFFSET: u8 = 0x0e;
    pub const DEF_CFA_EXPRESSION: u8 = 0x0f;
    pub const EXPRESSION: u8 = 0x10;
    pub const OFFSET_EXTENDED_SF: u8 = 0x11;
    pub const DEF_CFA_SF: u8 = 0x12;
    pub const DEF_CFA_OFFSET_SF: u8 = 0x13;
    pub const VAL_OFFSET: u8 = 0x14;
    pub const VAL_OFFSET_SF: u8 = 0x15;
    pub const VAL_EXPRESSION: u8 = 0x16;
    pub const GNU_ARGS_SIZE: u8 = 0x2e;
    pub const GNU_NEGATIVE_OFFSET_EXTENDED: u8 = 0x2f;
    pub const ADVANCE_LOC: u8 = 0x40;
    pub const OFFSET: u8 = 0x80;
    pub const RESTORE: u8 = 0xc0;
    pub const HIGH: u8 = 0xc0;
}

/// Compilers nest one or two deep. A remembered state costs the file a byte
/// and us a hundred, so it must end somewhere.
const MAX_REMEMBERED: usize = 64;

/// Where the caller's value of a register is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Location {
    /// Nothing was said.
    Unspecified,
    Undefined,
    Same,
    /// In memory at CFA + n.
    Offset(i64),
    /// It is CFA + n.
    ValueOffset(i64),
    Register(u64),
    /// In memory there.
    At(Value),
    /// Computed by an expression, or otherwise beyond us.
    Computed,
}

/// Registers followed: the callee-saved ones in the order of
/// `profiler_ebpf::SAVED_REGISTERS`, then these two.
pub(super) const STACK_POINTER: usize = 6;
pub(super) const RETURN_ADDRESS: usize = 7;
const FOLLOWED: usize = 8;
const IGNORED: u8 = u8::MAX;

const INDEX: [u8; 17] = {
    let mut index = [IGNORED; 17];
    let mut saved = 0;
    while saved < profiler_ebpf::SAVED_REGISTERS.len() {
        index[profiler_ebpf::SAVED_REGISTERS[saved] as usize] = saved as u8;
        saved += 1;
    }
    index[register::RSP as usize] = STACK_POINTER as u8;
    index[register::RETURN_ADDRESS as usize] = RETURN_ADDRESS as u8;
    index
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// `None` until defined.
    pub cfa: Option<Value>,
    pub locations: [Location; FOLLOWED],
}

impl State {
    const EMPTY: Self = Self {
        cfa: None,
        locations: [Location::Unspecified; FOLLOWED],
    };
}

pub(super) struct Program<'a> {
    pub cie: &'a Cie,
    pub bases: &'a Bases,
    pub reader: Reader<'a>,
}

/// Where a program ended and what was then in force: `None` after an
/// instruction that we do not know or that makes no sense where it is, since
/// nothing that follows can be trusted.
pub(super) type End = (u64, Option<State>);

impl Program<'_> {
    /// What the instructions of a common entry leave; they may not advance.
    pub fn initial(self) -> Option<State> {
        let (address, state) = self.run(State::EMPTY, None, 0, &mut Vec::new(), |_, _, _| {});
        state.filter(|_| address == 0)
    }

    /// Calls `row` with the start, the end and the state of every row but the
    /// last, which is returned. `remembered` is only lent, to be allocated
    /// once.
    pub fn run(
        self,
        mut state: State,
        initial: Option<&State>,
        start: u64,
        remembered: &mut Vec<State>,
        mut row: impl FnMut(u64, u64, &State),
    ) -> End {
        let Self {
            cie,
            bases,
            mut reader,
        } = self;
        remembered.clear();
        let mut address = start;
        while !reader.is_empty() {
            let done = step(
                cie,
                bases,
                &mut reader,
                &mut state,
                initial,
                &mut address,
                remembered,
                &mut row,
            );
            if done.is_none() {
                return (address, None);
            }
        }
        (address, Some(state))
    }
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "the loop above, one turn of it")]
fn step(
    cie: &Cie,
    bases: &Bases,
    reader: &mut Reader,
    state: &mut State,
    initial: Option<&State>,
    address: &mut u64,
    remembered: &mut Vec<State>,
    row: &mut impl FnMut(u64, u64, &State),
) -> Option<()> {
    let code = reader.u8()?;
    let low = code & !op::HIGH;
    match code & op::HIGH {
        op::ADVANCE_LOC => return advance(cie, u64::from(low), address, state, row),
        op::OFFSET => {
            let offset = factored(cie, reader)?;
            state.set(u64::from(low), Location::Offset(offset));
            return Some(());
        }
        op::RESTORE => {
            state.restore(u64::from(low), initial?);
            return Some(());
        }
        _ => {}
    }
    match code {
        op::NOP => {}
        op::SET_LOC => {
            let target = reader.encoded_pointer(cie.encoding, bases)?;
            if target < *address {
                return None;
            }
            if target > *address {
                row(*address, target, state);
                *address = target;
            }
        }
        op::ADVANCE_LOC1 => {
            return advance(cie, u64::from(reader.u8()?), address, state, row);
        }
        op::ADVANCE_LOC2 => {
            return advance(cie, u64::from(reader.u16()?), address, state, row);
        }
        op::ADVANCE_LOC4 => {
            return advance(cie, u64::from(reader.u32()?), address, state, row);
        }
        op::OFFSET_EXTENDED => {
            let number = reader.uleb128()?;
            let offset = factored(cie, reader)?;
            state.set(number, Location::Offset(offset));
        }
        op::OFFSET_EXTENDED_SF => {
            let number = reader.uleb128()?;
            let offset = factored_signed(cie, reader)?;
            state.set(number, Location::Offset(offset));
        }
        op::GNU_NEGATIVE_OFFSET_EXTENDED => {
            let number = reader.uleb128()?;
            let offset = factored(cie, reader)?.checked_neg()?;
            state.set(number, Location::Offset(offset));
        }
        op::RESTORE_EXTENDED => {
            let number = reader.uleb128()?;
            state.restore(number, initial?);
        }
        op::UNDEFINED => {
            let number = reader.uleb128()?;
            state.set(number, Location::Undefined);
        }
        op::SAME_VALUE => {
            let number = reader.uleb128()?;
            state.set(number, Location::Same);
        }
        op::REGISTER => {
            let number = reader.uleb128()?;
            let from = reader.uleb128()?;
            state.set(number, Location::Register(from));
        }
        op::REMEMBER_STATE => {
            if remembered.len() >= MAX_REMEMBERED {
                return None;
            }
            remembered.push(*state);
        }
        op::RESTORE_STATE => *state = remembered.pop()?,
        op::DEF_CFA => {
            let register = register_number(reader)?;
            let offset = i32::try_from(reader.uleb128()?).ok()?;
            state.cfa = Some(Value::Address { register, offset });
        }
        op::DEF_CFA_SF => {
            let register = register_number(reader)?;
            let offset = i32::try_from(factored_signed(cie, reader)?).ok()?;
            state.cfa = Some(Value::Address { register, offset });
        }
        op::DEF_CFA_REGISTER => {
            let register = register_number(reader)?;
            let Some(Value::Address { offset, .. }) = state.cfa else {
                return None;
            };
            state.cfa = Some(Value::Address { register, offset });
        }
        op::DEF_CFA_OFFSET => {
            let offset = i32::try_from(reader.uleb128()?).ok()?;
            state.set_cfa_offset(offset)?;
        }
        op::DEF_CFA_OFFSET_SF => {
            let offset = i32::try_from(factored_signed(cie, reader)?).ok()?;
            state.set_cfa_offset(offset)?;
        }
        op::DEF_CFA_EXPRESSION => state.cfa = Some(expression::evaluate(block(reader)?)),
        op::EXPRESSION => {
            let number = reader.uleb128()?;
            let address = expression::evaluate(block(reader)?);
            state.set(number, Location::At(address));
        }
        op::VAL_OFFSET => {
            let number = reader.uleb128()?;
            let offset = factored(cie, reader)?;
            state.set(number, Location::ValueOffset(offset));
        }
        op::VAL_OFFSET_SF => {
            let number = reader.uleb128()?;
            let offset = factored_signed(cie, reader)?;
            state.set(number, Location::ValueOffset(offset));
        }
        op::VAL_EXPRESSION => {
            let number = reader.uleb128()?;
            block(reader)?;
            state.set(number, Location::Computed);
        }
        // Bytes pushed for a call: of concern to landing pads only.
        op::GNU_ARGS_SIZE => {
            reader.uleb128()?;
        }
        _ => return None,
    }
    Some(())
}

#[inline(always)]
fn advance(
    cie: &Cie,
    delta: u64,
    address: &mut u64,
    state: &State,
    row: &mut impl FnMut(u64, u64, &State),
) -> Option<()> {
    let next = address.checked_add(delta.checked_mul(cie.code_alignment)?)?;
    if next > *address {
        row(*address, next, state);
        *address = next;
    }
    Some(())
}

#[inline(always)]
fn factored(cie: &Cie, reader: &mut Reader) -> Option<i64> {
    i64::try_from(reader.uleb128()?)
        .ok()?
        .checked_mul(cie.data_alignment)
}

fn factored_signed(cie: &Cie, reader: &mut Reader) -> Option<i64> {
    reader.sleb128()?.checked_mul(cie.data_alignment)
}

fn register_number(reader: &mut Reader) -> Option<u8> {
    // One that does not fit is not a register of this machine either.
    Some(u8::try_from(reader.uleb128()?).unwrap_or(u8::MAX))
}

fn block<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let size = usize::try_from(reader.uleb128()?).ok()?;
    reader.bytes(size)
}

/// Place in [`State::locations`], for the registers that have one.
#[inline(always)]
fn index(number: u64) -> Option<usize> {
    let index = *INDEX.get(usize::try_from(number).ok()?)?;
    (index != IGNORED).then_some(usize::from(index) % FOLLOWED)
}

impl State {
    #[inline(always)]
    fn set(&mut self, number: u64, location: Location) {
        if let Some(index) = index(number) {
            self.locations[index] = location;
        }
    }

    fn restore(&mut self, number: u64, initial: &Self) {
        if let Some(index) = index(number) {
            self.locations[index] = initial.locations[index];
        }
    }

    #[inline(always)]
    fn set_cfa_offset(&mut self, offset: i32) -> Option<()> {
        let Some(Value::Address {
            offset: current, ..
        }) = &mut self.cfa
        else {
            return None;
        };
        *current = offset;
        Some(())
    }
}
