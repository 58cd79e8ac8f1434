use super::fixture::{Part, image};
use super::{EXECUTE, Elf, ElfError, Segment, kind};

fn part<'a>(name: &'a str, address: u64, data: &'a [u8]) -> Part<'a> {
    Part {
        name,
        address,
        executable: false,
        data,
    }
}

fn elf_of(segments: &[(u64, u64, u64, u32)]) -> Elf<'static> {
    Elf {
        data: &[],
        kind: kind::SHARED,
        entry: 0,
        headers: Vec::new(),
        segments: segments
            .iter()
            .map(|&(address, offset, size, flags)| Segment {
                address,
                offset,
                file_size: size,
                memory_size: size,
                flags,
            })
            .collect(),
        sections: Vec::new(),
        names: 0..0,
    }
}

#[test]
fn what_is_not_supported_is_said() {
    let file = image(kind::SHARED, 0, &[]);
    let with = |position: usize, value: u8| {
        let mut file = file.clone();
        file[position] = value;
        Elf::parse(&file).err()
    };
    assert_eq!(with(0, 0), Some(ElfError::NotElf));
    assert_eq!(with(4, 1), Some(ElfError::Class(32)));
    assert_eq!(with(5, 2), Some(ElfError::BigEndian));
    assert_eq!(with(18, 183), Some(ElfError::Machine(183)));
    assert_eq!(with(32 + 7, 0xff), None);
    assert_eq!(with(57, 0xff), Some(ElfError::ProgramHeaders));
    assert_eq!(Elf::parse(&file[..63]).err(), Some(ElfError::Truncated));
    assert_eq!(Elf::parse(&[]).err(), Some(ElfError::NotElf));
}

#[test]
fn bias_of_each_layout() {
    // Position-independent, with the usual layout of GNU ld.
    let elf = elf_of(&[(0, 0, 0x800, 4), (0x1000, 0x1000, 0x2345, 4 | EXECUTE)]);
    assert_eq!(elf.bias(0x7f00_0000_1000, 0x1000), Some(0x7f00_0000_0000));
    // The second half of it, split off by `mprotect`.
    assert_eq!(elf.bias(0x7f00_0000_3000, 0x3000), Some(0x7f00_0000_0000));
    assert_eq!(elf.bias(0x7f00_0000_4000, 0x4000), None);

    // At fixed addresses, as node is.
    let elf = elf_of(&[(0x40_0000, 0, 0x800, 4), (0xb6_f000, 0x76_f000, 0x1e90, 5)]);
    assert_eq!(elf.bias(0xb6_f000, 0x76_f000), Some(0));

    // lld: segments follow each other in the file without a hole, each a page
    // further in memory, so that they share a page of the file.
    let elf = elf_of(&[
        (0x0, 0x0, 0x1234, 4),
        (0x2234, 0x1234, 0x1000, 4 | EXECUTE),
        (0x4234, 0x2234, 0x100, 6),
    ]);
    let base = 0x5555_0000_0000;
    assert_eq!(elf.bias(base + 0x2000, 0x1000), Some(base));
    assert_eq!(elf.bias(base + 0x3000, 0x2000), Some(base));
    let wrapped = elf_of(&[(u64::MAX - 0xfff, 0x1000, u64::MAX, 5)]);
    assert!(wrapped.bias(0, u64::MAX).is_some());

    // Prelinked: linked for an address, loaded at it or elsewhere.
    let elf = elf_of(&[(0x3_0000_0000, 0, 0x5000, 5)]);
    assert_eq!(elf.bias(0x3_0000_0000, 0), Some(0));
    assert_eq!(elf.bias(0x7_0000_0000, 0), Some(0x4_0000_0000));
}

#[test]
fn bias_agrees_with_this_process() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let path = std::fs::read_link("/proc/self/exe").unwrap();
    let data = std::fs::read("/proc/self/exe").unwrap();
    let elf = Elf::parse(&data).unwrap();
    let here = bias_agrees_with_this_process as fn() as usize as u64;
    let line = maps
        .lines()
        .find(|line| line.contains("r-xp") && line.ends_with(path.to_str().unwrap()))
        .unwrap();
    let mut fields = line.split_whitespace();
    let (start, _) = fields.next().unwrap().split_once('-').unwrap();
    let start = u64::from_str_radix(start, 16).unwrap();
    let offset = u64::from_str_radix(fields.nth(1).unwrap(), 16).unwrap();
    let address = here - elf.bias(start, offset).unwrap();
    // SAFETY: the code of a function is readable; it has more bytes than 16.
    let code = unsafe { std::slice::from_raw_parts(here as *const u8, 16) };
    assert_eq!(
        elf.bytes_at(address).and_then(|bytes| bytes.get(..16)),
        Some(code)
    );
}

#[test]
fn sections_by_name() {
    let file = image(
        kind::SHARED,
        0,
        &[
            part(".text", 0x1000, b"code"),
            part(".text.hot", 0x2000, b"more"),
            part(".gnu_debuglink", 0x3000, b"a.debug\0\x78\x56\x34\x12"),
            part(".gnu_debugaltlink", 0x4000, b"/usr/lib/debug/b\0\x01\x02"),
        ],
    );
    let elf = Elf::parse(&file).unwrap();
    let section = elf.section(".text").unwrap();
    assert_eq!((&*section.data, section.address), (&b"code"[..], 0x1000));
    assert_eq!(&*elf.section(".text.hot").unwrap().data, b"more");
    assert!(elf.section(".tex").is_none());
    assert!(elf.section("text").is_none());
    assert_eq!(elf.debug_link(), Some(("a.debug".to_owned(), 0x1234_5678)));
    assert_eq!(
        elf.debug_alt_link(),
        Some(("/usr/lib/debug/b".to_owned(), vec![1, 2]))
    );
    assert_eq!(elf.bytes_at(0x2002), Some(&b"re"[..]));
    assert_eq!(elf.bytes_at(0x2004), None);
}

#[test]
fn a_debug_link_stays_in_its_directory() {
    for name in [&b"../../etc/shadow\0\0\0\0\0\0\0\0"[..], b"..\0\0\0\0\0\0"] {
        let file = image(
            kind::SHARED,
            0,
            &[Part {
                name: ".gnu_debuglink",
                address: 0x3000,
                executable: false,
                data: name,
            }],
        );
        assert_eq!(Elf::parse(&file).unwrap().debug_link(), None);
    }
}

#[test]
fn this_executable() {
    let data = std::fs::read("/proc/self/exe").unwrap();
    let elf = Elf::parse(&data).unwrap();
    assert!(elf.has_sections());
    assert!(elf.is_pie() || elf.kind() == kind::EXECUTABLE);
    assert!(!elf.is_go());
    assert!(elf.eh_frame().is_some_and(|section| !section.open_ended));
    assert!(!elf.executable_ranges().is_empty());
    if elf.interpreter().is_some() {
        assert!(elf.interpreter().unwrap().starts_with('/'));
    }
}
