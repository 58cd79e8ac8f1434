//! The tables that map instructions to lines, one format for each age of
//! CPython.

use crate::elf::reader::Reader;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LineTableKind {
    /// Up to 3.9: `co_lnotab`, Objects/lnotab_notes.txt.
    Lnotab,
    /// 3.10: `co_linetable` of PEP 626, Objects/lnotab_notes.txt.
    Ranges,
    /// 3.11 and later: `co_linetable` of PEP 657, Objects/locations.md (later
    /// InternalDocs/code_objects.md).
    Locations,
}

impl LineTableKind {
    /// What `f_lasti` or the distance from the first instruction counts, in
    /// bytes.
    const fn unit(self) -> u32 {
        match self {
            Self::Lnotab | Self::Locations => 1,
            Self::Ranges => 2,
        }
    }
}

/// The line table of one code object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LineTable {
    pub kind: LineTableKind,
    /// `co_firstlineno`.
    pub first_line: u32,
    pub bytes: Vec<u8>,
}

/// What a `_Py_CODEUNIT` has.
const UNIT_BYTES: u64 = 2;

impl LineTable {
    /// The line that CPython itself gives (`PyCode_Addr2Line`,
    /// Objects/codeobject.c), for `instruction` as the kernel side sends it:
    /// up to 3.10 `f_lasti`, later the distance of the instruction pointer
    /// from the first instruction. Negative before the first instruction: the
    /// function's own line.
    ///
    /// `None` for instructions that belong to no line, or that lie behind the
    /// table.
    pub fn line(&self, instruction: u32) -> Option<u32> {
        if (instruction as i32) < 0 {
            return Some(self.first_line);
        }
        let address = u64::from(instruction) * u64::from(self.kind.unit());
        match self.kind {
            LineTableKind::Lnotab => self.by_lnotab(address),
            LineTableKind::Ranges => self.by_ranges(address),
            LineTableKind::Locations => self.by_locations(address),
        }
    }

    /// Pairs: so many bytes of instructions further, so many lines further.
    fn by_lnotab(&self, wanted: u64) -> Option<u32> {
        let mut line = i64::from(self.first_line);
        let mut address = 0;
        for &[bytes, lines] in self.bytes.as_chunks().0 {
            address += u64::from(bytes);
            if address > wanted {
                break;
            }
            line += i64::from(lines as i8);
        }
        u32::try_from(line).ok()
    }

    /// Pairs: the length of a range in bytes, and its line.
    fn by_ranges(&self, wanted: u64) -> Option<u32> {
        const NO_LINE: u8 = 0x80;
        let mut line = i64::from(self.first_line);
        let mut end = 0;
        for &[bytes, lines] in self.bytes.as_chunks().0 {
            end += u64::from(bytes);
            if lines != NO_LINE {
                line += i64::from(lines as i8);
            }
            if wanted < end {
                return (lines != NO_LINE).then(|| u32::try_from(line).ok())?;
            }
        }
        None
    }

    /// Entries that begin with a byte with the highest bit set, which holds a
    /// kind and the length in units.
    fn by_locations(&self, wanted: u64) -> Option<u32> {
        const START: u8 = 0x80;
        const ONE_LINE_0: u8 = 10;
        const ONE_LINE_2: u8 = 12;
        const NO_COLUMNS: u8 = 13;
        const LONG: u8 = 14;
        const NONE: u8 = 15;
        let mut line = i64::from(self.first_line);
        let mut end = 0;
        let mut position = 0;
        while let Some(&first) = self.bytes.get(position) {
            if first & START == 0 {
                return None;
            }
            position += 1;
            let length = self.bytes.get(position..)?;
            let kind = first >> 3 & 0xf;
            end += (u64::from(first & 7) + 1) * UNIT_BYTES;
            line += match kind {
                ONE_LINE_0..=ONE_LINE_2 => i64::from(kind - ONE_LINE_0),
                NO_COLUMNS | LONG => signed(&mut Reader::new(length))?,
                _ => 0,
            };
            if wanted < end {
                return (kind != NONE).then(|| u32::try_from(line).ok())?;
            }
            // The columns are not needed; no byte of theirs starts an entry.
            position += length
                .iter()
                .position(|byte| byte & START != 0)
                .unwrap_or(length.len());
        }
        None
    }
}

/// Six bits in a byte, lowest first; the seventh says that there are more.
/// Values are of 32 bits.
fn unsigned(reader: &mut Reader) -> Option<u32> {
    const MORE: u8 = 0x40;
    let mut value = 0;
    for shift in (0..32).step_by(6) {
        let byte = reader.u8()?;
        value |= u32::from(byte & 0x3f).checked_shl(shift)?;
        if byte & MORE == 0 {
            return Some(value);
        }
    }
    None
}

/// The sign is the lowest bit.
fn signed(reader: &mut Reader) -> Option<i64> {
    let value = unsigned(reader)?;
    let magnitude = i64::from(value >> 1);
    Some(if value & 1 == 0 {
        magnitude
    } else {
        -magnitude
    })
}
