//! Names from symbol tables.
//!
//! A batch has some hundred addresses and a table some hundred thousand
//! symbols, so the table is not sorted: it is read once, in pieces, and each
//! symbol looks for the addresses that it covers.

use super::{
    elf::{Bytes, Elf, ElfError, SHF_EXECINSTR, Section, text_at, u16_at, u32_at, u64_at},
    names::underscores,
};

const SYMBOL_LENGTH: usize = 24;
/// Symbols read at a time.
const PIECE: usize = 8192;
/// Chromium's table with everything in it is some 400 MB.
const MAX_TABLE: u64 = 512 << 20;
/// Symbols may overlap, but not all of them over all addresses: that would be
/// made to keep us busy.
const MAX_OVERLAPS: usize = 1 << 24;
/// Names of one address that are compared with each other.
const MAX_ALIASES: usize = 8;
/// Longest name that is read; see `names::readable`.
const MAX_NAME: u64 = 256 << 10;

const STT_NOTYPE: u8 = 0;
const STT_FUNC: u8 = 2;
const STT_GNU_IFUNC: u8 = 10;

#[derive(Clone, Copy)]
struct Candidate {
    start: u64,
    size: u64,
    /// End of its section.
    limit: u64,
    name: u32,
    /// Smaller is better.
    rank: u8,
}

#[derive(Clone, Default)]
struct Best {
    start: u64,
    aliases: Vec<Candidate>,
}

impl Best {
    fn offer(&mut self, candidate: Candidate) {
        if self.aliases.is_empty() || candidate.start > self.start {
            self.start = candidate.start;
            self.aliases.clear();
        }
        if candidate.start == self.start && self.aliases.len() < MAX_ALIASES {
            self.aliases.push(candidate);
        }
    }
}

/// Looks the sorted `addresses` up in one table: names as it spells them,
/// `None` where nothing covers an address.
///
/// A symbol without a size (hand-written assembly) covers everything up to
/// the next symbol, if `sparse` is false: a `.dynsym` names so little of its
/// file that the last name before an address says nothing.
pub fn look_up<B: Bytes + ?Sized>(
    elf: &Elf<'_, B>,
    table: &Section,
    addresses: &[u64],
    sparse: bool,
) -> Result<Vec<Option<Vec<u8>>>, ElfError> {
    debug_assert!(addresses.is_sorted());
    if table.size > MAX_TABLE {
        return Err(ElfError::TooLarge("symbol table"));
    }
    // Symbols with a size, by the address that they cover.
    let mut covering = vec![Best::default(); addresses.len()];
    // Of the symbols that start between an address and the one before it, the
    // last.
    let mut preceding = vec![Best::default(); addresses.len()];

    let count = table.size as usize / SYMBOL_LENGTH;
    let mut piece = vec![0; count.min(PIECE) * SYMBOL_LENGTH];
    let mut done = 0;
    let mut overlaps = 0;
    while done < count {
        let now = (count - done).min(PIECE);
        let piece = &mut piece[..now * SYMBOL_LENGTH];
        elf.bytes
            .read_at(table.offset + (done * SYMBOL_LENGTH) as u64, piece)?;
        for symbol in piece.chunks_exact(SYMBOL_LENGTH) {
            let Some(candidate) = function(symbol, &elf.sections) else {
                continue;
            };
            let first = addresses.partition_point(|&address| address < candidate.start);
            if first == addresses.len() {
                continue;
            }
            preceding[first].offer(candidate);
            let end = candidate.start.saturating_add(candidate.size);
            for (address, best) in addresses[first..].iter().zip(&mut covering[first..]) {
                if *address >= end {
                    break;
                }
                best.offer(candidate);
                overlaps += 1;
            }
            if overlaps > MAX_OVERLAPS {
                return Err(ElfError::Damaged("symbol table"));
            }
        }
        done += now;
    }

    let strings = elf
        .sections
        .get(table.link as usize)
        .ok_or(ElfError::Damaged("symbol table"))?;
    let mut last = Best::default();
    Ok(addresses
        .iter()
        .zip(covering.into_iter().zip(preceding))
        .map(|(&address, (covering, preceding))| {
            for candidate in preceding.aliases {
                last.offer(candidate);
            }
            if !covering.aliases.is_empty() {
                return choose(elf, strings, &covering);
            }
            last.aliases
                .retain(|candidate| candidate.size == 0 && address < candidate.limit);
            (!last.aliases.is_empty() && (!sparse || last.start == address))
                .then(|| choose(elf, strings, &last))?
        })
        .collect())
}

/// `None` for a symbol that is no code or is defined elsewhere.
fn function(symbol: &[u8], sections: &[Section]) -> Option<Candidate> {
    const SHN_ABS: u16 = 0xfff1;
    const SHN_XINDEX: u16 = 0xffff;
    let section = u16_at(symbol, 6)?;
    let name = u32_at(symbol, 0)?;
    if section == 0 || section == SHN_ABS || name == 0 {
        return None;
    }
    let (in_code, limit) = if section == SHN_XINDEX {
        (true, u64::MAX)
    } else {
        let section = sections.get(usize::from(section))?;
        let limit = section.address.saturating_add(section.size);
        (section.flags & SHF_EXECINSTR != 0, limit)
    };
    let kind = match symbol[4] & 0xf {
        STT_FUNC | STT_GNU_IFUNC => 0,
        STT_NOTYPE if in_code => 1,
        _ => return None,
    };
    // Global, weak, local.
    let binding = match symbol[4] >> 4 {
        1 => 0,
        2 => 1,
        _ => 2,
    };
    Some(Candidate {
        start: u64_at(symbol, 8)?,
        size: u64_at(symbol, 16)?,
        limit,
        name,
        rank: kind * 3 + binding,
    })
}

fn choose<B: Bytes + ?Sized>(elf: &Elf<'_, B>, strings: &Section, best: &Best) -> Option<Vec<u8>> {
    best.aliases
        .iter()
        .filter_map(|candidate| {
            let mut name = name_at(elf, strings, u64::from(candidate.name))?;
            // The version of a library's symbol: `read@@GLIBC_2.2.5`.
            if let Some(at) = name.iter().position(|&byte| byte == b'@') {
                name.truncate(at);
            }
            // Marks between code and data on ARM: `$x`, `$d`.
            if name.is_empty() || name.starts_with(b"$") {
                return None;
            }
            Some((candidate.rank, underscores(&name), name.len(), name))
        })
        .min()
        .map(|(_, _, _, name)| name)
}

fn name_at<B: Bytes + ?Sized>(elf: &Elf<'_, B>, strings: &Section, offset: u64) -> Option<Vec<u8>> {
    let room = strings.size.checked_sub(offset)?;
    // Most names fit in the first read.
    for length in [128, MAX_NAME] {
        let length = length.min(room);
        let mut data = vec![0; length as usize];
        elf.bytes
            .read_at(strings.offset.checked_add(offset)?, &mut data)
            .ok()?;
        if let Some(name) = text_at(&data, 0) {
            let length = name.len();
            data.truncate(length);
            return Some(data);
        }
    }
    None
}
