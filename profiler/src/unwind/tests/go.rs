//! Go executables: `.gopclntab` against the `.debug_frame` that Go's linker
//! derives from the same source by another way.

use gimli::{BaseAddresses, CfaRule, CieOrFde, LittleEndian, UnwindContext, UnwindSection};
use profiler_ebpf::{cfa, register};

use super::machine::Slice;
use super::programs;
use crate::elf::Elf;
use crate::unwind::build;

#[test]
fn stack_depths_agree_with_the_debug_information() {
    let data = programs::go(&["-ldflags=-compressdwarf=false"]);
    let elf = Elf::parse(&data).expect("an ELF file");
    let table = build(&elf).expect("a table");
    let section = elf.section(".debug_frame").expect("a section");
    let mut reader = gimli::DebugFrame::from(Slice::new(&section.data, LittleEndian));
    reader.set_address_size(8);
    let bases = BaseAddresses::default();
    let mut context = UnwindContext::new();
    let mut entries = reader.entries(&bases);
    let (mut same, mut other) = (0, 0);
    while let Some(entry) = entries.next().expect("an entry") {
        let CieOrFde::Fde(partial) = entry else {
            continue;
        };
        let fde = partial
            .parse(gimli::DebugFrame::cie_from_offset)
            .expect("an FDE");
        let mut rows = fde.rows(&reader, &bases, &mut context).expect("rows");
        while let Some(row) = rows.next_row().expect("a row") {
            if row.start_address() >= row.end_address() {
                continue;
            }
            let CfaRule::RegisterAndOffset { register, offset } = *row.cfa() else {
                panic!("{row:?}");
            };
            for pc in [row.start_address(), row.end_address() - 1] {
                match table.find(pc) {
                    Some(rule) if rule.cfa == cfa::REGISTER => {
                        assert_eq!(
                            (u16::from(rule.register), i64::from(rule.offset)),
                            (register.0, offset),
                            "{pc:#x}"
                        );
                        same += 1;
                    }
                    _ => other += 1,
                }
            }
        }
    }
    assert!(same > 10_000, "{same}");
    // Roots, stack switches, trampolines, and the byte before one of those.
    assert!(other < 80, "{other} of {same}");
}

#[test]
fn stripped_executables_have_names_and_lines() {
    assert_names_and_lines(&programs::go(&["-ldflags=-s -w"]));
}

#[test]
#[ignore = "builds all of Go's library again: minutes"]
fn position_independent_ones_too() {
    assert_names_and_lines(&programs::go(&["-ldflags=-s -w", "-buildmode=pie"]));
}

fn assert_names_and_lines(data: &[u8]) {
    let elf = Elf::parse(data).expect("an ELF file");
    assert!(elf.is_go());
    let symbols = elf.go_pclntab().expect("symbols");
    let table = build(&elf).expect("a table");
    let function = |name: &str| {
        symbols
            .functions()
            .find(|function| function.name() == name)
            .unwrap_or_else(|| panic!("{name}"))
    };
    let inner = function("main.inner");
    let found = symbols.find(inner.end - 1).expect("a function");
    assert_eq!(found.name(), "main.inner");
    let (file, line) = symbols.line(&inner, inner.start).expect("a line");
    assert!(file.ends_with("/main.go"), "{file}");
    assert_eq!(line, 10);

    // It has a frame of more than 2400 bytes; at its start there is none,
    // once it is made the caller's frame pointer is in it.
    let first = table.find(inner.start).expect("a rule");
    assert_eq!((first.register, first.offset), (register::RSP, 8));
    assert!((inner.start..inner.end).any(|pc| {
        let rule = table.find(pc).expect("a rule");
        rule.offset > 2400 && rule.saved[0] == 2
    }));

    for name in [
        "runtime.goexit",
        "runtime.mstart",
        "runtime.rt0_go",
        "runtime.mcall",
    ] {
        let symbol = symbols
            .functions()
            .find(|function| function.name().trim_end_matches(".abi0") == name)
            .unwrap_or_else(|| panic!("{name}"));
        assert_eq!(
            table.find(symbol.start).map(|rule| rule.cfa),
            Some(cfa::ROOT),
            "{name}"
        );
    }
    let trampoline = symbols
        .functions()
        .find(super::super::go::is_trampoline)
        .expect("a trampoline");
    for pc in [trampoline.start - 1, trampoline.start] {
        assert_eq!(table.find(pc).map(|rule| rule.cfa), Some(cfa::SIGNAL));
    }
    assert!(symbols.find(0).is_none());
    assert!(symbols.find(u64::MAX).is_none());
}

#[test]
fn a_table_that_is_cut_short() {
    let data = programs::go(&["-ldflags=-s -w"]);
    let elf = Elf::parse(&data).expect("an ELF file");
    let section = elf.section(".gopclntab").expect("a section");
    let start = section.offset as usize;
    for size in (0..section.data.len()).step_by(section.data.len() / 40) {
        let mut cut = data.clone();
        cut[start + size..start + section.data.len()].fill(0xff);
        let elf = Elf::parse(&cut).expect("an ELF file");
        if let Ok(table) = build(&elf) {
            table.check(&elf.executable_ranges());
        }
        if let Some(table) = elf.go_pclntab() {
            for function in table.functions() {
                let _ = table.line(&function, function.start);
            }
        }
    }
}
