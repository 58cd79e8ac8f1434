//! The symbols of a V8 build: what `tools/gen-postmortem-metadata.py` of V8
//! writes down of its layouts, and a few of V8's own.
//!
//! The file is asked by `pread`, in few and bounded pieces: it is any
//! executable of the host until the first symbol is found.

use std::{fs::File, os::unix::fs::FileExt};

use rustc_hash::FxHashMap;

use crate::elf::Elf;

/// Prefix of the metadata.
const METADATA: &[u8] = b"v8dbg_";
/// The symbol that tells that V8 is in a file.
const PROBE: &[u8] = b"_ZN2v88internal7Version6major_E";

const SYMBOL_LENGTH: usize = 24;
/// Node's are 3 MB and 30 MB.
const MAX_SYMBOLS: usize = 64 << 20;
const MAX_STRINGS: usize = 256 << 20;
/// Longest name that is compared.
const MAX_NAME: usize = 200;

/// Symbols that are kept, besides the metadata.
const WANTED: [&[u8]; 8] = [
    PROBE,
    b"_ZN2v88internal7Version6minor_E",
    b"_ZN2v88internal7Version6build_E",
    b"_ZN2v88internal11interpreter9Bytecodes14kBytecodeSizesE",
    b"v8_Default_embedded_blob_code_",
    b"v8_Default_embedded_blob_code_data_",
    b"v8_Default_embedded_blob_code_size_",
    b"Builtins_JSEntry",
];

#[derive(Clone, Copy, Debug)]
pub struct Symbol {
    pub address: u64,
    pub size: u64,
}

/// V8's symbols by name, the metadata without its prefix.
#[derive(Debug, Default)]
pub struct Symbols {
    found: FxHashMap<String, Symbol>,
}

impl Symbols {
    /// `None` when the file holds no V8, which costs a few reads only.
    pub fn read(file: &File, elf: &Elf) -> Option<Self> {
        let exported = exports_v8(file, elf);
        if !exported && !named_like_node(file) {
            return None;
        }
        let mut symbols = Self::default();
        // From Node 24.11 on the metadata may be in `.symtab` only; the blob's
        // symbols always are.
        symbols.collect(file, elf, ".dynsym", ".dynstr");
        symbols.collect(file, elf, ".symtab", ".strtab");
        symbols
            .found
            .contains_key(std::str::from_utf8(PROBE).ok()?)
            .then_some(symbols)
    }

    pub fn get(&self, name: &str) -> Option<Symbol> {
        self.found.get(name).copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, Symbol)> {
        self.found
            .iter()
            .map(|(name, &symbol)| (name.as_str(), symbol))
    }

    fn collect(&mut self, file: &File, elf: &Elf, symbols: &str, strings: &str) -> Option<()> {
        let table = section(file, elf, symbols, MAX_SYMBOLS)?;
        let names = section(file, elf, strings, MAX_STRINGS)?;
        for entry in table.chunks_exact(SYMBOL_LENGTH) {
            // gABI, `Elf64_Sym`: name, info, other, section, value, size.
            let name = u32::from_le_bytes(entry[..4].try_into().ok()?) as usize;
            let Some(rest) = names.get(name..) else {
                continue;
            };
            let Some(key) = key(&rest[..rest.len().min(MAX_NAME)]) else {
                continue;
            };
            let defined = u16::from_le_bytes(entry[6..8].try_into().ok()?) != 0;
            if defined {
                let symbol = Symbol {
                    address: u64::from_le_bytes(entry[8..16].try_into().ok()?),
                    size: u64::from_le_bytes(entry[16..24].try_into().ok()?),
                };
                self.found.entry(key.to_owned()).or_insert(symbol);
            }
        }
        Some(())
    }
}

/// What a wanted symbol is kept by.
fn key(name: &[u8]) -> Option<&str> {
    let metadata = name.starts_with(METADATA);
    // Most names are of neither sort: that is seen by their first bytes.
    if !metadata && !WANTED.iter().any(|wanted| name.starts_with(wanted)) {
        return None;
    }
    let end = name.iter().position(|&byte| byte == 0)?;
    let name = &name[..end];
    if metadata {
        return std::str::from_utf8(&name[METADATA.len()..]).ok();
    }
    WANTED
        .contains(&name)
        .then(|| std::str::from_utf8(name).ok())?
}

fn section(file: &File, elf: &Elf, name: &str, limit: usize) -> Option<Vec<u8>> {
    let section = elf.section(name)?;
    if section.data.len() > limit {
        return None;
    }
    let mut bytes = vec![0; section.data.len()];
    file.read_exact_at(&mut bytes, section.offset).ok()?;
    Some(bytes)
}

/// Asks the bloom filter of `.gnu.hash` for [`PROBE`]: two reads. It may say
/// yes wrongly, but not no.
fn exports_v8(file: &File, elf: &Elf) -> bool {
    let probe = || {
        let section = elf.section(".gnu.hash")?;
        let mut header = [0; 16];
        file.read_exact_at(&mut header, section.offset).ok()?;
        let word = |index: usize| Some(u32::from_le_bytes(*header[index * 4..].first_chunk()?));
        let (words, shift) = (word(2)?, word(3)?);
        if words == 0 || !words.is_power_of_two() || words > 1 << 24 {
            return None;
        }
        let hash = gnu_hash(PROBE);
        let index = u64::from((hash / 64) & (words - 1));
        let mut bloom = [0; 8];
        file.read_exact_at(&mut bloom, section.offset + 16 + index * 8)
            .ok()?;
        let bloom = u64::from_le_bytes(bloom);
        let second = hash.checked_shr(shift).unwrap_or(0);
        Some(bloom >> (hash % 64) & bloom >> (second % 64) & 1 != 0)
    };
    probe().unwrap_or(false)
}

/// `dl_new_hash` of glibc's elf/dl-lookup.c.
fn gnu_hash(name: &[u8]) -> u32 {
    name.iter().fold(5381, |hash: u32, &byte| {
        hash.wrapping_mul(33).wrapping_add(u32::from(byte))
    })
}

/// Builds that hide their symbols are found by the file's name.
fn named_like_node(file: &File) -> bool {
    use std::os::fd::AsRawFd as _;
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).is_ok_and(|path| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| {
                ["node", "libnode.so", "nsolid", "electron"]
                    .iter()
                    .any(|known| name.starts_with(known))
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_glibcs() {
        // Of the GNU hash section's description by Ali Bahrami, Oracle.
        assert_eq!(gnu_hash(b""), 0x1505);
        assert_eq!(gnu_hash(b"printf"), 0x156b_2bb8);
        assert_eq!(gnu_hash(b"exit"), 0x7c96_7e3f);
    }

    #[test]
    fn names_are_compared_whole() {
        assert_eq!(key(b"v8dbg_SmiTag\0rest"), Some("SmiTag"));
        assert_eq!(
            key(b"v8_Default_embedded_blob_code_\0"),
            Some("v8_Default_embedded_blob_code_")
        );
        assert_eq!(key(b"v8_Default_embedded_blob_code_x\0"), None);
        assert_eq!(key(b"main\0"), None);
    }
}
