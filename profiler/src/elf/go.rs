//! `.gopclntab`: the table with which Go's own runtime walks its stacks and
//! names their functions. It stays in a stripped executable.
//!
//! Format: Go's src/internal/abi/symtab.go, src/runtime/symtab.go and
//! src/debug/gosym/pclntab.go; one description for four layouts, told apart
//! by a magic number.

use std::borrow::Cow;
use std::ops::Range;

use super::Elf;
use super::reader::Reader;

/// Layouts, by the Go release that introduced each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    Go1_2,
    Go1_16,
    Go1_18,
    Go1_20,
}

impl Version {
    fn of(magic: u32) -> Option<Self> {
        Some(match magic {
            0xffff_fffb => Self::Go1_2,
            0xffff_fffa => Self::Go1_16,
            0xffff_fff0 => Self::Go1_18,
            0xffff_fff1 => Self::Go1_20,
            _ => return None,
        })
    }
}

const HEADER_SIZE: usize = 8;
/// Between the last function and the end of the code.
const MAX_PADDING: u64 = 64;
/// Of a function with a flag byte: `internal/abi.FuncFlagTopFrame`.
const TOP_FRAME: u8 = 1;

#[derive(Clone, Copy, Debug)]
pub struct GoTable<'a> {
    data: &'a [u8],
    version: Version,
    quantum: u64,
    count: usize,
    text: u64,
    names: usize,
    units: usize,
    files: usize,
    values: usize,
    functions: usize,
}

#[derive(Clone, Copy, Debug)]
pub struct GoFunction<'a> {
    pub start: u64,
    pub end: u64,
    name: &'a [u8],
    stack: u32,
    file: u32,
    line: u32,
    unit: u32,
    pub(crate) top_frame: bool,
}

impl<'a> GoFunction<'a> {
    /// As Go writes it: `main.(*server).handle`.
    pub fn name(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.name)
    }
}

impl<'a> Elf<'a> {
    /// Go's table of functions, if this was built by Go's own compiler.
    pub fn go_pclntab(&self) -> Option<GoTable<'a>> {
        let text = self.section(".text").and_then(|section| {
            let end = section.address.checked_add(section.data.len() as u64)?;
            Some(section.address..end)
        });
        // Position-independent executables have it among what is relocated.
        [".gopclntab", ".data.rel.ro.gopclntab"]
            .iter()
            .filter_map(|name| self.section(name))
            .find_map(|section| match section.data {
                Cow::Borrowed(data) => GoTable::parse(data, text.clone()),
                Cow::Owned(_) => None,
            })
            .or_else(|| {
                if self.has_sections() {
                    return None;
                }
                self.search()
            })
    }

    pub fn is_go(&self) -> bool {
        self.section(".go.buildinfo").is_some() || self.go_pclntab().is_some()
    }

    /// Without section headers the header must do: its magic, two zero bytes,
    /// an instruction quantum of 1 and pointers of 8 bytes, 32-aligned.
    fn search(&self) -> Option<GoTable<'a>> {
        let text = self.executable_ranges().into_iter().next();
        self.segments()
            .iter()
            .filter_map(|segment| self.bytes_at(segment.address))
            .find_map(|bytes| {
                (0..bytes.len()).step_by(32).find_map(|start| {
                    let rest = bytes.get(start..)?;
                    (rest.get(4..HEADER_SIZE)? == [0, 0, 1, 8])
                        .then(|| GoTable::parse(rest, text.clone()))?
                })
            })
    }
}

impl<'a> GoTable<'a> {
    /// `data` is the table, `text` the addresses of the code: for tables that
    /// do not say where it starts, as those that the dynamic linker relocates
    /// and those of Go 1.26. `None` when it is no table, or when it cannot be
    /// told what its addresses count from.
    pub fn parse(data: &'a [u8], text: Option<Range<u64>>) -> Option<Self> {
        let mut reader = Reader::new(data);
        let version = Version::of(reader.u32()?)?;
        reader.skip(2)?;
        let quantum = u64::from(reader.u8()?);
        if reader.u8()? != 8 {
            return None;
        }
        let mut word = || usize::try_from(reader.u64()?).ok();
        let count = word()?;
        let mut table = Self {
            data,
            version,
            quantum,
            count,
            text: 0,
            names: 0,
            units: 0,
            files: 0,
            values: 0,
            functions: HEADER_SIZE + 8,
        };
        if version >= Version::Go1_16 {
            let _files = word()?;
            if version >= Version::Go1_18 {
                table.text = word()? as u64;
            }
            table.names = word()?;
            table.units = word()?;
            table.files = word()?;
            table.values = word()?;
            table.functions = word()?;
        }
        let text = text.filter(|_| version >= Version::Go1_18 && table.text == 0);
        if let Some(text) = &text {
            table.text = text.start;
        }
        // One more entry than functions: the end of the last.
        let size = table.entry_size().checked_mul(count)?;
        let end = table.functions.checked_add(size)?;
        if end > data.len() || count == 0 {
            return None;
        }
        // Where C's linker put other code around Go's, its start is not Go's.
        if let Some(text) = text {
            let (end, _) = table.entry(count)?;
            if !(0..MAX_PADDING).contains(&text.end.checked_sub(end)?) {
                return None;
            }
        }
        if version == Version::Go1_2 {
            let position = end.checked_add(8)?;
            table.files = Reader::at(data, position).u32()? as usize;
        }
        Some(table)
    }

    fn entry_size(&self) -> usize {
        match self.version {
            Version::Go1_2 | Version::Go1_16 => 16,
            Version::Go1_18 | Version::Go1_20 => 8,
        }
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Start of a function and where the rest of it is.
    fn entry(&self, index: usize) -> Option<(u64, usize)> {
        let position = self
            .functions
            .checked_add(index.checked_mul(self.entry_size())?)?;
        let mut reader = Reader::at(self.data, position);
        match self.version {
            Version::Go1_2 | Version::Go1_16 => {
                let start = reader.u64()?;
                // The last entry has no second half in Go 1.2's layout.
                Some((start, reader.u64().unwrap_or(0) as usize))
            }
            Version::Go1_18 | Version::Go1_20 => {
                let start = self.text.checked_add(u64::from(reader.u32()?))?;
                Some((start, reader.u32().unwrap_or(0) as usize))
            }
        }
    }

    pub fn function(&self, index: usize) -> Option<GoFunction<'a>> {
        if index >= self.count {
            return None;
        }
        let (start, offset) = self.entry(index)?;
        let (end, _) = self.entry(index + 1)?;
        let position = match self.version {
            Version::Go1_2 => offset,
            _ => self.functions.checked_add(offset)?,
        };
        let mut reader = Reader::at(self.data, position);
        match self.version {
            Version::Go1_2 | Version::Go1_16 => reader.skip(8)?,
            Version::Go1_18 | Version::Go1_20 => reader.skip(4)?,
        }
        let name = reader.u32()? as usize;
        let _arguments = reader.u32()?;
        let _deferred = reader.u32()?;
        let stack = reader.u32()?;
        let file = reader.u32()?;
        let line = reader.u32()?;
        let _data = reader.u32()?;
        let (mut unit, mut top_frame) = (0, false);
        if self.version >= Version::Go1_16 {
            unit = reader.u32()?;
            if self.version >= Version::Go1_20 {
                let _first_line = reader.u32()?;
            }
            let _kind = reader.u8()?;
            top_frame = reader.u8()? & TOP_FRAME != 0;
        }
        Some(GoFunction {
            start,
            end,
            name: Reader::at(self.data, self.names.checked_add(name)?).string()?,
            stack,
            file,
            line,
            unit,
            top_frame,
        })
    }

    /// In the order of their addresses.
    pub fn functions(&self) -> impl Iterator<Item = GoFunction<'a>> + '_ {
        (0..self.count).filter_map(|index| self.function(index))
    }

    pub fn find(&self, address: u64) -> Option<GoFunction<'a>> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.entry(middle)?.0 <= address {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.function(low.checked_sub(1)?)
            .filter(|function| (function.start..function.end).contains(&address))
    }

    /// File and line of an address within `function`.
    pub fn line(&self, function: &GoFunction, address: u64) -> Option<(Cow<'a, str>, u32)> {
        let at = |table| {
            self.values(table, function)
                .find(|(range, _)| range.contains(&address))
                .and_then(|(_, value)| u32::try_from(value).ok())
        };
        let file = at(function.file)? as usize;
        let line = at(function.line)?;
        let position = match self.version {
            Version::Go1_2 => self.word(self.files, file)? as usize,
            _ => {
                let index = (function.unit as usize).checked_add(file)?;
                let offset = self.word(self.units, index)?;
                self.files.checked_add(offset as usize)?
            }
        };
        let name = Reader::at(self.data, position).string()?;
        Some((String::from_utf8_lossy(name), line))
    }

    fn word(&self, base: usize, index: usize) -> Option<u32> {
        Reader::at(self.data, base.checked_add(index.checked_mul(4)?)?).u32()
    }

    /// Bytes between the stack pointer and its value on entry.
    pub(crate) fn stack_depths(
        &self,
        function: &GoFunction,
    ) -> impl Iterator<Item = (Range<u64>, i64)> + use<'a> {
        self.values(function.stack, function)
    }

    /// A table of values by address: steps of both, as variable-length
    /// numbers (the "Go 1.2 Runtime Symbol Information" design document). Ends
    /// with the function, since functions share tables.
    fn values(
        &self,
        table: u32,
        function: &GoFunction,
    ) -> impl Iterator<Item = (Range<u64>, i64)> + use<'a> {
        let quantum = self.quantum;
        let mut reader = Reader::at(self.data, self.values.saturating_add(table as usize));
        let (mut address, end) = (function.start, function.end);
        let mut value = -1_i64;
        let mut first = true;
        std::iter::from_fn(move || {
            if address >= end || table == 0 {
                return None;
            }
            let step = u32::try_from(reader.uleb128()?).ok()?;
            if step == 0 && !first {
                return None;
            }
            first = false;
            // Zigzag: the sign is the lowest bit.
            value += i64::from((step >> 1) as i32 ^ -((step & 1) as i32));
            let length = reader.uleb128()?.checked_mul(quantum)?;
            if length == 0 {
                return None;
            }
            let start = address;
            address = address.saturating_add(length).min(end);
            Some((start..address, value))
        })
    }
}
