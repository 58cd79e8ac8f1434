//! Unwind sections that no compiler writes: overlaps, lies, every instruction.

use profiler_ebpf::{Rule, cfa, flag, register, saved, state};

use crate::elf::fixture::{Part, image};
use crate::elf::{Elf, kind};
use crate::unwind::{Table, UnwindError, build, build_for};

const TEXT: u64 = 0x40_1000;
/// def_cfa rsp 8; offset rip 1
const INITIAL: &[u8] = &[0x0c, 7, 8, 0x90, 1];

fn entry(id: &[u8], body: &[u8]) -> Vec<u8> {
    let mut content = [id, body].concat();
    while content.len() % 4 != 0 {
        content.push(0);
    }
    let mut entry = (content.len() as u32).to_le_bytes().to_vec();
    entry.extend(content);
    entry
}

fn cie(augmentation: &[u8], after: &[u8]) -> Vec<u8> {
    let body = [&[1], augmentation, &[0, 1, 0x78, 16], after, INITIAL].concat();
    entry(&[0; 4], &body)
}

struct Section(Vec<u8>);

impl Section {
    fn new(cie: Vec<u8>) -> Self {
        Self(cie)
    }

    /// A function whose addresses are absolute, of the first common entry.
    fn function(mut self, start: u64, length: u64, instructions: &[u8]) -> Self {
        let pointer = self.0.len() as u32 + 4;
        let body = [&start.to_le_bytes(), &length.to_le_bytes(), instructions].concat();
        self.0.extend(entry(&pointer.to_le_bytes(), &body));
        self
    }
}

fn table_of(section: &[u8], code: &[u8], flags: u8) -> Table {
    let file = image(
        kind::EXECUTABLE,
        0,
        &[
            Part {
                name: ".text",
                address: TEXT,
                executable: true,
                data: code,
            },
            Part {
                name: ".eh_frame",
                address: 0x50_0000,
                executable: false,
                data: section,
            },
        ],
    );
    let elf = Elf::parse(&file).unwrap();
    let table = build_for(&elf, flags).unwrap();
    table.check(&elf.executable_ranges());
    table
}

fn offset_at(table: &Table, address: u64) -> Option<i32> {
    table.find(address).map(|rule| rule.offset)
}

/// The rule after `instructions`, with every extension allowed.
fn rule_after(instructions: &[u8]) -> Rule {
    let code = [instructions, &[0x41, 0]].concat();
    let section = Section::new(cie(b"", &[])).function(TEXT, 16, &code);
    table_of(&section.0, &[0x90; 64], 0xff).find(TEXT).unwrap()
}

#[test]
fn overlapping_functions_first_one_wins() {
    // def_cfa_offset 16, 24, 32, 40
    let section = Section::new(cie(b"", &[]))
        .function(TEXT + 32, 64, &[0x0e, 24])
        .function(TEXT, 48, &[0x0e, 16])
        .function(TEXT, 16, &[0x0e, 32])
        .function(TEXT + 40, 4, &[0x0e, 40]);
    let table = table_of(&section.0, &[0x90; 256], 0);
    assert_eq!(offset_at(&table, TEXT), Some(16));
    assert_eq!(offset_at(&table, TEXT + 47), Some(16));
    assert_eq!(offset_at(&table, TEXT + 48), Some(24));
    assert_eq!(offset_at(&table, TEXT + 95), Some(24));
    assert_eq!(offset_at(&table, TEXT + 96), None);
    assert_eq!(table.statistics.dropped, 2);
}

#[test]
fn nothing_beyond_the_code() {
    let section = Section::new(cie(b"", &[]))
        .function(TEXT + 16, u64::MAX, &[])
        .function(0x50_0000, 16, &[])
        .function(u64::MAX - 3, 16, &[])
        .function(TEXT - 8, 12, &[])
        .function(TEXT, 0, &[])
        .function(0, 0x1000_0000, &[]);
    let table = table_of(&section.0, &[0x90; 32], 0);
    assert_eq!(table.find(TEXT), None);
    assert_eq!(offset_at(&table, TEXT + 31), Some(8));
    assert_eq!(table.find(TEXT + 32), None);
    assert_eq!(table.find(0x50_0000), None);
    assert_eq!(table.statistics.functions, 1);
}

#[test]
fn a_terminator_in_the_middle() {
    let mut section = Section::new(cie(b"", &[])).function(TEXT, 16, &[]);
    section.0.extend([0; 4]);
    let section = section.function(TEXT + 16, 16, &[]);
    let table = table_of(&section.0, &[0x90; 64], 0);
    assert_eq!(offset_at(&table, TEXT + 20), Some(8));
}

#[test]
fn instructions() {
    let register = |register, offset| Rule {
        register,
        offset,
        ..Rule::new(cfa::REGISTER)
    };
    let with = |index: usize, slot, rule: Rule| {
        let mut rule = rule;
        rule.saved[index] = slot;
        rule
    };
    let stack = register(register::RSP, 8);
    for (instructions, expected) in [
        (&[][..], stack),
        // def_cfa, def_cfa_sf, def_cfa_register, def_cfa_offset(_sf)
        (&[0x0c, 6, 16], register(6, 16)),
        (&[0x12, 6, 0x7e], register(6, 16)),
        (&[0x0d, 6], register(6, 8)),
        (&[0x0e, 0x80, 1], register(7, 128)),
        (&[0x13, 0x7e], register(7, 16)),
        // offset, offset_extended(_sf), GNU_negative_offset_extended
        (&[0x86, 2], with(0, 2, stack)),
        (&[0x05, 12, 3], with(2, 3, stack)),
        (&[0x11, 13, 4], with(3, 4, stack)),
        // (which puts it above the CFA, with this data alignment)
        (&[0x2f, 14, 5], with(4, saved::LOST, stack)),
        // restore, restore_extended, same_value, undefined, register
        (&[0x86, 2, 0xc6], stack),
        (&[0x8c, 2, 0x06, 12], stack),
        (&[0x86, 2, 0x08, 6], stack),
        (&[0x07, 6], with(0, saved::LOST, stack)),
        (&[0x09, 6, 8], with(0, saved::LOST, stack)),
        // remember_state, restore_state
        (&[0x0a, 0x0e, 64, 0x86, 2, 0x0b], stack),
        // val_offset, val_offset_sf, val_expression
        (&[0x14, 3, 2], with(1, saved::LOST, stack)),
        (&[0x14, 7, 0], stack),
        (&[0x15, 3, 2], with(1, saved::LOST, stack)),
        (&[0x16, 3, 1, 0x50], with(1, saved::LOST, stack)),
        // GNU_args_size, caller-saved and unknown registers
        (&[0x2e, 0x90, 1], stack),
        (&[0x80, 2, 0x81, 3, 0x05, 0xff, 0x7f, 1], stack),
        // expression: rsp-based, so below the CFA after all
        (
            &[0x0e, 32, 0x10, 6, 2, 0x77, 16],
            with(0, 2, register(7, 32)),
        ),
        // slots that cannot be
        (&[0x86, 0], with(0, saved::LOST, stack)),
        (&[0x86, 0xff, 1], with(0, saved::LOST, stack)),
        (&[0x86, 0xfe, 1], with(0, saved::MAX_SLOT, stack)),
        // the return address elsewhere
        (
            &[0x90, 2],
            Rule {
                return_slot: 2,
                ..stack
            },
        ),
        (
            &[0x09, 16, 5],
            Rule {
                return_slot: 5,
                flags: flag::RETURN_REGISTER,
                ..stack
            },
        ),
        (&[0x90, 9], Rule::new(cfa::UNSUPPORTED)),
        (&[0x07, 16], Rule::new(cfa::ROOT)),
        // the stack pointer elsewhere
        (&[0x87, 2], Rule::new(cfa::UNSUPPORTED)),
        // not of this machine, unknown, cut short, out of place
        (&[0x0c, 17, 8], Rule::new(cfa::UNSUPPORTED)),
        (&[0x0c, 0x87, 2, 8], Rule::new(cfa::UNSUPPORTED)),
        (&[0x3f], Rule::new(cfa::UNSUPPORTED)),
        (&[0x0b], Rule::new(cfa::UNSUPPORTED)),
        (&[0x0f, 1, 0x96, 0x0d, 6], Rule::new(cfa::UNSUPPORTED)),
    ] {
        assert_eq!(rule_after(instructions), expected, "{instructions:x?}");
    }
}

#[test]
fn what_follows_an_unknown_instruction_is_unsupported() {
    // advance 4; unknown
    let section = Section::new(cie(b"", &[])).function(TEXT, 16, &[0x44, 0x3f]);
    let table = table_of(&section.0, &[0x90; 64], 0);
    assert_eq!(offset_at(&table, TEXT + 3), Some(8));
    assert_eq!(
        table.find(TEXT + 4).map(|rule| rule.cfa),
        Some(cfa::UNSUPPORTED)
    );
    assert_eq!(table.statistics.unsupported, 1);
}

#[test]
fn advances_of_every_width() {
    let mut instructions = vec![0x44, 0x0e, 16];
    instructions.extend([0x02, 4, 0x0e, 24]);
    instructions.extend([0x03, 4, 0, 0x0e, 32]);
    instructions.extend([0x04, 4, 0, 0, 0, 0x0e, 40]);
    instructions.push(0x01);
    instructions.extend((TEXT + 20).to_le_bytes());
    instructions.extend([0x0e, 48]);
    let section = Section::new(cie(b"", &[])).function(TEXT, 32, &instructions);
    let table = table_of(&section.0, &[0x90; 64], 0);
    for step in 0..6 {
        let address = TEXT + 4 * step;
        assert_eq!(offset_at(&table, address), Some(8 + 8 * step as i32));
    }
}

#[test]
fn a_function_that_advances_past_its_end() {
    let section = Section::new(cie(b"", &[]))
        .function(TEXT, 8, &[0x60, 0x0e, 16])
        .function(TEXT + 8, 8, &[0x0e, 24]);
    let table = table_of(&section.0, &[0x90; 64], 0);
    assert_eq!(offset_at(&table, TEXT + 7), Some(8));
    assert_eq!(offset_at(&table, TEXT + 8), Some(24));
    assert_eq!(table.find(TEXT + 16), None);
}

#[test]
fn states_remembered_without_end() {
    let section = Section::new(cie(b"", &[])).function(TEXT, 8, &[0x0a; 4096]);
    let table = table_of(&section.0, &[0x90; 64], 0);
    assert_eq!(
        table.find(TEXT).map(|rule| rule.cfa),
        Some(cfa::UNSUPPORTED)
    );
}

#[test]
fn realigned_frames_only_for_a_walker_that_follows_them() {
    // def_cfa_expression *(rbp - 8); expression rbp: rbp; expression rbx: rbp - 24
    let code = [
        0x0f, 3, 0x76, 0x78, 0x06, 0x10, 6, 2, 0x76, 0, 0x10, 3, 2, 0x76, 0x68,
    ];
    let section = Section::new(cie(b"", &[])).function(TEXT, 16, &code);
    let all = table_of(&section.0, &[0x90; 64], 0xff).find(TEXT).unwrap();
    assert_eq!(
        (all.cfa, all.register, all.offset),
        (cfa::DEREFERENCE, 6, -8)
    );
    assert_eq!((all.saved[0], all.saved[1], all.flags), (1, 4, 0b11));
    let none = table_of(&section.0, &[0x90; 64], 0).find(TEXT).unwrap();
    assert_eq!(
        (none.saved[0], none.saved[1], none.flags),
        (saved::LOST, saved::LOST, 0)
    );
}

#[test]
fn signal_frames() {
    // def_cfa_expression *(rsp + 160 + 8); rip at rsp + 176; rbp at rsp + 128
    let code = [
        0x0f, 4, 0x77, 0xa8, 1, 0x06, 0x10, 16, 3, 0x77, 0xb0, 1, 0x10, 6, 3, 0x77, 0x80, 1,
    ];
    let section = Section::new(cie(b"zS", &[0])).0;
    let with_size = [&[0][..], &code].concat();
    let section = Section(section).function(TEXT, 16, &with_size);
    let rule = table_of(&section.0, &[0x90; 64], 0).find(TEXT).unwrap();
    assert_eq!((rule.cfa, rule.offset), (cfa::SIGNAL, 8));

    // One that puts rbp elsewhere is not followed.
    let mut other = with_size;
    let last = other.len() - 2;
    other[last] = 0x88;
    let section = Section::new(cie(b"zS", &[0])).function(TEXT, 16, &other);
    let rule = table_of(&section.0, &[0x90; 64], 0).find(TEXT).unwrap();
    assert_eq!(rule.cfa, cfa::UNSUPPORTED);
}

#[test]
fn many_functions_of_one_long_common_entry() {
    // Its instructions are read once, not for each function.
    let long = [INITIAL, &[0; 1 << 16]].concat();
    let body = [&[1][..], &[0, 1, 0x78, 16], &long].concat();
    let mut section = Section::new(entry(&[0; 4], &body));
    for index in 0..20_000 {
        section = section.function(TEXT + index, 1, &[]);
    }
    let start = std::time::Instant::now();
    table_of(&section.0, &[0x90; 64], 0);
    assert!(start.elapsed().as_secs() < 5);
}

#[test]
fn stubs_of_a_plt_that_nobody_described() {
    let header = [0xff, 0x35, 0, 0, 0, 0, 0xff, 0x25, 0, 0, 0, 0, 0, 0, 0, 0];
    let stub = [0xff, 0x25, 0, 0, 0, 0, 0x68, 0, 0, 0, 0, 0xe9, 0, 0, 0, 0];
    let code = [header, stub, stub].concat();
    let file = image(
        kind::SHARED,
        0,
        &[Part {
            name: ".plt",
            address: TEXT,
            executable: true,
            data: &code,
        }],
    );
    let table = build(&Elf::parse(&file).unwrap()).unwrap();
    assert_eq!(offset_at(&table, TEXT), Some(16));
    assert_eq!(offset_at(&table, TEXT + 6), Some(24));
    for address in [TEXT + 16, TEXT + 47] {
        let rule = table.find(address).unwrap();
        assert_eq!((rule.cfa, rule.offset), (cfa::PLT, 11));
    }
}

#[test]
fn musl() {
    // _start, then __restore_rt in both of its encodings.
    let mut code = vec![0x90; 256];
    code[..3].copy_from_slice(&[0x48, 0x31, 0xed]);
    code[0x80..0x89].copy_from_slice(&[0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05]);
    code[0xc0..0xc7].copy_from_slice(&[0xb8, 15, 0, 0, 0, 0x0f, 0x05]);
    let file = image(
        kind::EXECUTABLE,
        TEXT,
        &[Part {
            name: ".text",
            address: TEXT,
            executable: true,
            data: &code,
        }],
    );
    let table = build(&Elf::parse(&file).unwrap()).unwrap();
    let at = |offset| {
        table
            .find(TEXT + offset)
            .map(|rule| (rule.cfa, rule.offset))
    };
    assert_eq!(at(0), Some((cfa::ROOT, 0)));
    assert_eq!(at(21), Some((cfa::ROOT, 0)));
    assert_eq!(at(64), None);
    for (start, end) in [(0x7f, 0x89), (0xbf, 0xc7)] {
        assert_eq!(at(start - 1), None);
        assert_eq!(at(start), Some((cfa::SIGNAL, 0)));
        assert_eq!(at(end - 1), Some((cfa::SIGNAL, 0)));
        assert_eq!(at(end), None);
    }
}

#[test]
fn without_information_or_code() {
    let part = |executable| Part {
        name: ".text",
        address: TEXT,
        executable,
        data: &[0x90; 64],
    };
    let file = image(kind::SHARED, 0, &[part(true)]);
    let table = build(&Elf::parse(&file).unwrap()).unwrap();
    assert_eq!(table.info.state, state::FRAME_POINTERS);
    assert!(table.blocks.is_empty());
    assert_eq!(table.find(TEXT), None);

    let file = image(kind::SHARED, 0, &[part(false)]);
    let result = build(&Elf::parse(&file).unwrap());
    assert_eq!(result.err(), Some(UnwindError::NoCode));
}
