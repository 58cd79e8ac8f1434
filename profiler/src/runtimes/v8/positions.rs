//! Tables that lead from code to its source.

use super::{bytecode::BytecodeSizes, layout::PositionEncoding};

/// A place in a script, `SourcePosition` of src/codegen/source-position.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position(u64);

impl Position {
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// Offset in the script's source, in code units.
    pub fn script_offset(self) -> Option<u32> {
        let external = self.0 & 1 != 0;
        let offset = (self.0 >> 1) as u32 & ((1 << 30) - 1);
        if external {
            None
        } else {
            offset.checked_sub(1)
        }
    }

    /// Index in the inlining positions of the call that brought the code here.
    pub fn inlining(self) -> Option<usize> {
        let id = (self.0 >> 31) as u16;
        (self.0 & 1 == 0)
            .then(|| usize::from(id).checked_sub(1))
            .flatten()
    }
}

/// Groups of 7 bits, the lowest first (src/base/vlq.h).
struct Numbers<'a>(std::slice::Iter<'a, u8>);

impl Numbers<'_> {
    fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.0.next()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let value = self.unsigned()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }
}

/// The position in force at `offset`: that of the last entry at or before it
/// (src/codegen/source-position-table.cc `DecodeEntry`).
pub fn lookup(table: &[u8], offset: u32, encoding: PositionEncoding) -> Option<Position> {
    let mut numbers = Numbers(table.iter());
    // `kFunctionEntryBytecodeOffset`.
    let mut code = -1_i64;
    let mut source = 0_i64;
    let mut found = None;
    loop {
        let step = match encoding {
            PositionEncoding::Signed => numbers
                .signed()
                .map(|step| if step >= 0 { step } else { -(step + 1) }),
            PositionEncoding::Flags => numbers.unsigned().map(|step| (step as u32 >> 2).into()),
        };
        let Some(step) = step else {
            return found;
        };
        code = code.checked_add(step)?;
        if code > i64::from(offset) {
            return found;
        }
        source = source.checked_add(numbers.signed()?)?;
        found = Some(Position(source as u64));
    }
}

/// The offset in the bytecode of what baseline code does up to `pc_offset`,
/// which a call returns to (src/baseline/bytecode-offset-iterator.h).
pub fn baseline(
    table: &[u8],
    bytecode: &[u8],
    sizes: &BytecodeSizes,
    pc_offset: u64,
) -> Option<u32> {
    let mut numbers = Numbers(table.iter());
    // First comes the code that builds the frame.
    let mut end = numbers.unsigned()?;
    let mut current = 0;
    let mut next = 0;
    while end < pc_offset {
        current = next;
        next += sizes.length(bytecode.get(next..)?)?;
        end = end.checked_add(numbers.unsigned()?)?;
    }
    u32::try_from(current).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_entry_at_or_before() {
        // Code 0 (statement) at source 10, code 4 (expression) at source 7.
        let raw = |source: i64| (source + 1) << 1;
        let zigzag = |value: i64| ((value << 1) ^ (value >> 63)) as u8;
        let table = [
            zigzag(1),
            zigzag(raw(10)),
            zigzag(-5),
            zigzag(raw(7) - raw(10)),
        ];
        let at = |offset| {
            lookup(&table, offset, PositionEncoding::Signed).and_then(Position::script_offset)
        };
        assert_eq!(at(0), Some(10));
        assert_eq!(at(3), Some(10));
        assert_eq!(at(4), Some(7));
        assert_eq!(at(400), Some(7));
        let flags = [1 << 2, zigzag(raw(10)), (4 << 2) | 1, zigzag(-6)];
        let at = |offset| {
            lookup(&flags, offset, PositionEncoding::Flags).and_then(Position::script_offset)
        };
        assert_eq!(at(3), Some(10));
        assert_eq!(at(4), Some(7));
    }

    #[test]
    fn damaged_tables_end() {
        assert_eq!(lookup(&[], 7, PositionEncoding::Signed), None);
        assert_eq!(lookup(&[0xff; 32], 7, PositionEncoding::Signed), None);
        assert_eq!(lookup(&[0x02], 7, PositionEncoding::Signed), None);
    }

    #[test]
    fn inlining_and_external_positions() {
        let position = Position::from_raw((3 << 31) | (8 << 1));
        assert_eq!(position.inlining(), Some(2));
        assert_eq!(position.script_offset(), Some(7));
        assert_eq!(Position::from_raw(0).inlining(), None);
        assert_eq!(Position::from_raw(0).script_offset(), None);
        assert_eq!(Position::from_raw(9).script_offset(), None);
    }
}
