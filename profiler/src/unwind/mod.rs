//! From an executable's unwind information to the table that the walker reads
//! (`profiler_ebpf::table`).
//!
//! Information comes in layers, each only for addresses that those before it
//! leave open: `.eh_frame`, Go's `.gopclntab`, `.debug_frame`, and what the
//! ABI fixes (`synthetic`). A function of a layer is one span; spans are
//! sorted, cut to the executable ranges and to each other, and then written
//! out in one pass. Time and memory are linear in the file's size.

mod expression;
mod frames;
mod go;
mod interpreter;
pub mod parts;
mod rule;
mod synthetic;
mod table;

use std::ops::Range;

use profiler_ebpf::{Executable, Rule, cfa, flag, saved, state};
use thiserror::Error;

use crate::elf::Elf;
use crate::elf::go::GoTable;
use crate::elf::reader::{Bases, Reader};
use frames::{Fde, Flavour, Frames};
use interpreter::{Program, State};
use table::Builder;
pub use table::Table;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UnwindError {
    #[error("it has no code")]
    NoCode,
    #[error("its code spans {0} bytes, more than a table covers")]
    TooLarge(u64),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Functions described, or parts of functions.
    pub functions: usize,
    pub rows: usize,
    pub rules: usize,
    /// Descriptions that cannot be followed.
    pub unsupported: usize,
    /// Rows that lose a callee-saved register.
    pub lost: usize,
    /// Entries that could not be read.
    pub malformed: usize,
    /// Functions left out: outside the code, or described before.
    pub dropped: usize,
}

/// Where a span's rows come from.
#[derive(Clone, Copy, Debug)]
enum Source {
    EhFrame(u32),
    DebugFrame(u32),
    Go(u32),
    Synthetic(u32),
}

#[derive(Clone, Copy, Debug)]
struct Span {
    start: u64,
    end: u64,
    source: Source,
}

/// Builds the table of an executable. One without any unwind information has
/// no blocks and the state [`state::FRAME_POINTERS`].
pub fn build(elf: &Elf) -> Result<Table, UnwindError> {
    build_for(elf, flag::FOLLOWED)
}

/// For a walker that follows these of [`flag`].
fn build_for(elf: &Elf, flags: u8) -> Result<Table, UnwindError> {
    let ranges = elf.executable_ranges();
    let mut builder = Builder::new(&ranges, elf.data().len() as u64)?;
    let mut statistics = Statistics::default();
    let mut spans = Vec::new();
    let mut add = |spans: &mut Vec<Span>, new| {
        statistics.dropped += layer(spans, new, &ranges);
    };

    let text = elf.section(".text").map_or(0, |section| section.address);
    let data = [".got.plt", ".got"]
        .iter()
        .find_map(|name| elf.section(name))
        .map_or(0, |section| section.address);
    let bases = |section| Bases {
        section,
        text,
        data,
    };
    let eh_section = elf.eh_frame();
    let eh_frame = eh_section.as_ref().map(|section| {
        let bases = bases(section.address);
        Frames::read(&section.data, bases, Flavour::EhFrame, section.open_ended)
    });
    if let Some(frames) = &eh_frame {
        add(&mut spans, described(&frames.fdes, Source::EhFrame));
    }
    let go = elf.go_pclntab();
    if let Some(table) = &go {
        add(&mut spans, go_spans(table));
    }
    let debug_section = elf.section(".debug_frame");
    let debug_frame = debug_section
        .as_ref()
        .map(|section| Frames::read(&section.data, bases(0), Flavour::DebugFrame, false));
    if let Some(frames) = &debug_frame {
        add(&mut spans, described(&frames.fdes, Source::DebugFrame));
    }
    let mut synthetic = Vec::new();
    let mut add_synthetic = |spans: &mut Vec<Span>, found: Vec<(Range<u64>, synthetic::Rows)>| {
        let new = found
            .into_iter()
            .map(|(range, rows)| {
                synthetic.push(rows);
                Span {
                    start: range.start,
                    end: range.end,
                    source: Source::Synthetic(synthetic.len() as u32 - 1),
                }
            })
            .collect();
        layer(spans, new, &ranges);
    };
    add_synthetic(&mut spans, synthetic::plt(elf));
    let next = spans.partition_point(|span| span.end <= elf.entry());
    let limit = spans.get(next).map_or(u64::MAX, |span| span.start);
    if limit > elf.entry() {
        add_synthetic(
            &mut spans,
            synthetic::entry(elf, limit).into_iter().collect(),
        );
    }
    let found = trampolines(elf, &spans, &ranges);
    add_synthetic(&mut spans, found);

    for frames in [&eh_frame, &debug_frame].into_iter().flatten() {
        statistics.malformed += frames.malformed;
    }
    if spans.is_empty() {
        return Ok(Table {
            blocks: Vec::new(),
            info: Executable {
                state: state::FRAME_POINTERS,
                ..Executable::default()
            },
            statistics,
        });
    }

    let mut writer = Writer {
        builder: &mut builder,
        statistics: &mut statistics,
        flags,
        remembered: Vec::new(),
    };
    let mut described_until = 0;
    for span in &spans {
        if span.start > described_until {
            writer
                .builder
                .push(described_until.max(ranges[0].start), Rule::new(cfa::NONE));
        }
        described_until = span.end;
        match (span.source, &eh_frame, &debug_frame, &go) {
            (Source::EhFrame(index), Some(frames), _, _)
            | (Source::DebugFrame(index), _, Some(frames), _) => {
                writer.frame(span, frames, index as usize);
            }
            (Source::Go(index), _, _, Some(table)) => {
                writer.go(span, elf, table, index as usize);
            }
            (Source::Synthetic(index), ..) => {
                writer.synthetic(span, synthetic.get(index as usize));
            }
            _ => {}
        }
    }
    builder.push(described_until, Rule::new(cfa::NONE));
    Ok(builder.finish(statistics))
}

fn described(fdes: &[Fde], source: fn(u32) -> Source) -> Vec<Span> {
    fdes.iter()
        .enumerate()
        .map(|(index, fde)| Span {
            start: fde.start,
            end: fde.end,
            source: source(index as u32),
        })
        .collect()
}

fn go_spans(table: &GoTable) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::with_capacity(table.len());
    for index in 0..table.len() {
        let Some(function) = table.function(index) else {
            continue;
        };
        let mut start = function.start;
        // The handler returns to the trampoline's first byte, and a walker
        // looks up the byte before a return address: padding, here.
        if go::is_trampoline(&function) {
            start = start.saturating_sub(1);
            if let Some(before) = spans.last_mut() {
                before.end = before.end.min(start);
            }
        }
        spans.push(Span {
            start,
            end: function.end,
            source: Source::Go(index as u32),
        });
    }
    spans
}

/// Adds to `spans` (ordered, without overlap) what `new` has for addresses
/// that are left: of each new span the first such stretch, so that no
/// function is interpreted twice. Of several that start together the first in
/// the file wins. Returns how many found no place.
fn layer(spans: &mut Vec<Span>, mut new: Vec<Span>, ranges: &[Range<u64>]) -> usize {
    if !new.is_sorted_by_key(|span| span.start) {
        new.sort_by_key(|span| span.start);
    }
    let mut dropped = 0;
    let old = std::mem::take(spans);
    spans.reserve_exact(old.len() + new.len());
    let mut old = old.into_iter().peekable();
    let mut ranges = ranges.iter().peekable();
    for span in new {
        while ranges.next_if(|range| range.end <= span.start).is_some() {}
        let end = match ranges.peek() {
            Some(range) if range.start <= span.start => span.end.min(range.end),
            _ => span.start,
        };
        let mut start = span.start;
        if let Some(last) = spans.last() {
            start = start.max(last.end);
        }
        while let Some(before) = old.next_if(|old| old.start <= start) {
            start = start.max(before.end);
            spans.push(before);
        }
        let end = old.peek().map_or(end, |next| end.min(next.start));
        if start < end {
            spans.push(Span { start, end, ..span });
        } else {
            dropped += 1;
        }
    }
    spans.extend(old);
    dropped
}

fn trampolines(
    elf: &Elf,
    spans: &[Span],
    ranges: &[Range<u64>],
) -> Vec<(Range<u64>, synthetic::Rows)> {
    let mut found = Vec::new();
    let mut spans = spans.iter().peekable();
    for range in ranges {
        let Some(code) = elf.bytes_at(range.start) else {
            continue;
        };
        let mut search = |from: u64, to: u64| {
            let bytes = (from - range.start) as usize..(to - range.start) as usize;
            if let Some(code) = code.get(bytes) {
                found.extend(synthetic::trampolines(from, code));
            }
        };
        let mut position = range.start;
        while let Some(span) = spans.next_if(|span| span.start < range.end) {
            if span.start > position {
                search(position, span.start);
            }
            position = span.end;
        }
        if position < range.end {
            search(position, range.end);
        }
    }
    found
}

struct Writer<'a> {
    builder: &'a mut Builder,
    statistics: &'a mut Statistics,
    flags: u8,
    remembered: Vec<State>,
}

impl Writer<'_> {
    /// A rule for `start..end`, as far as that is within the span.
    #[inline]
    fn push(&mut self, span: &Span, start: u64, end: u64, rule: Rule) {
        if start >= span.end || end <= span.start {
            return;
        }
        self.statistics.unsupported += usize::from(rule.cfa == cfa::UNSUPPORTED);
        self.statistics.lost += usize::from(rule.saved.contains(&saved::LOST));
        self.builder.push(start.max(span.start), rule);
    }

    fn frame(&mut self, span: &Span, frames: &Frames, index: usize) {
        const UNSUPPORTED: Rule = Rule::new(cfa::UNSUPPORTED);
        self.statistics.functions += 1;
        let program = frames.fdes.get(index).and_then(|fde| {
            let cie = frames.cies.get(fde.cie as usize)?;
            let reader = Reader::at(frames.data, fde.first as usize).until(fde.last as usize)?;
            Some((fde, cie, cie.initial?, reader))
        });
        let Some((fde, cie, initial, reader)) = program else {
            self.push(span, span.start, span.end, UNSUPPORTED);
            return;
        };
        let program = Program {
            cie,
            bases: &frames.bases,
            reader,
        };
        let mut remembered = std::mem::take(&mut self.remembered);
        let (last, state) = program.run(
            initial,
            Some(&initial),
            fde.start,
            &mut remembered,
            |start, end, state| {
                if start < span.end && end > span.start {
                    let rule = rule::of(state, cie.signal, self.flags);
                    self.push(span, start, end, rule);
                }
            },
        );
        self.remembered = remembered;
        let rule = state.map_or(UNSUPPORTED, |state| {
            rule::of(&state, cie.signal, self.flags)
        });
        self.push(span, last, span.end, rule);
    }

    fn go(&mut self, span: &Span, elf: &Elf, table: &GoTable, index: usize) {
        let Some(function) = table.function(index) else {
            return;
        };
        self.statistics.functions += 1;
        let mut until = span.start;
        go::rows(elf, table, &function, |start, end, rule| {
            // The trampoline's span begins before it.
            let start = if go::is_trampoline(&function) {
                span.start
            } else {
                start
            };
            self.push(span, start, end, rule);
            until = end;
        });
        if until < span.end {
            self.push(span, until, span.end, Rule::new(cfa::NONE));
        }
    }

    fn synthetic(&mut self, span: &Span, rows: Option<&synthetic::Rows>) {
        let rows = rows.map(Vec::as_slice).unwrap_or_default();
        for (index, &(start, rule)) in rows.iter().enumerate() {
            let end = rows.get(index + 1).map_or(span.end, |next| next.0);
            self.push(span, start, end, rule);
        }
    }
}

#[cfg(test)]
mod tests;
