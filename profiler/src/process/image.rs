//! The parts of an ELF file that we look at, at their offsets in memory.
//!
//! The file is not mapped: its owner could truncate it and kill us with
//! SIGBUS. Instead a region of the file's size is reserved, which costs
//! nothing, and what is needed is read into it; the rest reads as zeros.

use std::{fs::File, io, os::unix::fs::FileExt, ptr::NonNull};

use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// Largest file that is looked at: reserved address space, not memory.
const MAX_FILE: u64 = 64 << 30;
/// Most bytes that are read of one file.
const MAX_READ: u64 = 1 << 30;

#[derive(Debug, Error)]
pub enum ImageError {
    #[error("cannot read it: {0}")]
    Read(#[from] io::Error),
    #[error("it is no ELF file")]
    NotElf,
    #[error("its headers are damaged")]
    Damaged,
    #[error("it is too large")]
    TooLarge,
}

/// Small sections that tell what a file is.
const DESCRIPTION: [&[u8]; 6] = [
    b".gnu_debuglink",
    b".note.gnu.build-id",
    b".note.go.buildid",
    b".note.stapsdt",
    b".interp",
    b".dynamic",
];

/// Sections that an unwind table is made from.
const UNWINDING: [&[u8]; 9] = [
    b".eh_frame",
    b".eh_frame_hdr",
    b".debug_frame",
    b".plt",
    b".plt.got",
    b".plt.sec",
    b".gopclntab",
    b".data.rel.ro.gopclntab",
    b".go.buildinfo",
];

/// How much of a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// Headers, notes and small sections.
    Description,
    /// Those, and what an unwind table is made from if that is not large: enough
    /// to tell whether two files have the same table.
    Comparison,
    /// Those and what an unwind table is made from.
    Unwinding,
}

/// Most bytes of a file that are read only to compare it with others.
const MAX_COMPARISON: u64 = 8 << 20;

/// ELF-64 layout, System V gABI chapter 4.
mod layout {
    pub const HEADER: u64 = 64;
    pub const PROGRAM_HEADER: u64 = 56;
    pub const SECTION_HEADER: u64 = 64;
    pub const PT_LOAD: u32 = 1;
    pub const PT_NOTE: u32 = 4;
    pub const PT_GNU_EH_FRAME: u32 = 0x6474_e550;
    pub const SHT_NOBITS: u32 = 8;
}

pub struct Image {
    start: NonNull<u8>,
    length: usize,
    read: u64,
    /// Of every part that was read, and where it lies.
    contents: Sha256,
    /// Everything that an unwind table is made from was read.
    whole: bool,
}

// SAFETY: it owns its memory.
unsafe impl Send for Image {}

impl Image {
    /// Reads the headers, the notes and the sections we look at.
    pub fn read(file: &File, parts: Parts) -> Result<Self, ImageError> {
        let size = file.metadata()?.len();
        if size < layout::HEADER {
            return Err(ImageError::NotElf);
        }
        if size > MAX_FILE {
            return Err(ImageError::TooLarge);
        }
        let mut image = Self::reserve(size as usize)?;
        image.fill(file, 0, size.min(4096))?;
        if image.bytes().get(..4) != Some(b"\x7fELF") {
            return Err(ImageError::NotElf);
        }
        image.fill_sections(file, parts)?;
        image.fill_segments(file, parts)?;
        Ok(image)
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the region is `length` long and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    fn reserve(length: usize) -> Result<Self, ImageError> {
        // SAFETY: a fresh private anonymous mapping.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        match NonNull::new(address.cast()) {
            Some(start) if address != libc::MAP_FAILED => Ok(Self {
                start,
                length,
                read: 0,
                contents: Sha256::new(),
                whole: false,
            }),
            _ => Err(io::Error::last_os_error().into()),
        }
    }

    /// Reads a part of the file to its place; what lies beyond its end stays
    /// zero.
    fn fill(&mut self, file: &File, offset: u64, length: u64) -> Result<(), ImageError> {
        let end = offset.saturating_add(length).min(self.length as u64);
        if offset >= end {
            return Ok(());
        }
        self.read += end - offset;
        if self.read > MAX_READ {
            return Err(ImageError::TooLarge);
        }
        // SAFETY: within the region, which nobody else refers to now.
        let target = unsafe {
            std::slice::from_raw_parts_mut(
                self.start.as_ptr().add(offset as usize),
                (end - offset) as usize,
            )
        };
        let mut done = 0;
        while done < target.len() {
            match file.read_at(&mut target[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.contents.update(offset.to_le_bytes());
        self.contents.update(&*target);
        Ok(())
    }

    /// Digest of all that was read, if that includes everything that an unwind
    /// table is made from: files with the same one have the same table.
    pub fn comparison(&self) -> Option<[u8; 32]> {
        self.whole.then(|| self.digest())
    }

    /// Digest of all that was read: two images with the same one are alike.
    pub fn digest(&self) -> [u8; 32] {
        self.contents.clone().finalize().into()
    }

    fn u16_at(&self, offset: u64) -> Option<u16> {
        let bytes = self.bytes().get(offset as usize..)?.get(..2)?;
        Some(u16::from_le_bytes(bytes.try_into().ok()?))
    }

    fn u32_at(&self, offset: u64) -> Option<u32> {
        let bytes = self.bytes().get(offset as usize..)?.get(..4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    fn u64_at(&self, offset: u64) -> Option<u64> {
        let bytes = self.bytes().get(offset as usize..)?.get(..8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    fn fill_sections(&mut self, file: &File, parts: Parts) -> Result<(), ImageError> {
        let table = self.u64_at(0x28).ok_or(ImageError::Damaged)?;
        let count = u64::from(self.u16_at(0x3c).ok_or(ImageError::Damaged)?);
        let names = u64::from(self.u16_at(0x3e).ok_or(ImageError::Damaged)?);
        self.fill(file, table, count * layout::SECTION_HEADER)?;
        let header = |index: u64| table.saturating_add(index * layout::SECTION_HEADER);
        let Some((names_offset, names_size)) = self.section_range(header(names)) else {
            return Ok(());
        };
        self.fill(file, names_offset, names_size.min(1 << 20))?;
        let mut wanted = Vec::new();
        let mut unwinding = Vec::new();
        let mut has_frames = false;
        let mut text = None;
        for index in 0..count {
            let Some(range) = self.section_range(header(index)) else {
                continue;
            };
            let Some(name) = self
                .u32_at(header(index))
                .map(|name| names_offset.saturating_add(name.into()))
                .and_then(|start| self.bytes().get(start as usize..))
                .and_then(|rest| rest.split(|&byte| byte == 0).next())
            else {
                continue;
            };
            has_frames |= name == b".eh_frame";
            if name == b".text" {
                text = Some(range);
            }
            if DESCRIPTION.contains(&name) {
                wanted.push(range);
            } else if UNWINDING.contains(&name) {
                unwinding.push(range);
            }
        }
        let bytes = unwinding
            .iter()
            .fold(0, |sum: u64, &(_, size)| sum.saturating_add(size));
        // Without frames the code itself is looked at, which is large.
        self.whole = match parts {
            Parts::Description => false,
            Parts::Comparison => has_frames && bytes <= MAX_COMPARISON,
            Parts::Unwinding => true,
        };
        if self.whole {
            wanted.append(&mut unwinding);
        }
        if !has_frames && parts == Parts::Unwinding {
            // The code itself is searched for signal trampolines.
            wanted.extend(text);
        }
        for (offset, size) in wanted {
            self.fill(file, offset, size)?;
        }
        Ok(())
    }

    /// Offset and size of a section with contents.
    fn section_range(&self, header: u64) -> Option<(u64, u64)> {
        if self.u32_at(header.checked_add(4)?)? == layout::SHT_NOBITS {
            return None;
        }
        Some((self.u64_at(header + 0x18)?, self.u64_at(header + 0x20)?))
    }

    fn fill_segments(&mut self, file: &File, parts: Parts) -> Result<(), ImageError> {
        let table = self.u64_at(0x20).ok_or(ImageError::Damaged)?;
        let count = u64::from(self.u16_at(0x38).ok_or(ImageError::Damaged)?);
        let sections = self.u16_at(0x3c).unwrap_or(0);
        self.fill(file, table, count * layout::PROGRAM_HEADER)?;
        let mut wanted = Vec::new();
        let mut frames = None;
        let segments: Vec<_> = (0..count)
            .filter_map(|index| {
                let header = table.checked_add(index * layout::PROGRAM_HEADER)?;
                Some((
                    self.u32_at(header)?,
                    self.u64_at(header.checked_add(8)?)?,
                    self.u64_at(header.checked_add(32)?)?,
                ))
            })
            .collect();
        for &(kind, offset, size) in &segments {
            match kind {
                layout::PT_NOTE => wanted.push((offset, size.min(1 << 16))),
                layout::PT_GNU_EH_FRAME => frames = Some(offset),
                _ => {}
            }
        }
        // Without section headers the frames are known to lie in the segment
        // that holds their index, and no more.
        if sections == 0
            && parts == Parts::Unwinding
            && let Some(frames) = frames
            && let Some(&(_, offset, size)) = segments.iter().find(|&&(kind, offset, size)| {
                kind == layout::PT_LOAD && offset <= frames && frames - offset < size
            })
        {
            wanted.push((offset, size));
        }
        for (offset, size) in wanted {
            self.fill(file, offset, size)?;
        }
        Ok(())
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // SAFETY: our own mapping, not used any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image_of(bytes: &[u8]) -> Result<Image, ImageError> {
        let file = tempfile::tempfile().expect("a temporary file");
        file.write_all_at(bytes, 0).expect("written");
        Image::read(&file, Parts::Unwinding)
    }

    #[test]
    fn sections_are_where_the_file_has_them() {
        let path = "/proc/self/exe";
        let whole = std::fs::read(path).expect("own executable");
        let image = Image::read(&File::open(path).expect("own executable"), Parts::Unwinding)
            .expect("an ELF file");
        assert_eq!(image.bytes().len(), whole.len());
        let table = image.u64_at(0x28).expect("section table") as usize;
        assert_eq!(image.bytes()[table..table + 640], whole[table..table + 640]);
        assert!(
            image.read < whole.len() as u64 / 2,
            "most of it is not read"
        );
    }

    #[test]
    fn lying_headers_are_harmless() {
        assert!(matches!(image_of(b"#!/bin/sh\n"), Err(ImageError::NotElf)));
        let mut bytes = vec![0xff; 4096];
        bytes[..4].copy_from_slice(b"\x7fELF");
        let _ = image_of(&bytes);
        // Sections of 4 GiB and more, counts of 65,535.
        for offset in [0x20, 0x28, 0x38, 0x3c, 0x3e] {
            let mut bytes = std::fs::read("/bin/true").expect("a small program");
            bytes[offset..offset + 2].copy_from_slice(&[0xff, 0xff]);
            let _ = image_of(&bytes);
        }
    }
}
