//! ELF files as any process of the host may have mapped them: every offset and
//! length is a claim of the file, checked at each use, and no read can panic.
//!
//! Headers are decoded field by field rather than cast, since a file need not
//! align its tables. Only what this profiler walks is accepted: x86-64, 64
//! bits, little endian.

pub mod go;
mod identity;
pub mod reader;
mod sections;
pub mod symbols;
pub mod usdt;

use std::ops::Range;

use thiserror::Error;

use reader::Reader;
pub use sections::Section;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ElfError {
    #[error("not an ELF file")]
    NotElf,
    #[error("the ELF header is truncated")]
    Truncated,
    #[error("a {0}-bit ELF file; only 64-bit ones are supported")]
    Class(u8),
    #[error("a big-endian ELF file; only little-endian ones are supported")]
    BigEndian,
    #[error("for machine {0}; only x86-64 (62) is supported")]
    Machine(u16),
    #[error("its program headers are not those of an executable")]
    ProgramHeaders,
}

/// `e_type`.
pub mod kind {
    pub const EXECUTABLE: u16 = 2;
    pub const SHARED: u16 = 3;
}

const EM_X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;
const PT_GNU_EH_FRAME: u32 = 0x6474_e550;
const PROGRAM_HEADER_SIZE: u16 = 56;
/// What the kernel loads has no more (fs/binfmt_elf.c, `load_elf_phdrs`: 64
/// KiB of them); only core files do.
const MAX_PROGRAM_HEADERS: u32 = 65536 / PROGRAM_HEADER_SIZE as u32;

pub const EXECUTE: u32 = 1;

/// What the kernel maps in units of (x86-64 has no other).
const MAPPING_PAGE: u64 = 4096;

/// A part of the file that is loaded (`PT_LOAD`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub address: u64,
    pub offset: u64,
    pub file_size: u64,
    pub memory_size: u64,
    /// Of `p_flags`: [`EXECUTE`] is the bit asked for.
    pub flags: u32,
}

#[derive(Clone, Copy, Debug)]
struct ProgramHeader {
    kind: u32,
    segment: Segment,
}

#[derive(Clone, Debug)]
pub struct Elf<'a> {
    data: &'a [u8],
    kind: u16,
    entry: u64,
    headers: Vec<ProgramHeader>,
    segments: Vec<Segment>,
    sections: Vec<sections::Header>,
    names: Range<u64>,
}

impl<'a> Elf<'a> {
    pub fn parse(data: &'a [u8]) -> Result<Self, ElfError> {
        if data.get(..4) != Some(b"\x7fELF") {
            return Err(ElfError::NotElf);
        }
        let mut reader = Reader::at(data, 4);
        let class = reader.u8().ok_or(ElfError::Truncated)?;
        let order = reader.u8().ok_or(ElfError::Truncated)?;
        if class != 2 {
            return Err(ElfError::Class(if class == 1 { 32 } else { class }));
        }
        if order != 1 {
            return Err(ElfError::BigEndian);
        }
        Self::parse_header(data).ok_or(ElfError::Truncated)?
    }

    /// `None`: the header does not fit in the file.
    fn parse_header(data: &'a [u8]) -> Option<Result<Self, ElfError>> {
        let mut reader = Reader::at(data, 16);
        let kind = reader.u16()?;
        let machine = reader.u16()?;
        let _version = reader.u32()?;
        let entry = reader.u64()?;
        let program_offset = reader.u64()?;
        let section_offset = reader.u64()?;
        let _flags = reader.u32()?;
        let _header_size = reader.u16()?;
        let program_entry_size = reader.u16()?;
        let program_count = reader.u16()?;
        let section_entry_size = reader.u16()?;
        let section_count = reader.u16()?;
        let names_index = reader.u16()?;
        if machine != EM_X86_64 {
            return Some(Err(ElfError::Machine(machine)));
        }
        let (sections, first) =
            sections::headers(data, section_offset, section_entry_size, section_count);
        let program_count = u32::from(program_count);
        if program_count > MAX_PROGRAM_HEADERS
            || program_count > 0 && program_entry_size != PROGRAM_HEADER_SIZE
        {
            return Some(Err(ElfError::ProgramHeaders));
        }
        let Some(headers) = program_headers(data, program_offset, program_count) else {
            return Some(Err(ElfError::ProgramHeaders));
        };
        let segments = headers
            .iter()
            .filter(|header| header.kind == PT_LOAD)
            .map(|header| header.segment)
            .collect();
        let names = sections::names(&sections, first, names_index);
        Some(Ok(Self {
            data,
            kind,
            entry,
            headers,
            segments,
            sections,
            names,
        }))
    }

    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Of [`kind`].
    pub fn kind(&self) -> u16 {
        self.kind
    }

    pub fn entry(&self) -> u64 {
        self.entry
    }

    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    fn program_header(&self, kind: u32) -> Option<&Segment> {
        self.headers
            .iter()
            .find(|header| header.kind == kind)
            .map(|header| &header.segment)
    }

    /// Addresses of code that the file holds, ordered and without overlap.
    pub fn executable_ranges(&self) -> Vec<Range<u64>> {
        let mut ranges: Vec<_> = self
            .segments
            .iter()
            .filter(|segment| segment.flags & EXECUTE != 0)
            .filter_map(|segment| {
                let available = (self.data.len() as u64).checked_sub(segment.offset)?;
                let size = segment.file_size.min(segment.memory_size).min(available);
                let end = segment.address.checked_add(size)?;
                (size > 0).then_some(segment.address..end)
            })
            .collect();
        ranges.sort_by_key(|range| range.start);
        let mut merged: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        merged
    }

    /// The file's bytes from `address` to the end of its segment.
    pub fn bytes_at(&self, address: u64) -> Option<&'a [u8]> {
        self.segments.iter().find_map(|segment| {
            let inside = address.checked_sub(segment.address)?;
            let left = segment.file_size.checked_sub(inside)?;
            if left == 0 {
                return None;
            }
            let start = usize::try_from(segment.offset.checked_add(inside)?).ok()?;
            let rest = self.data.get(start..)?;
            Some(rest.get(..usize::try_from(left).ok()?).unwrap_or(rest))
        })
    }

    /// See [`bias`].
    pub fn bias(&self, mapping_start: u64, mapping_file_offset: u64) -> Option<u64> {
        bias(&self.segments, mapping_start, mapping_file_offset)
    }
}

/// What to subtract from an address of the process to get one of the file,
/// for the executable mapping that starts at `mapping_start` and shows the
/// file from `mapping_file_offset` on.
///
/// The kernel widens a segment to whole pages on both sides (fs/binfmt_elf.c,
/// `elf_map`), so with lld's unaligned segments a page of the file can
/// belong to two of them: the executable one is preferred, then the one
/// that starts in that very page.
pub fn bias(segments: &[Segment], mapping_start: u64, mapping_file_offset: u64) -> Option<u64> {
    let page = mapping_file_offset / MAPPING_PAGE;
    let segment = segments
        .iter()
        .filter(|segment| {
            let first = segment.offset / MAPPING_PAGE;
            let last = segment
                .offset
                .saturating_add(segment.file_size.saturating_sub(1))
                / MAPPING_PAGE;
            segment.file_size > 0 && (first..=last).contains(&page)
        })
        .max_by_key(|segment| {
            (
                segment.flags & EXECUTE != 0,
                segment.offset / MAPPING_PAGE == page,
            )
        })?;
    let address = segment
        .address
        .wrapping_add(mapping_file_offset.wrapping_sub(segment.offset));
    Some(mapping_start.wrapping_sub(address))
}

fn program_headers(data: &[u8], offset: u64, count: u32) -> Option<Vec<ProgramHeader>> {
    if count == 0 {
        return Some(Vec::new());
    }
    let size = usize::from(PROGRAM_HEADER_SIZE).checked_mul(count as usize)?;
    let table = Reader::at(data, usize::try_from(offset).ok()?).bytes(size)?;
    let mut reader = Reader::new(table);
    let mut headers = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let kind = reader.u32()?;
        let flags = reader.u32()?;
        let offset = reader.u64()?;
        let address = reader.u64()?;
        let _physical = reader.u64()?;
        let file_size = reader.u64()?;
        let memory_size = reader.u64()?;
        let _alignment = reader.u64()?;
        headers.push(ProgramHeader {
            kind,
            segment: Segment {
                address,
                offset,
                file_size,
                memory_size,
                flags,
            },
        });
    }
    Some(headers)
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
