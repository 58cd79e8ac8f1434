//! The parts of an ELF file that symbols come from, read piece by piece.
//!
//! The file belongs to whoever we watch: it can be wrong in every field and
//! change while it is read. So nothing here maps it into memory (a mapped
//! file that is cut short kills its reader with SIGBUS), every length is
//! bounded, and every read can fail. Layout: System V ABI, chapters 4 and 5.

use std::{fs::File, io, os::unix::fs::FileExt};

use thiserror::Error;

#[derive(Debug, Error)]
pub enum ElfError {
    #[error("cannot read it: {0}")]
    Read(#[from] io::Error),
    #[error("it is no 64-bit ELF file of this machine's byte order")]
    NotElf,
    #[error("its {0} is damaged")]
    Damaged(&'static str),
    #[error("its {0} is larger than we read")]
    TooLarge(&'static str),
}

/// Where the bytes of an ELF image are.
pub trait Bytes {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl Bytes for File {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }
}

impl Bytes for [u8] {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let source = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..start.checked_add(buffer.len())?))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(source);
        Ok(())
    }
}

pub const SHT_SYMTAB: u32 = 2;
pub const SHT_NOTE: u32 = 7;
pub const SHT_NOBITS: u32 = 8;
pub const SHT_DYNSYM: u32 = 11;
pub const SHF_EXECINSTR: u64 = 4;
pub const SHF_COMPRESSED: u64 = 0x800;

const HEADER_LENGTH: usize = 64;
const SECTION_LENGTH: usize = 64;
/// More than any linker writes without `-ffunction-sections` in a relocatable
/// file, and those are never executed.
const MAX_SECTIONS: u64 = 1 << 16;
const MAX_SECTION_NAMES: u64 = 4 << 20;

#[derive(Clone, Debug, Default)]
pub struct Section {
    pub name: String,
    pub kind: u32,
    pub flags: u64,
    pub address: u64,
    pub offset: u64,
    pub size: u64,
    /// Of a symbol table, the index of its string table.
    pub link: u32,
}

impl Section {
    /// Whether the file has its bytes: in a separate debug file, the sections
    /// that the program runs from are empty shells.
    pub fn has_bytes(&self) -> bool {
        self.kind != SHT_NOBITS && self.size > 0
    }
}

/// An ELF image and its section table.
pub struct Elf<'a, B: Bytes + ?Sized> {
    pub bytes: &'a B,
    pub sections: Vec<Section>,
}

pub fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(
        bytes.get(offset..offset + 2)?.try_into().ok()?,
    ))
}

pub fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(
        bytes.get(offset..offset + 4)?.try_into().ok()?,
    ))
}

pub fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(
        bytes.get(offset..offset + 8)?.try_into().ok()?,
    ))
}

/// Text up to the first zero byte.
pub fn text_at(bytes: &[u8], offset: usize) -> Option<&[u8]> {
    let rest = bytes.get(offset..)?;
    Some(&rest[..rest.iter().position(|&byte| byte == 0)?])
}

impl<'a, B: Bytes + ?Sized> Elf<'a, B> {
    pub fn parse(bytes: &'a B) -> Result<Self, ElfError> {
        let mut header = [0; HEADER_LENGTH];
        bytes.read_at(0, &mut header).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                ElfError::NotElf
            } else {
                ElfError::Read(error)
            }
        })?;
        let order = if cfg!(target_endian = "little") { 1 } else { 2 };
        if header[..4] != *b"\x7fELF" || header[4] != 2 || header[5] != order {
            return Err(ElfError::NotElf);
        }
        let damaged = || ElfError::Damaged("header");
        let table = u64_at(&header, 40).ok_or_else(damaged)?;
        let entry = u16_at(&header, 58).ok_or_else(damaged)?;
        let mut count = u64::from(u16_at(&header, 60).ok_or_else(damaged)?);
        let mut names = u32::from(u16_at(&header, 62).ok_or_else(damaged)?);
        if table == 0 {
            return Ok(Self {
                bytes,
                sections: Vec::new(),
            });
        }
        if usize::from(entry) != SECTION_LENGTH {
            return Err(ElfError::Damaged("section table"));
        }
        // Counts that do not fit are in the first section's header.
        if count == 0 || names == 0xffff {
            let mut first = [0; SECTION_LENGTH];
            bytes.read_at(table, &mut first)?;
            let (_, section) = parse_section(&first).ok_or_else(damaged)?;
            if count == 0 {
                count = section.size;
            }
            if names == 0xffff {
                names = section.link;
            }
        }
        if count > MAX_SECTIONS {
            return Err(ElfError::TooLarge("section table"));
        }
        let mut raw = vec![0; count as usize * SECTION_LENGTH];
        bytes.read_at(table, &mut raw)?;
        let mut sections = Vec::with_capacity(count as usize);
        let mut name_offsets = Vec::with_capacity(count as usize);
        for entry in raw.chunks_exact(SECTION_LENGTH) {
            let (name, section) = parse_section(entry).ok_or(ElfError::Damaged("section table"))?;
            name_offsets.push(name);
            sections.push(section);
        }
        let mut elf = Self { bytes, sections };
        let names = match elf.sections.get(names as usize).cloned() {
            Some(section) => elf.read(&section, MAX_SECTION_NAMES, "section names")?,
            None => Vec::new(),
        };
        for (section, offset) in elf.sections.iter_mut().zip(name_offsets) {
            let name = text_at(&names, offset as usize).unwrap_or_default();
            section.name = String::from_utf8_lossy(name).into_owned();
        }
        Ok(elf)
    }

    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// The first section of a kind that the file has the bytes of.
    pub fn section_of(&self, kind: u32) -> Option<&Section> {
        self.sections
            .iter()
            .find(|section| section.kind == kind && section.has_bytes())
    }

    pub fn read(
        &self,
        section: &Section,
        limit: u64,
        what: &'static str,
    ) -> Result<Vec<u8>, ElfError> {
        if !section.has_bytes() {
            return Ok(Vec::new());
        }
        if section.size > limit {
            return Err(ElfError::TooLarge(what));
        }
        let mut data = vec![0; section.size as usize];
        self.bytes.read_at(section.offset, &mut data)?;
        Ok(data)
    }

    /// The GNU build ID; empty when there is none.
    pub fn build_id(&self) -> Vec<u8> {
        self.sections
            .iter()
            .filter(|section| section.kind == SHT_NOTE)
            .filter_map(|section| self.read(section, 64 << 10, "note").ok())
            .find_map(|notes| find_build_id(&notes))
            .unwrap_or_default()
    }

    /// Name and CRC of `.gnu_debuglink`: the name, padded to four bytes, and
    /// the CRC (GDB manual, "Separate Debug Files").
    pub fn debug_link(&self) -> Option<(String, u32)> {
        let data = self
            .read(self.section(".gnu_debuglink")?, 4096, "debug link")
            .ok()?;
        let name = text_at(&data, 0)?;
        let crc = u32_at(&data, (name.len() + 1).next_multiple_of(4))?;
        Some((String::from_utf8(name.to_vec()).ok()?, crc))
    }

    /// Path and build ID of `.gnu_debugaltlink`: the file that `dwz` moved
    /// what several debug files have in common to.
    pub fn alternate_link(&self) -> Option<(String, Vec<u8>)> {
        let data = self
            .read(self.section(".gnu_debugaltlink")?, 8192, "debug link")
            .ok()?;
        let name = text_at(&data, 0)?;
        let id = data.get(name.len() + 1..)?;
        Some((String::from_utf8(name.to_vec()).ok()?, id.to_vec()))
    }
}

fn parse_section(entry: &[u8]) -> Option<(u32, Section)> {
    Some((
        u32_at(entry, 0)?,
        Section {
            name: String::new(),
            kind: u32_at(entry, 4)?,
            flags: u64_at(entry, 8)?,
            address: u64_at(entry, 16)?,
            offset: u64_at(entry, 24)?,
            size: u64_at(entry, 32)?,
            link: u32_at(entry, 40)?,
        },
    ))
}

/// Notes are name length, description length, type, name, description, the
/// last two padded to four bytes.
fn find_build_id(mut notes: &[u8]) -> Option<Vec<u8>> {
    const NT_GNU_BUILD_ID: u32 = 3;
    loop {
        let name = u32_at(notes, 0)? as usize;
        let description = u32_at(notes, 4)? as usize;
        let kind = u32_at(notes, 8)?;
        let start = 12usize.checked_add(name.checked_next_multiple_of(4)?)?;
        let end = start.checked_add(description)?;
        if kind == NT_GNU_BUILD_ID && notes.get(12..12 + name)? == b"GNU\0" {
            return Some(notes.get(start..end)?.to_vec());
        }
        notes = notes.get(end.checked_next_multiple_of(4)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_an_error() {
        let good = std::fs::read("/proc/self/exe").unwrap();
        assert!(Elf::parse(good.as_slice()).is_ok());
        for length in [0, 1, 63, 64, 1000] {
            assert!(Elf::parse(&good[..length]).is_err());
        }
        // Every byte of the header and many of the section table, changed.
        let table = u64_at(&good, 40).unwrap() as usize;
        let mut bad = good.clone();
        for offset in (4..64).chain(table..table + 2048) {
            for value in [0, 1, 0x7f, 0xff] {
                bad[offset] = value;
                if let Ok(elf) = Elf::parse(bad.as_slice()) {
                    elf.build_id();
                    elf.debug_link();
                }
            }
            bad[offset] = good[offset];
        }
    }

    #[test]
    fn notes_that_lie_about_their_length_end() {
        assert_eq!(find_build_id(&[0xff; 64]), None);
        let mut note = vec![4, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 3, 0, 0, 0];
        note.extend(b"GNU\0");
        assert_eq!(find_build_id(&note), None);
    }
}
