//! Sections by name, and the unwind sections when there are no names left.

use std::borrow::Cow;
use std::io::Read;
use std::ops::Range;

use super::reader::{Bases, Reader};
use super::{Elf, PT_GNU_EH_FRAME};

const HEADER_SIZE: u16 = 64;
const SHT_NOBITS: u32 = 8;
const SHF_COMPRESSED: u64 = 1 << 11;
const SHN_XINDEX: u16 = 0xffff;
const ELFCOMPRESS_ZLIB: u32 = 1;
const COMPRESSION_HEADER: usize = 24;

/// Deflate cannot exceed 1032 to 1 (zlib's technical notes), so a greater
/// claim is false; this is the cap for a claim that may be true.
const MAX_DECOMPRESSED: u64 = 512 << 20;
const MAX_DEFLATE_RATIO: u64 = 1032;

#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub name: u32,
    pub kind: u32,
    pub flags: u64,
    pub address: u64,
    pub offset: u64,
    pub size: u64,
    pub link: u32,
}

/// A section's bytes, decompressed if it was compressed.
#[derive(Clone, Debug)]
pub struct Section<'a> {
    pub address: u64,
    pub offset: u64,
    pub data: Cow<'a, [u8]>,
    /// The end is not known: `data` goes on to the end of the segment.
    pub open_ended: bool,
}

/// The table of sections, empty if it is not wholly in the file, and the
/// first of them, which holds the counts that do not fit in the ELF header.
pub(super) fn headers(
    data: &[u8],
    offset: u64,
    entry_size: u16,
    count: u16,
) -> (Vec<Header>, Option<Header>) {
    let Some(mut reader) = usize::try_from(offset)
        .ok()
        .filter(|&offset| offset != 0 && entry_size == HEADER_SIZE)
        .map(|offset| Reader::at(data, offset))
    else {
        return (Vec::new(), None);
    };
    let Some(first) = header(&mut reader.clone()) else {
        return (Vec::new(), None);
    };
    let count = if count == 0 {
        first.size
    } else {
        u64::from(count)
    };
    let fits = (data.len() as u64).saturating_sub(offset) / u64::from(HEADER_SIZE);
    if count > fits {
        return (Vec::new(), Some(first));
    }
    let all: Option<Vec<_>> = (0..count).map(|_| header(&mut reader)).collect();
    (all.unwrap_or_default(), Some(first))
}

fn header(reader: &mut Reader) -> Option<Header> {
    let header = Header {
        name: reader.u32()?,
        kind: reader.u32()?,
        flags: reader.u64()?,
        address: reader.u64()?,
        offset: reader.u64()?,
        size: reader.u64()?,
        link: reader.u32()?,
    };
    reader.skip(20)?;
    Some(header)
}

/// File range of the section names.
pub(super) fn names(headers: &[Header], first: Option<Header>, index: u16) -> Range<u64> {
    let index = match (index, first) {
        (SHN_XINDEX, Some(first)) => first.link as usize,
        (index, _) => usize::from(index),
    };
    headers.get(index).map_or(0..0, |header| {
        header.offset..header.offset.saturating_add(header.size)
    })
}

impl<'a> Elf<'a> {
    pub fn has_sections(&self) -> bool {
        !self.sections.is_empty()
    }

    pub fn section(&self, name: &str) -> Option<Section<'a>> {
        let header = self
            .sections
            .iter()
            .find(|header| self.is_named(header, name))?;
        self.read(header)
    }

    /// File contents of the sections of a type: symbol tables and their like.
    pub(crate) fn sections_of_kind(
        &self,
        kind: u32,
    ) -> impl Iterator<Item = Section<'a>> + use<'_, 'a> {
        self.sections
            .iter()
            .filter(move |header| header.kind == kind)
            .filter_map(|header| self.read(header))
    }

    /// Compares in place: the end of a name is a claim of the file too.
    fn is_named(&self, header: &Header, name: &str) -> bool {
        let Some(start) = self.names.start.checked_add(u64::from(header.name)) else {
            return false;
        };
        let size = name.len() as u64 + 1;
        start
            .checked_add(size)
            .is_some_and(|end| end <= self.names.end)
            && self
                .slice(start, size)
                .and_then(|bytes| bytes.strip_suffix(b"\0"))
                == Some(name.as_bytes())
    }

    pub(super) fn slice(&self, offset: u64, size: u64) -> Option<&'a [u8]> {
        let start = usize::try_from(offset).ok()?;
        let end = usize::try_from(offset.checked_add(size)?).ok()?;
        self.data.get(start..end)
    }

    fn read(&self, header: &Header) -> Option<Section<'a>> {
        if header.kind == SHT_NOBITS {
            return None;
        }
        let stored = self.slice(header.offset, header.size)?;
        let data = if header.flags & SHF_COMPRESSED == 0 {
            Cow::Borrowed(stored)
        } else {
            Cow::Owned(decompress(stored)?)
        };
        Some(Section {
            address: header.address,
            offset: header.offset,
            data,
            open_ended: false,
        })
    }

    /// `.eh_frame`, by its name or, in a file whose section headers were
    /// stripped, by the pointer at the start of `.eh_frame_hdr` (LSB 5.0 core,
    /// section 10.6.2), which a program header leads to.
    pub fn eh_frame(&self) -> Option<Section<'a>> {
        if let Some(section) = self.section(".eh_frame") {
            return Some(section);
        }
        let header = self.program_header(PT_GNU_EH_FRAME)?;
        let bases = Bases {
            section: header.address,
            data: header.address,
            text: 0,
        };
        let mut reader = Reader::new(self.bytes_at(header.address)?);
        if reader.u8()? != 1 {
            return None;
        }
        let encoding = reader.u8()?;
        reader.skip(2)?;
        let address = reader.encoded_pointer(encoding, &bases)?;
        let segment = self
            .segments
            .iter()
            .find(|segment| address.wrapping_sub(segment.address) < segment.file_size)?;
        Some(Section {
            address,
            offset: segment.offset.checked_add(address - segment.address)?,
            data: Cow::Borrowed(self.bytes_at(address)?),
            open_ended: true,
        })
    }
}

/// gABI, "Compressed sections". zstd ones are left alone.
fn decompress(stored: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader::new(stored);
    let kind = reader.u32()?;
    let _reserved = reader.u32()?;
    let size = reader.u64()?;
    let packed = stored.get(COMPRESSION_HEADER..)?;
    let possible = (packed.len() as u64).saturating_mul(MAX_DEFLATE_RATIO);
    if kind != ELFCOMPRESS_ZLIB || size > MAX_DECOMPRESSED.min(possible) {
        return None;
    }
    let mut data = Vec::with_capacity(usize::try_from(size).ok()?);
    flate2::read::ZlibDecoder::new(packed)
        .take(size)
        .read_to_end(&mut data)
        .ok()?;
    (data.len() as u64 == size).then_some(data)
}
