//! The rule for an address: of an executable from its unwind table, or from the rules
//! that were found lately, the kernel's too.
//!
//! Most frames of a stack were in the one before too, but 10 ms later little of
//! what the table's lookup reads is still in the CPU's caches: up to eight cache
//! lines in several pages of memory, which are most of what a frame costs. A rule
//! that was found before takes one line.

use profiler_ebpf::{
    CHUNK_BITS, Executable, FOUND_RULES, FoundRule, PAGE_BITS, PAGES_PER_BLOCK, RECORDS_PER_CPU,
    RULES_PER_BLOCK, Row, Rule, cfa,
};

use crate::maps::{FOUND, TABLES};

const NOT_FOUND: u64 = u64::MAX;

const BLOCK_ROWS: u32 = profiler_ebpf::BLOCK_WORDS as u32;
/// A page has at most 1024 rows: 65 blocks when they start mid-block.
const BLOCK_STEPS: u32 = 7;
const ROW_STEPS: u32 = 4;
pub const CHUNK: u32 = 1 << CHUNK_BITS;

/// What [`find_rule`] returns.
struct Found {
    /// Its index among the table's rules.
    rule: u32,
    /// Within the page, it holds from here up to, not including, `end`.
    start: u32,
    end: u32,
}

impl Found {
    #[inline(always)]
    fn pack(self) -> u64 {
        u64::from(self.rule) | u64::from(self.start) << 32 | u64::from(self.end) << 48
    }

    #[inline(always)]
    fn unpack(word: u64) -> Self {
        Self {
            rule: word as u32,
            start: (word >> 32) as u32 & 0xffff,
            end: (word >> 48) as u32,
        }
    }
}

/// Where in `FOUND` the rules are kept that walks with this record found: who has
/// claimed the record has these too.
#[inline(always)]
pub fn kept(cpu: u32, record: u32) -> u32 {
    cpu.wrapping_mul(RECORDS_PER_CPU as u32)
        .wrapping_add(record)
        .wrapping_mul(FOUND_RULES)
}

/// `None` where there is no unwind information. `kept` is of [`kept`].
#[inline(always)]
pub fn find(info: &Executable, address: u64, kept: u32) -> Option<&'static Rule> {
    remember(info.generation, address, kept, || look_up(info, address))
}

/// The rule for an address: the one that was found before, or what `look_up` says,
/// with from where to where in the address's chunk it holds. `None` where that says
/// nothing, or that there is no unwind information.
#[inline(always)]
pub fn remember(
    generation: u32,
    address: u64,
    kept: u32,
    look_up: impl FnOnce() -> Option<(Rule, u16, u16)>,
) -> Option<&'static Rule> {
    let chunk = address >> CHUNK_BITS;
    let inside = address as u32 & (CHUNK - 1);
    let place = FOUND.get_ptr_mut(kept.wrapping_add(place_of(chunk, generation)))?;
    // SAFETY: the map returned it, and nobody else uses it, see `kept`.
    let place = unsafe { &mut *place };
    let holds = place.chunk == chunk
        && place.generation == generation
        && u32::from(place.start) <= inside
        && inside < u32::from(place.end);
    if !holds {
        let (rule, start, end) = look_up()?;
        *place = FoundRule {
            chunk,
            generation,
            start,
            end,
            rule,
        };
    }
    // SAFETY: as above; a record has no other walk before this one's end.
    let rule = unsafe { &*core::ptr::addr_of!(place.rule) };
    (rule.cfa != cfa::NONE).then_some(rule)
}

#[inline(always)]
fn place_of(chunk: u64, generation: u32) -> u32 {
    let hash = (chunk ^ u64::from(generation) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash >> 48) as u32 & (FOUND_RULES - 1)
}

/// By the table.
#[inline(always)]
fn look_up(info: &Executable, address: u64) -> Option<(Rule, u16, u16)> {
    let relative = address.wrapping_sub(info.base);
    let page = relative >> PAGE_BITS;
    if page >= u64::from(info.page_count) {
        return None;
    }
    let offset = relative as u32 & ((1 << PAGE_BITS) - 1);
    let found = find_rule(info.table, page as u32, offset, info.rows_block);
    if found == NOT_FOUND {
        return None;
    }
    let found = Found::unpack(found);
    let table = TABLES.get(info.table)?;
    let block = table.get(info.rules_block.wrapping_add(found.rule / RULES_PER_BLOCK))?;
    let word = ((found.rule % RULES_PER_BLOCK) * 4) as usize & 12;
    // SAFETY: a rule is 4 words long and starts at word 0, 4, 8 or 12 of a
    // block of 16; any bit pattern is a rule.
    let rule = unsafe { *block.as_ptr().add(word).cast::<Rule>() };
    let chunk = offset & !(CHUNK - 1);
    let start = found.start.max(chunk) - chunk;
    let end = found.end.min(chunk + CHUNK) - chunk;
    Some((rule, start as u16, end as u16))
}

/// An index within a block. The compiler knows that it is one and would leave
/// the mask out, but the verifier of kernels before 6.8 does not see why.
#[inline(always)]
fn in_block(index: u32) -> usize {
    (core::hint::black_box(index) & (BLOCK_ROWS - 1)) as usize
}

/// The rule for an address, that of the last row at or before `offset` in `page`,
/// as [`Found`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn find_rule(table: u32, page: u32, offset: u32, rows_block: u32) -> u64 {
    let Some(table) = TABLES.get(table) else {
        return NOT_FOUND;
    };
    let Some(directory) = table.get(page / PAGES_PER_BLOCK) else {
        return NOT_FOUND;
    };
    let entry = ((page % PAGES_PER_BLOCK) * 2) as usize;
    let (first, count) = (directory[entry & 14], directory[(entry & 14) + 1]);
    if count == 0 || count > 1 << PAGE_BITS {
        return NOT_FOUND;
    }
    let last = first.wrapping_add(count - 1);
    let (mut low, mut high) = (first / BLOCK_ROWS, last / BLOCK_ROWS);
    for _ in 0..BLOCK_STEPS {
        if low >= high {
            break;
        }
        let middle = low + ((high - low + 1) >> 1);
        let Some(block) = table.get(rows_block.wrapping_add(middle)) else {
            return NOT_FOUND;
        };
        if Row::unpack(block[0]).offset <= offset {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    let Some(block) = table.get(rows_block.wrapping_add(low)) else {
        return NOT_FOUND;
    };
    let start = low * BLOCK_ROWS;
    let mut from = if first > start { first - start } else { 0 };
    let end = if last - start < BLOCK_ROWS {
        last - start
    } else {
        BLOCK_ROWS - 1
    };
    let mut to = end;
    for _ in 0..ROW_STEPS {
        if from >= to {
            break;
        }
        let middle = (from + to + 1) >> 1;
        if Row::unpack(block[in_block(middle)]).offset <= offset {
            from = middle;
        } else {
            to = middle - 1;
        }
    }
    let row = Row::unpack(block[in_block(from)]);
    let next = if from < end {
        Row::unpack(block[in_block(from + 1)]).offset
    } else if low == last / BLOCK_ROWS {
        1 << PAGE_BITS
    } else {
        // The next row is in the next block: not worth reading it.
        offset + 1
    };
    Found {
        rule: row.rule,
        start: row.offset,
        end: next,
    }
    .pack()
}
