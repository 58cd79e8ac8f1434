//! Symbols by name, in files of which only parts are in memory.
//!
//! A lookup goes through the hash table that the dynamic linker uses, read
//! piece by piece: a name that a file does not define costs two or three short
//! reads. Files without one are searched by their section headers.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::reader::Reader;
use super::sections::Header;
use super::{Elf, PT_DYNAMIC};

const SHT_SYMTAB: u32 = 2;
const SHT_DYNSYM: u32 = 11;
const SYMBOL_SIZE: u64 = 24;
const STT_TLS: u8 = 6;

/// gABI chapter 5, "Dynamic section"; DT_GNU_HASH is binutils'.
mod tag {
    pub const NULL: u64 = 0;
    pub const HASH: u64 = 4;
    pub const STRTAB: u64 = 5;
    pub const SYMTAB: u64 = 6;
    pub const STRSZ: u64 = 10;
    pub const GNU_HASH: u64 = 0x6fff_fef5;
}

/// A dynamic section has a few dozen entries of 16 bytes.
const MAX_DYNAMIC: u64 = 1 << 16;
/// Names that fall in one bucket: a handful, unless a file wants to hurt.
const MAX_CHAIN: u32 = 4096;
/// Largest tables that are searched from end to end.
const MAX_SCANNED: u64 = 16 << 20;
const CHUNK: u64 = 1 << 20;

/// A symbol that the file defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// ELF virtual address.
    pub address: u64,
    /// Bytes; 0 when the file does not say.
    pub size: u64,
}

/// The bytes of a file by their addresses, read when they are asked for.
#[derive(Clone, Copy)]
pub struct Contents<'a> {
    pub file: &'a File,
    pub elf: &'a Elf<'a>,
}

impl Contents<'_> {
    fn read(&self, offset: u64, length: u64) -> Option<Vec<u8>> {
        // A claim of more than the file holds must not cost memory.
        if offset.checked_add(length)? > self.elf.data().len() as u64 {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        self.file.read_exact_at(&mut bytes, offset).ok()?;
        Some(bytes)
    }

    /// From `address` on, `length` bytes or as many as its segment has in the
    /// file. `None` when that is not a single one.
    pub fn at(&self, address: u64, length: u64) -> Option<Vec<u8>> {
        let (offset, left) = self.elf.segments().iter().find_map(|segment| {
            let inside = address.checked_sub(segment.address)?;
            let left = segment.file_size.checked_sub(inside)?;
            (left > 0).then_some((segment.offset.checked_add(inside)?, left))
        })?;
        self.read(offset, length.min(left))
    }

    fn words<const N: usize>(&self, address: u64) -> Option<[u32; N]> {
        let bytes = self.at(address, 4 * N as u64)?;
        let mut reader = Reader::new(&bytes);
        let mut words = [0; N];
        for word in &mut words {
            *word = reader.u32()?;
        }
        Some(words)
    }
}

/// What the dynamic linker looks names up with; virtual addresses.
#[derive(Clone, Copy, Debug, Default)]
struct Dynamic {
    names: u64,
    names_size: u64,
    symbols: u64,
    hash: Option<u64>,
    gnu_hash: Option<u64>,
}

/// The symbols of one file.
pub struct Symbols<'a> {
    contents: Contents<'a>,
    dynamic: Option<Dynamic>,
}

impl<'a> Symbols<'a> {
    pub fn new(file: &'a File, elf: &'a Elf<'a>) -> Self {
        let contents = Contents { file, elf };
        Self {
            contents,
            dynamic: dynamic(&contents),
        }
    }

    pub fn contents(&self) -> Contents<'a> {
        self.contents
    }

    /// A symbol that other files can refer to.
    pub fn exported(&self, name: &str) -> Option<Symbol> {
        match &self.dynamic {
            Some(dynamic) if dynamic.gnu_hash.is_some() || dynamic.hash.is_some() => {
                self.hashed(dynamic, name)
            }
            Some(_) => self.scan(SHT_DYNSYM, name),
            None => None,
        }
    }

    /// As [`Symbols::exported`], or of a file that nothing is linked with when
    /// it is run. That reads the whole table of symbols.
    pub fn find(&self, name: &str) -> Option<Symbol> {
        match &self.dynamic {
            Some(_) => self.exported(name),
            None => self.scan(SHT_SYMTAB, name),
        }
    }

    fn hashed(&self, dynamic: &Dynamic, name: &str) -> Option<Symbol> {
        match (dynamic.gnu_hash, dynamic.hash) {
            (Some(table), _) => self.by_gnu_hash(dynamic, table, name),
            (None, Some(table)) => self.by_hash(dynamic, table, name),
            (None, None) => None,
        }
    }

    /// The layout that glibc's elf/dl-lookup.c reads: counts, a Bloom filter,
    /// buckets, and the hashes of each bucket's symbols, the last one odd.
    fn by_gnu_hash(&self, dynamic: &Dynamic, table: u64, name: &str) -> Option<Symbol> {
        let hash = name.bytes().fold(5381_u32, |hash, byte| {
            hash.wrapping_mul(33).wrapping_add(u32::from(byte))
        });
        let [buckets, first, filter_words, shift] = self.contents.words(table)?;
        let filter = table.checked_add(16)?;
        let word = u64::from((hash / 64).checked_rem(filter_words)?);
        let [low, high] = self.contents.words(filter.checked_add(8 * word)?)?;
        let bits = u64::from(high) << 32 | u64::from(low);
        let both = 1_u64 << (hash % 64) | 1_u64 << (hash.checked_shr(shift).unwrap_or(0) % 64);
        if bits & both != both {
            return None;
        }
        let bucket_table = filter.checked_add(8 * u64::from(filter_words))?;
        let bucket = u64::from(hash.checked_rem(buckets)?);
        let [mut index] = self.contents.words(bucket_table.checked_add(4 * bucket)?)?;
        let chains = bucket_table.checked_add(4 * u64::from(buckets))?;
        for _ in 0..MAX_CHAIN {
            let position = index.checked_sub(first)?;
            let [entry] = self
                .contents
                .words(chains.checked_add(4 * u64::from(position))?)?;
            if entry | 1 == hash | 1
                && let Some(symbol) = self.named(dynamic, index, name)
            {
                return Some(symbol);
            }
            if entry & 1 != 0 {
                return None;
            }
            index = index.checked_add(1)?;
        }
        None
    }

    /// gABI chapter 5, "Hash table".
    fn by_hash(&self, dynamic: &Dynamic, table: u64, name: &str) -> Option<Symbol> {
        let hash = name.bytes().fold(0_u32, |hash, byte| {
            let hash = (hash << 4).wrapping_add(u32::from(byte));
            let high = hash & 0xf000_0000;
            (hash ^ high >> 24) & !high
        });
        let [buckets, count] = self.contents.words(table)?;
        let at = |index: u64| -> Option<u32> {
            let [word] = self.contents.words(table.checked_add(8 + 4 * index)?)?;
            Some(word)
        };
        let mut index = at(u64::from(hash.checked_rem(buckets)?))?;
        for _ in 0..MAX_CHAIN {
            if index == 0 || index >= count {
                return None;
            }
            if let Some(symbol) = self.named(dynamic, index, name) {
                return Some(symbol);
            }
            index = at(u64::from(buckets) + u64::from(index))?;
        }
        None
    }

    fn named(&self, dynamic: &Dynamic, index: u32, name: &str) -> Option<Symbol> {
        let address = dynamic
            .symbols
            .checked_add(SYMBOL_SIZE * u64::from(index))?;
        let bytes = self.contents.at(address, SYMBOL_SIZE)?;
        let (name_offset, symbol) = entry(&mut Reader::new(&bytes))?;
        let end = u64::from(name_offset).checked_add(name.len() as u64 + 1)?;
        if end > dynamic.names_size {
            return None;
        }
        let stored = self.contents.at(
            dynamic.names.checked_add(u64::from(name_offset))?,
            name.len() as u64 + 1,
        )?;
        if stored.strip_suffix(b"\0") != Some(name.as_bytes()) {
            return None;
        }
        symbol
    }

    /// Finds the name among the names, then the symbols that have it.
    fn scan(&self, kind: u32, name: &str) -> Option<Symbol> {
        let elf = self.contents.elf;
        let symbols = elf.sections.iter().find(|header| header.kind == kind)?;
        let names: &Header = elf.sections.get(symbols.link as usize)?;
        if names.size > MAX_SCANNED || symbols.size > 4 * MAX_SCANNED {
            return None;
        }
        let strings = self.contents.read(names.offset, names.size)?;
        let mut wanted = name.as_bytes().to_vec();
        wanted.push(0);
        // Linkers let a name be the end of a longer one.
        let places: Vec<u32> = strings
            .windows(wanted.len())
            .enumerate()
            .filter(|(_, bytes)| *bytes == wanted)
            .filter_map(|(place, _)| u32::try_from(place).ok())
            .collect();
        if places.is_empty() {
            return None;
        }
        let step = CHUNK / SYMBOL_SIZE * SYMBOL_SIZE;
        let mut done = 0;
        while done < symbols.size {
            let length = step.min(symbols.size - done);
            let bytes = self
                .contents
                .read(symbols.offset.checked_add(done)?, length)?;
            let mut reader = Reader::new(&bytes);
            while let Some((place, symbol)) = entry(&mut reader) {
                if places.contains(&place) && symbol.is_some() {
                    return symbol;
                }
            }
            done += length;
        }
        None
    }
}

/// A symbol's name as an offset, and what it says if it is defined here.
fn entry(reader: &mut Reader) -> Option<(u32, Option<Symbol>)> {
    let name = reader.u32()?;
    let information = reader.u8()?;
    let _visibility = reader.u8()?;
    let section = reader.u16()?;
    let address = reader.u64()?;
    let size = reader.u64()?;
    let defined = section != 0 && information & 0xf != STT_TLS && address != 0;
    Some((name, defined.then_some(Symbol { address, size })))
}

fn dynamic(contents: &Contents) -> Option<Dynamic> {
    let segment = contents.elf.program_header(PT_DYNAMIC)?;
    let bytes = contents.read(segment.offset, segment.file_size.min(MAX_DYNAMIC))?;
    let mut reader = Reader::new(&bytes);
    let mut found = Dynamic::default();
    while let Some((kind, value)) = reader.u64().zip(reader.u64()) {
        match kind {
            tag::NULL => break,
            tag::HASH => found.hash = Some(value),
            tag::STRTAB => found.names = value,
            tag::SYMTAB => found.symbols = value,
            tag::STRSZ => found.names_size = value,
            tag::GNU_HASH => found.gnu_hash = Some(value),
            _ => {}
        }
    }
    (found.symbols != 0).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::super::sections::headers;
    use super::*;

    #[test]
    fn a_c_library_names_its_functions() {
        let path = "/lib/x86_64-linux-gnu/libc.so.6";
        let Ok(file) = File::open(path) else { return };
        let bytes = std::fs::read(path).expect("the C library");
        let elf = Elf::parse(&bytes).expect("an ELF file");
        let symbols = Symbols::new(&file, &elf);
        let malloc = symbols.exported("malloc").expect("malloc");
        assert!(malloc.size > 0);
        assert_eq!(symbols.scan(SHT_DYNSYM, "malloc"), Some(malloc));
        assert_eq!(symbols.exported("_PyRuntime"), None);
        assert_eq!(symbols.exported("malloc2"), None);
    }

    #[test]
    fn damaged_tables_are_harmless() {
        let path = "/lib/x86_64-linux-gnu/libc.so.6";
        let Ok(whole) = std::fs::read(path) else {
            return;
        };
        let elf = Elf::parse(&whole).expect("an ELF file");
        let (all, _) = headers(
            &whole,
            u64::from_le_bytes(whole[0x28..0x30].try_into().expect("8 bytes")),
            64,
            u16::from_le_bytes(whole[0x3c..0x3e].try_into().expect("2 bytes")),
        );
        drop(elf);
        let mut seed = 1_u64;
        for header in all.iter().filter(|header| {
            matches!(header.kind, 5 | 6 | SHT_DYNSYM | 3 | 0x6fff_fff6) && header.size > 0
        }) {
            let mut damaged = whole.clone();
            let start = header.offset as usize;
            let end = (start + header.size as usize).min(damaged.len());
            for byte in &mut damaged[start..end] {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (seed >> 56) as u8;
            }
            let file = tempfile::tempfile().expect("a temporary file");
            file.write_all_at(&damaged, 0).expect("written");
            let Ok(elf) = Elf::parse(&damaged) else {
                continue;
            };
            let symbols = Symbols::new(&file, &elf);
            let _ = symbols.find("malloc");
            let _ = symbols.find("_PyRuntime");
            let _ = symbols.scan(SHT_DYNSYM, "malloc");
        }
    }
}
