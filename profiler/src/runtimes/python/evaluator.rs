//! The evaluator's code: `_PyEval_EvalFrameDefault` and, when the compiler cut
//! off what it took for rare, its other half, which has no symbol in a
//! stripped file. Profile-guided builds can have nearly all of it there.

use std::collections::BTreeMap;

use iced_x86::{Decoder, DecoderOptions, Mnemonic, OpKind};
use profiler_ebpf::CodeRange;

use crate::elf::Elf;
use crate::elf::symbols::Symbols;
use crate::unwind::parts::{Part, Parts};

/// Largest part that is decoded: unoptimised ones have 140 KiB.
const MAX_PART: u64 = 4 << 20;

/// `None` when the file does not define it. The second range is empty when
/// there is no other half.
pub(super) fn find(symbols: &Symbols, elf: &Elf) -> Option<[CodeRange; 2]> {
    let symbol = symbols.find("_PyEval_EvalFrameDefault")?;
    let eh_frame = elf.eh_frame();
    let parts = eh_frame.as_ref().map(|section| Parts::read(elf, section));
    let described = parts
        .as_ref()
        .and_then(|parts| parts.find(symbol.address))
        .filter(|part| part.range.start == symbol.address)
        .map(|part| part.range);
    let main = described.unwrap_or(CodeRange {
        start: symbol.address,
        end: symbol.address.checked_add(symbol.size)?,
    });
    let size = main.end.checked_sub(main.start)?;
    if size == 0 || size > MAX_PART {
        return None;
    }
    let code = symbols.contents().at(main.start, size)?;
    let other = parts
        .and_then(|parts| other_half(&code, main, |address| parts.find(address)))
        .unwrap_or_default();
    Some([main, other])
}

/// The part that `main` jumps to most often among those that are not entered
/// by a call, or that it jumps into the middle of.
fn other_half(
    code: &[u8],
    main: CodeRange,
    find: impl Fn(u64) -> Option<Part>,
) -> Option<CodeRange> {
    let mut targets = BTreeMap::<u64, usize>::new();
    for instruction in &mut Decoder::with_ip(64, code, main.start, DecoderOptions::NONE) {
        if instruction.mnemonic() != Mnemonic::Call
            && instruction.op_count() > 0
            && instruction.op0_kind() == OpKind::NearBranch64
            && !main.contains(instruction.near_branch_target())
        {
            *targets.entry(instruction.near_branch_target()).or_default() += 1;
        }
    }
    let mut parts = BTreeMap::<u64, (usize, CodeRange)>::new();
    for (target, count) in targets {
        if let Some(part) = find(target)
            && (!part.entered_by_call || target != part.range.start)
        {
            parts.entry(part.range.start).or_insert((0, part.range)).0 += count;
        }
    }
    parts
        .into_values()
        .max_by_key(|&(count, _)| count)
        .map(|(_, range)| range)
}
