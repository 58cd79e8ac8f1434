//! Every row that `gimli` reads from real files, against the rule that the
//! table has for its first and its last byte.

use gimli::{BaseAddresses, CieOrFde, LittleEndian, UnwindContext, UnwindSection};
use profiler_ebpf::{cfa, flag};

use super::machine::{self, Caller, Slice};
use super::programs;
use crate::elf::Elf;
use crate::unwind::{Table, build_for};

const ALL_FLAGS: u8 = flag::FRAME_SLOTS | flag::RETURN_REGISTER;

#[derive(Debug, Default)]
struct Comparison {
    rows: usize,
    differences: Vec<String>,
    /// What the table says it cannot follow.
    unsupported: Vec<String>,
    /// Registers that it says are lost while `gimli` has them.
    lost: Vec<String>,
}

fn compare<'a, S>(section: &S, bases: &BaseAddresses, elf: &Elf, table: &Table) -> Comparison
where
    S: UnwindSection<Slice<'a>>,
    S::Offset: gimli::UnwindOffset<usize>,
{
    let ranges = elf.executable_ranges();
    let mut comparison = Comparison::default();
    let mut context = UnwindContext::new();
    let mut entries = section.entries(bases);
    while let Some(entry) = entries.next().expect("an entry") {
        let CieOrFde::Fde(partial) = entry else {
            continue;
        };
        let fde = partial.parse(S::cie_from_offset).expect("an FDE");
        let start = fde.initial_address();
        if !ranges.iter().any(|range| range.contains(&start)) {
            continue;
        }
        let mut rows = fde.rows(section, bases, &mut context).expect("rows");
        while let Some(row) = rows.next_row().expect("a row") {
            if row.start_address() >= row.end_address() {
                continue;
            }
            comparison.rows += 1;
            for pc in [row.start_address(), row.end_address() - 1] {
                let expected = machine::by_row(section, row, pc);
                compare_at(&mut comparison, table, pc, expected, || {
                    format!("{pc:#x}: {row:?}")
                });
            }
        }
    }
    comparison
}

fn compare_at(
    comparison: &mut Comparison,
    table: &Table,
    pc: u64,
    expected: Caller,
    row: impl Fn() -> String,
) {
    let Some(rule) = table.find(pc) else {
        comparison.differences.push(format!("no rule: {}", row()));
        return;
    };
    if rule.cfa == cfa::UNSUPPORTED {
        comparison.unsupported.push(row());
        return;
    }
    let mut actual = machine::by_rule(&rule, pc).expect("a caller");
    if let (Caller::Frame { saved: ours, .. }, Caller::Frame { saved: theirs, .. }) =
        (&mut actual, &expected)
    {
        for (ours, theirs) in ours.iter_mut().zip(theirs) {
            if ours.is_none() && theirs.is_some() {
                *ours = *theirs;
                comparison.lost.push(row());
            }
        }
    }
    if actual != expected {
        comparison
            .differences
            .push(format!("{rule:?} {actual:x?} {expected:x?} {}", row()));
    }
}

fn eh_frame(data: &[u8], flags: u8) -> Comparison {
    let elf = Elf::parse(data).expect("an ELF file");
    let table = build_for(&elf, flags).expect("a table");
    let section = elf.eh_frame().expect("a section");
    let bases = BaseAddresses::default().set_eh_frame(section.address);
    let reader = gimli::EhFrame::new(&section.data, LittleEndian);
    compare(&reader, &bases, &elf, &table)
}

fn debug_frame(data: &[u8], flags: u8) -> Comparison {
    let elf = Elf::parse(data).expect("an ELF file");
    let table = build_for(&elf, flags).expect("a table");
    let section = elf.section(".debug_frame").expect("a section");
    let mut reader = gimli::DebugFrame::from(Slice::new(&section.data, LittleEndian));
    reader.set_address_size(8);
    compare(&reader, &BaseAddresses::default(), &elf, &table)
}

fn assert_same(name: &str, comparison: &Comparison) {
    assert!(comparison.rows > 0, "{name}: no rows");
    assert!(
        comparison.differences.is_empty(),
        "{name}: {} of {} rows differ, first {}",
        comparison.differences.len(),
        comparison.rows,
        comparison.differences[0]
    );
}

/// What remains beyond the rules, after the assembly that says it.
fn is_known(row: &str) -> bool {
    [
        // glibc, the ends of longjmp and setcontext, which load the registers
        // they jump with: sysdeps/x86_64/__longjmp.S and
        // sysdeps/unix/sysv/linux/x86_64/setcontext.S.
        "(Register(7), Register(Register(8)))",
        "(Register(7), Offset(160))",
        // OpenSSL, OPENSSL_ia32_cpuid (crypto/x86_64cpuid.pl): `cpuid` changes
        // rbx, which is kept in r8 meanwhile.
        "(Register(3), Register(Register(8)))",
    ]
    .iter()
    .any(|known| row.contains(known))
}

fn assert_all_but_known(name: &str, comparison: &Comparison) {
    assert_same(name, comparison);
    for row in comparison.unsupported.iter().chain(&comparison.lost) {
        assert!(is_known(row), "{name}: {row}");
    }
}

#[test]
fn system_files() {
    let libraries = "/lib/x86_64-linux-gnu";
    for path in [
        format!("{libraries}/libc.so.6"),
        format!("{libraries}/ld-linux-x86-64.so.2"),
        format!("{libraries}/libcrypto.so.3"),
        format!("{libraries}/libstdc++.so.6"),
        format!("{libraries}/libgcc_s.so.1"),
        "/usr/bin/python3.11".to_owned(),
        "/usr/bin/node".to_owned(),
        "/proc/self/exe".to_owned(),
    ] {
        match programs::file(&path) {
            Some(data) => assert_all_but_known(&path, &eh_frame(&data, ALL_FLAGS)),
            None => eprintln!("not here: {path}"),
        }
    }
}

#[test]
fn vdso() {
    let data = programs::vdso().expect("a vDSO");
    assert_all_but_known("vdso", &eh_frame(&data, ALL_FLAGS));
}

#[test]
fn c_programs() {
    for options in [
        &["-O2", "-fomit-frame-pointer"][..],
        &["-O0"],
        &["-O3", "-mstackrealign"],
        &["-O2", "-mavx2", "-mforce-drap"],
        &["-O2", "-static"],
        &["-O2", "-static-pie"],
        &["-O2", "-no-pie", "-Wl,-z,lazy"],
        &["-O2", "-fcf-protection=full", "-Wl,-z,ibtplt,-z,lazy"],
    ] {
        let data = programs::c(options);
        assert_all_but_known(&options.join(" "), &eh_frame(&data, ALL_FLAGS));
        // What the walker cannot follow is said, never wrong.
        assert_same(&options.join(" "), &eh_frame(&data, flag::FOLLOWED));
    }
}

#[test]
fn functions_that_realign_their_stack() {
    let data = programs::c(&["-O2"]);
    let table = build_for(&Elf::parse(&data).expect("an ELF file"), ALL_FLAGS).expect("a table");
    assert!(
        table
            .rows()
            .any(|(_, rule)| rule.cfa == cfa::DEREFERENCE && rule.flags & flag::FRAME_SLOTS != 0)
    );
    assert_eq!(table.statistics.lost, 0);
}

#[test]
fn debug_information_alone() {
    for compression in ["none", "zlib"] {
        let data = programs::c(&[
            "-O2",
            "-g1",
            &format!("-gz={compression}"),
            "-fno-asynchronous-unwind-tables",
            "-fno-unwind-tables",
        ]);
        assert_all_but_known(compression, &debug_frame(&data, ALL_FLAGS));
    }
}

#[test]
fn stripped_of_its_section_headers() {
    let mut data = programs::c(&["-O2", "-s"]);
    let whole = build_for(&Elf::parse(&data).expect("an ELF file"), ALL_FLAGS).expect("a table");
    // e_shoff, e_shnum and e_shstrndx.
    data[40..48].fill(0);
    data[60..64].fill(0);
    let elf = Elf::parse(&data).expect("an ELF file");
    assert!(!elf.has_sections());
    let table = build_for(&elf, ALL_FLAGS).expect("a table");
    assert_eq!(table.statistics.functions, whole.statistics.functions);
    assert_all_but_known("stripped", &eh_frame(&data, ALL_FLAGS));
}
