//! Writing and searching the table of `profiler_ebpf::table`.

use std::ops::Range;

use profiler_ebpf::{
    BLOCK_WORDS, Block, Executable, PAGE_BITS, PAGE_SIZE, PAGES_PER_BLOCK, Page, RULES_PER_BLOCK,
    Row, Rule, cfa, state,
};
use rustc_hash::FxHashMap;

use super::{Statistics, UnwindError};

/// 4 GiB of addresses: rows are counted in 32 bits, and nobody's code is as
/// large.
const MAX_PAGES: u64 = 1 << (32 - PAGE_BITS);
const MAX_RULES: u32 = Row::RULE_MASK + 1;

/// An unwind table, ready to become an inner map of `TABLES`.
#[derive(Clone, Debug)]
pub struct Table {
    pub blocks: Vec<Block>,
    pub info: Executable,
    pub statistics: Statistics,
}

impl Table {
    /// The rule for an ELF virtual address; `None` where there is none, which
    /// sends the walker to the frame pointer. The same steps as `find_rule`
    /// and `look_up` of the kernel side.
    pub fn find(&self, address: u64) -> Option<Rule> {
        let relative = address.wrapping_sub(self.info.base);
        let page = relative >> PAGE_BITS;
        if page >= u64::from(self.info.page_count) {
            return None;
        }
        let offset = relative as u32 & (PAGE_SIZE as u32 - 1);
        let index = self.find_row(page as u32, offset)?.rule;
        self.rule(index).filter(|rule| rule.cfa != cfa::NONE)
    }

    fn find_row(&self, page: u32, offset: u32) -> Option<Row> {
        const BLOCK_ROWS: u32 = BLOCK_WORDS as u32;
        let directory = self.block(page / PAGES_PER_BLOCK)?;
        let entry = (page % PAGES_PER_BLOCK * 2) as usize;
        let (first, count) = (directory[entry & 14], directory[(entry & 14) + 1]);
        if count == 0 || count > PAGE_SIZE as u32 {
            return None;
        }
        let last = first.checked_add(count - 1)?;
        let (mut low, mut high) = (first / BLOCK_ROWS, last / BLOCK_ROWS);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            let block = self.block(self.info.rows_block.checked_add(middle)?)?;
            if Row::unpack(block[0]).offset <= offset {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        let block = self.block(self.info.rows_block.checked_add(low)?)?;
        let start = low * BLOCK_ROWS;
        let mut from = first.saturating_sub(start);
        let mut to = (last - start).min(BLOCK_ROWS - 1);
        while from < to {
            let middle = (from + to).div_ceil(2);
            if Row::unpack(block[(middle & 15) as usize]).offset <= offset {
                from = middle;
            } else {
                to = middle - 1;
            }
        }
        Some(Row::unpack(block[(from & 15) as usize]))
    }

    fn rule(&self, index: u32) -> Option<Rule> {
        let block = self.block(self.info.rules_block.checked_add(index / RULES_PER_BLOCK)?)?;
        let words = block
            .chunks_exact(BLOCK_WORDS / RULES_PER_BLOCK as usize)
            .nth((index % RULES_PER_BLOCK) as usize)?;
        words.first_chunk().map(unpack)
    }

    fn block(&self, index: u32) -> Option<&Block> {
        self.blocks.get(index as usize)
    }

    /// Panics if the table breaks a promise to its reader on the kernel side:
    /// for tests and fuzzers, on tables of any file.
    #[doc(hidden)]
    pub fn check(&self, ranges: &[Range<u64>]) {
        if self.info.state != state::READY {
            assert!(self.blocks.is_empty());
            return;
        }
        let end = self.info.base + u64::from(self.info.page_count) * PAGE_SIZE;
        let mut count = 0;
        let mut before = None;
        for (address, rule) in self.rows() {
            count += 1;
            assert!(before < Some(address), "{address:#x} is out of order");
            assert!((self.info.base..end).contains(&address));
            assert_eq!(self.find(address).unwrap_or(NONE), rule);
            let first_of_page = address & (PAGE_SIZE - 1) == 0;
            let covered = ranges.iter().any(|range| range.contains(&address));
            assert!(covered || first_of_page || rule == NONE, "{address:#x}");
            before = Some(address);
        }
        assert_eq!(count, self.statistics.rows);
        for range in ranges {
            assert!(
                range.start == self.info.base
                    || self.find(range.start - 1).is_none_or(|_| {
                        ranges
                            .iter()
                            .any(|other| other.contains(&(range.start - 1)))
                    })
            );
            assert!(
                self.find(range.end).is_none()
                    || ranges.iter().any(|other| other.contains(&range.end))
            );
        }
    }

    /// Every row in order, for tools: the address it starts at and its rule.
    pub fn rows(&self) -> impl Iterator<Item = (u64, Rule)> + '_ {
        (0..self.info.page_count).flat_map(move |page| {
            let entry = (page % PAGES_PER_BLOCK * 2) as usize;
            let (first, count) = self
                .block(page / PAGES_PER_BLOCK)
                .map_or((0, 0), |block| (block[entry & 14], block[(entry & 14) + 1]));
            let start = self.info.base + u64::from(page) * PAGE_SIZE;
            (first..first.saturating_add(count)).filter_map(move |index| {
                let block = self.block(self.info.rows_block + index / BLOCK_WORDS as u32)?;
                let row = Row::unpack(block[index as usize % BLOCK_WORDS]);
                Some((start + u64::from(row.offset), self.rule(row.rule)?))
            })
        })
    }
}

/// Takes rules in the order of their addresses and lays out the table.
pub(super) struct Builder {
    base: u64,
    page_count: u32,
    pages: Vec<Page>,
    rows: Vec<u32>,
    rules: Vec<Rule>,
    known: FxHashMap<u128, u32>,
    /// The rule in force at the end of what was written.
    current: u32,
    current_rule: Rule,
}

const NONE: Rule = Rule::new(cfa::NONE);
const NONE_INDEX: u32 = 0;
const UNSUPPORTED_INDEX: u32 = 1;

impl Builder {
    /// `ranges` are ordered; `file_size` bounds what a sparse layout may cost.
    pub fn new(ranges: &[Range<u64>], file_size: u64) -> Result<Self, UnwindError> {
        let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else {
            return Err(UnwindError::NoCode);
        };
        let base = first.start & !(PAGE_SIZE - 1);
        let page_count = last
            .end
            .saturating_sub(base)
            .checked_next_multiple_of(PAGE_SIZE)
            .map_or(u64::MAX, |size| size / PAGE_SIZE);
        // The directory takes 8 bytes a page, so it stays below an eighth of
        // the file, or below 1 MiB for the small ones: linkers may leave
        // megabytes between segments (2 MiB alignment), not more.
        let most = file_size.saturating_mul(16).saturating_add(128 << 20) / PAGE_SIZE;
        if page_count > MAX_PAGES.min(most) {
            return Err(UnwindError::TooLarge(page_count.saturating_mul(PAGE_SIZE)));
        }
        let mut builder = Self {
            base,
            page_count: page_count as u32,
            pages: Vec::with_capacity(page_count as usize),
            rows: Vec::new(),
            rules: Vec::new(),
            known: FxHashMap::default(),
            current: NONE_INDEX,
            current_rule: NONE,
        };
        builder.index(NONE);
        builder.index(Rule::new(cfa::UNSUPPORTED));
        Ok(builder)
    }

    fn index(&mut self, rule: Rule) -> u32 {
        let next = self.rules.len() as u32;
        let words = pack(&rule);
        let key = words
            .iter()
            .fold(0_u128, |key, &word| key << 32 | u128::from(word));
        match self.known.entry(key) {
            std::collections::hash_map::Entry::Occupied(entry) => *entry.get(),
            std::collections::hash_map::Entry::Vacant(_) if next >= MAX_RULES => UNSUPPORTED_INDEX,
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(next);
                self.rules.push(rule);
                next
            }
        }
    }

    /// `rule` holds from `address` on. Addresses must grow, and lie within
    /// the ranges given to `new`.
    pub fn push(&mut self, address: u64, rule: Rule) {
        if rule == self.current_rule {
            return;
        }
        let relative = address.wrapping_sub(self.base);
        let page = relative >> PAGE_BITS;
        if page >= u64::from(self.page_count) || page + 1 < self.pages.len() as u64 {
            return;
        }
        let offset = relative as u32 & (PAGE_SIZE as u32 - 1);
        if page >= self.pages.len() as u64 {
            self.continue_to(page as usize);
            self.pages.push(Page {
                first_row: self.rows.len() as u32,
                row_count: 0,
            });
            if offset != 0 {
                self.push_row(0, self.current);
            }
        }
        let index = self.index(rule);
        self.push_row(offset, index);
        self.current = index;
        self.current_rule = rule;
    }

    fn push_row(&mut self, offset: u32, rule: u32) {
        self.rows.push(Row { offset, rule }.pack());
        if let Some(page) = self.pages.last_mut() {
            page.row_count += 1;
        }
    }

    /// The current rule holds in all pages before `page`.
    fn continue_to(&mut self, page: usize) {
        while self.pages.len() < page {
            self.pages.push(Page {
                first_row: self.rows.len() as u32,
                row_count: 0,
            });
            if self.current != NONE_INDEX {
                self.push_row(0, self.current);
            }
        }
    }

    pub fn finish(mut self, mut statistics: Statistics) -> Table {
        self.continue_to(self.page_count as usize);
        statistics.rows = self.rows.len();
        statistics.rules = self.rules.len();
        let directory_blocks = self.pages.len().div_ceil(PAGES_PER_BLOCK as usize);
        let row_blocks = self.rows.len().div_ceil(BLOCK_WORDS);
        let rule_blocks = self.rules.len().div_ceil(RULES_PER_BLOCK as usize);
        let mut blocks = Vec::with_capacity(directory_blocks + row_blocks + rule_blocks);
        blocks.extend(self.pages.chunks(PAGES_PER_BLOCK as usize).map(|pages| {
            let mut block = Block::default();
            for (words, page) in block.chunks_exact_mut(2).zip(pages) {
                words.copy_from_slice(&[page.first_row, page.row_count]);
            }
            block
        }));
        blocks.extend(self.rows.chunks(BLOCK_WORDS).map(|rows| {
            let mut block = Block::default();
            for (word, row) in block.iter_mut().zip(rows) {
                *word = *row;
            }
            block
        }));
        blocks.extend(self.rules.chunks(RULES_PER_BLOCK as usize).map(|rules| {
            let mut block = Block::default();
            for (words, rule) in block.chunks_exact_mut(4).zip(rules) {
                words.copy_from_slice(&pack(rule));
            }
            block
        }));
        Table {
            blocks,
            info: Executable {
                base: self.base,
                page_count: self.page_count,
                rows_block: directory_blocks as u32,
                rules_block: (directory_blocks + row_blocks) as u32,
                state: state::READY,
                ..Executable::default()
            },
            statistics,
        }
    }
}

/// The words of a rule in memory, as the kernel side casts them.
fn pack(rule: &Rule) -> [u32; 4] {
    let [s0, s1, s2, s3, s4, s5] = rule.saved;
    let [a0, a1] = rule.add.to_ne_bytes();
    [
        u32::from_ne_bytes([rule.cfa, rule.register, s0, s1]),
        u32::from_ne_bytes([s2, s3, s4, s5]),
        rule.offset as u32,
        u32::from_ne_bytes([a0, a1, rule.return_slot, rule.flags]),
    ]
}

fn unpack(words: &[u32; 4]) -> Rule {
    let [cfa, register, s0, s1] = words[0].to_ne_bytes();
    let [s2, s3, s4, s5] = words[1].to_ne_bytes();
    let [a0, a1, return_slot, flags] = words[3].to_ne_bytes();
    Rule {
        cfa,
        register,
        saved: [s0, s1, s2, s3, s4, s5],
        offset: words[2] as i32,
        add: i16::from_ne_bytes([a0, a1]),
        return_slot,
        flags,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(offset: i32) -> Rule {
        Rule {
            register: profiler_ebpf::register::RSP,
            offset,
            ..Rule::new(cfa::REGISTER)
        }
    }

    fn build(end: u64, rows: &[(u64, Rule)]) -> Table {
        let mut builder = Builder::new(std::slice::from_ref(&(0x1010..end)), 1 << 20).unwrap();
        for &(address, rule) in rows {
            builder.push(address, rule);
        }
        builder.finish(Statistics::default())
    }

    #[test]
    fn a_rule_in_memory_is_what_pack_says() {
        let rule = Rule {
            cfa: 1,
            register: 2,
            saved: [3, 4, 5, 6, 7, 8],
            offset: -9,
            add: -10,
            return_slot: 11,
            flags: 12,
        };
        assert_eq!(unpack(&pack(&rule)), rule);
        // SAFETY: both are 16 bytes without padding.
        let words: [u32; 4] = unsafe { std::mem::transmute(rule) };
        assert_eq!(words, pack(&rule));
    }

    #[test]
    fn each_page_is_searched_alone() {
        let table = build(
            0x3000,
            &[
                (0x1010, rule(8)),
                (0x1011, rule(16)),
                (0x1fff, rule(24)),
                (0x2000, NONE),
                (0x27ff, rule(8)),
                (0x2800, NONE),
            ],
        );
        assert_eq!(table.info.base, 0x1000);
        assert_eq!(table.info.page_count, 8);
        for (address, expected) in [
            (0x0fff, None),
            (0x1000, None),
            (0x100f, None),
            (0x1010, Some(rule(8))),
            (0x1011, Some(rule(16))),
            (0x1400, Some(rule(16))),
            (0x1800, Some(rule(16))),
            (0x1ffe, Some(rule(16))),
            (0x1fff, Some(rule(24))),
            (0x2000, None),
            (0x27fe, None),
            (0x27ff, Some(rule(8))),
            (0x2800, None),
            (0x2fff, None),
            (0x3000, None),
            (u64::MAX, None),
        ] {
            assert_eq!(table.find(address), expected, "{address:#x}");
        }
    }

    #[test]
    fn a_full_page_is_found_row_by_row() {
        let rows: Vec<_> = (0x1010..0x2010)
            .map(|address| (address, rule(address as i32)))
            .collect();
        let table = build(0x2010, &rows);
        for (address, rule) in rows {
            assert_eq!(table.find(address), Some(rule));
        }
    }

    #[test]
    fn equal_rules_make_one_row() {
        let table = build(
            0x1400,
            &[(0x1010, rule(8)), (0x1020, rule(8)), (0x1030, rule(8))],
        );
        assert_eq!(table.rows().count(), 2);
        assert_eq!(table.statistics.rules, 3);
    }

    #[test]
    fn too_much_text_is_refused() {
        assert!(matches!(
            Builder::new(std::slice::from_ref(&(0..1 << 33)), u64::MAX),
            Err(UnwindError::TooLarge(_))
        ));
        assert!(matches!(
            Builder::new(&[0..16, 1 << 28..(1 << 28) + 16], 4096),
            Err(UnwindError::TooLarge(_))
        ));
        assert!(matches!(Builder::new(&[], 4096), Err(UnwindError::NoCode)));
    }
}
