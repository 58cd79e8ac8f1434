//! ELF files written by hand, for what no compiler writes.

/// Contents of one section, which is also a segment of its own.
pub struct Part<'a> {
    pub name: &'a str,
    pub address: u64,
    pub executable: bool,
    pub data: &'a [u8],
}

pub const ELF_HEADER: usize = 64;
pub const PROGRAM_HEADER: usize = 56;
const SECTION_HEADER: usize = 64;

/// An executable of these parts, each 16-aligned in the file.
pub fn image(kind: u16, entry: u64, parts: &[Part]) -> Vec<u8> {
    let mut names = vec![0];
    let mut body = Vec::new();
    let mut programs = Vec::new();
    let mut sections = vec![0; SECTION_HEADER];
    let body_start = ELF_HEADER + PROGRAM_HEADER * parts.len();
    let put = |table: &mut Vec<u8>, words: &[u32]| {
        for word in words {
            table.extend(word.to_le_bytes());
        }
    };
    let put_wide = |table: &mut Vec<u8>, words: &[u64]| {
        for word in words {
            table.extend(word.to_le_bytes());
        }
    };
    for part in parts {
        while !(body_start + body.len()).is_multiple_of(16) {
            body.push(0);
        }
        let offset = (body_start + body.len()) as u64;
        let size = part.data.len() as u64;
        body.extend(part.data);
        put(&mut programs, &[1, 4 + u32::from(part.executable)]);
        put_wide(
            &mut programs,
            &[offset, part.address, part.address, size, size, 4096],
        );
        put(&mut sections, &[names.len() as u32, 1]);
        put_wide(&mut sections, &[2, part.address, offset, size, 0, 1, 0]);
        sections.truncate(sections.len() - 8);
        names.extend(part.name.as_bytes());
        names.push(0);
        while !sections.len().is_multiple_of(SECTION_HEADER) {
            sections.push(0);
        }
    }
    let names_offset = (body_start + body.len()) as u64;
    put(&mut sections, &[0, 3]);
    put_wide(&mut sections, &[0, 0, names_offset, names.len() as u64]);
    while !sections.len().is_multiple_of(SECTION_HEADER) {
        sections.push(0);
    }
    let section_offset = names_offset + names.len() as u64;

    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    for word in [kind, 62] {
        file.extend(word.to_le_bytes());
    }
    put(&mut file, &[1]);
    put_wide(&mut file, &[entry, ELF_HEADER as u64, section_offset]);
    put(&mut file, &[0]);
    for word in [
        ELF_HEADER,
        PROGRAM_HEADER,
        parts.len(),
        SECTION_HEADER,
        parts.len() + 2,
        parts.len() + 1,
    ] {
        file.extend((word as u16).to_le_bytes());
    }
    file.extend(programs);
    file.extend(body);
    file.extend(names);
    file.extend(sections);
    file
}
