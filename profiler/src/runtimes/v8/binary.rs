//! An executable that holds a V8, read by address and by symbol.

use std::{fs::File, os::unix::fs::FileExt};

use super::{layout::Version, symbols::Symbols};
use crate::elf::{Elf, Segment};

/// A file that holds a V8.
pub struct Binary<'a> {
    pub file: &'a File,
    pub elf: &'a Elf<'a>,
    pub symbols: &'a Symbols,
}

impl Binary<'_> {
    /// Bytes at an ELF virtual address; those that the file does not hold are
    /// zero, as in memory.
    pub fn bytes(&self, address: u64, length: usize) -> Option<Vec<u8>> {
        let within = |segment: &&Segment| {
            address
                .checked_sub(segment.address)
                .is_some_and(|inside| inside < segment.memory_size)
        };
        let segment = self.elf.segments().iter().find(within)?;
        let inside = address - segment.address;
        let mut bytes = vec![0; length];
        let stored = segment.file_size.saturating_sub(inside).min(length as u64);
        if stored > 0 {
            let offset = segment.offset.checked_add(inside)?;
            self.file
                .read_exact_at(&mut bytes[..stored as usize], offset)
                .ok()?;
        }
        Some(bytes)
    }

    pub fn word(&self, address: u64) -> Option<u32> {
        let bytes = self.bytes(address, 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    /// The value of a constant of the metadata.
    pub fn constant(&self, name: &str) -> Option<i64> {
        let symbol = self.symbols.get(name)?;
        Some(i64::from(self.word(symbol.address)? as i32))
    }

    pub fn version(&self) -> Option<Version> {
        let part = |name: &str| {
            self.word(
                self.symbols
                    .get(&format!("_ZN2v88internal7Version6{name}_E"))?
                    .address,
            )
        };
        Some(Version {
            major: part("major")?,
            minor: part("minor")?,
            build: part("build")?,
        })
    }
}
