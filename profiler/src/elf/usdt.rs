//! Statically defined probes: `.note.stapsdt`, as SystemTap's `sys/sdt.h` version 3
//! writes it (SystemTap wiki, "UserSpaceProbeImplementation").

use super::{EXECUTE, Elf, reader::Reader};

const NT_STAPSDT: u32 = 3;
/// Where the linker left this section tells how far prelink moved the file.
const BASE: &str = ".stapsdt.base";
const NOTES: &str = ".note.stapsdt";
/// The largest programs have some thousand; more is a lie.
const MAX_PROBES: usize = 1 << 16;
const MAX_NAME: usize = 256;

/// A place in the code that says that it was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    pub provider: String,
    pub name: String,
    /// Of its instruction, a `nop`.
    pub address: u64,
    /// Of a counter of those who watch; 0: there is none.
    pub semaphore: u64,
    /// Where its arguments are: see [`Argument::parse`].
    pub arguments: String,
}

impl Elf<'_> {
    /// All probes. A damaged note ends the list.
    pub fn probes(&self) -> Vec<Probe> {
        let mut found = Vec::new();
        let Some(section) = self.section(NOTES) else {
            return found;
        };
        // Without it nothing can have moved.
        let base = self.section(BASE).map(|section| section.address);
        let mut reader = Reader::new(&section.data);
        while found.len() < MAX_PROBES
            && let Some(probe) = note(&mut reader, base)
        {
            found.extend(probe);
        }
        found
    }

    /// Where an address of code lies in the file.
    pub fn code_offset(&self, address: u64) -> Option<u64> {
        self.segments()
            .iter()
            .filter(|segment| segment.flags & EXECUTE != 0)
            .find_map(|segment| {
                let inside = address.checked_sub(segment.address)?;
                (inside < segment.file_size).then(|| segment.offset.checked_add(inside))?
            })
    }
}

/// The next note: `None` at the end, `Some(None)` if it is no probe.
fn note(reader: &mut Reader<'_>, base: Option<u64>) -> Option<Option<Probe>> {
    let name_size = reader.u32()?;
    let size = reader.u32()?;
    let kind = reader.u32()?;
    let owner = padded(reader, name_size)?;
    let description = padded(reader, size)?;
    if kind != NT_STAPSDT || owner != b"stapsdt\0" {
        return Some(None);
    }
    Some(probe(description, base))
}

/// What stands there, with which its padding to four bytes is skipped: the last of
/// the section may have none.
fn padded<'a>(reader: &mut Reader<'a>, size: u32) -> Option<&'a [u8]> {
    let bytes = reader.bytes(usize::try_from(size).ok()?)?;
    let padding = size.checked_next_multiple_of(4)? - size;
    let _ = reader.skip(padding.into());
    Some(bytes)
}

fn probe(description: &[u8], base: Option<u64>) -> Option<Probe> {
    let mut reader = Reader::new(description);
    let address = reader.u64()?;
    let linked_base = reader.u64()?;
    let semaphore = reader.u64()?;
    let moved = base.map_or(0, |base| base.wrapping_sub(linked_base));
    Some(Probe {
        provider: text(reader.string()?)?,
        name: text(reader.string()?)?,
        address: address.wrapping_add(moved),
        semaphore: match semaphore {
            0 => 0,
            semaphore => semaphore.wrapping_add(moved),
        },
        arguments: text(reader.string()?)?,
    })
}

fn text(bytes: &[u8]) -> Option<String> {
    if bytes.len() > MAX_NAME {
        return None;
    }
    String::from_utf8(bytes.to_vec()).ok()
}

/// Where the value of an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    Constant(i64),
    /// A place in `struct pt_regs`.
    Register(u32),
    /// In memory, at the register and so far from it.
    Memory {
        register: u32,
        offset: i64,
    },
}

/// Names of the whole registers, by their place in `struct pt_regs`,
/// arch/x86/include/asm/ptrace.h.
const REGISTERS: [(&str, u32); 16] = [
    ("r15", 0),
    ("r14", 1),
    ("r13", 2),
    ("r12", 3),
    ("rbp", 4),
    ("rbx", 5),
    ("r11", 6),
    ("r10", 7),
    ("r9", 8),
    ("r8", 9),
    ("rax", 10),
    ("rcx", 11),
    ("rdx", 12),
    ("rsi", 13),
    ("rdi", 14),
    ("rsp", 19),
];

impl Argument {
    /// The argument `index` of a probe that is as wide as a pointer: `8@%rdi`,
    /// `8@-24(%rbp)`, `-8@$5`. `None` for all others, and for what compilers write
    /// only of variables that are no pointers, like `4@symbol(%rip)`.
    pub fn pointer(arguments: &str, index: usize) -> Option<Self> {
        let (size, operand) = arguments.split_whitespace().nth(index)?.split_once('@')?;
        if size.trim_start_matches('-') != "8" {
            return None;
        }
        Self::parse(operand)
    }

    fn parse(operand: &str) -> Option<Self> {
        if let Some(constant) = operand.strip_prefix('$') {
            return constant.parse().ok().map(Self::Constant);
        }
        if let Some(name) = operand.strip_prefix('%') {
            return register(name).map(Self::Register);
        }
        let (offset, base) = operand.strip_suffix(')')?.split_once("(%")?;
        let offset = if offset.is_empty() {
            0
        } else {
            offset.parse().ok()?
        };
        register(base).map(|register| Self::Memory { register, offset })
    }
}

fn register(name: &str) -> Option<u32> {
    REGISTERS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|&(_, place)| place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::{
        fixture::{Part, image},
        kind,
    };

    fn note_of(kind: u32, owner: &[u8], description: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        for word in [owner.len() as u32, description.len() as u32, kind] {
            note.extend(word.to_le_bytes());
        }
        for part in [owner, description] {
            note.extend(part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

    fn description(address: u64, semaphore: u64, texts: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [address, 0x9000, semaphore] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(texts.as_bytes());
        bytes
    }

    fn file(notes: &[u8], base: u64) -> Vec<u8> {
        let parts = [
            (".text", 0x1000, true, &[0x90; 64][..]),
            (".stapsdt.base", base, false, &[0]),
            (".note.stapsdt", 0, false, notes),
        ];
        let parts = parts.map(|(name, address, executable, data)| Part {
            name,
            address,
            executable,
            data,
        });
        image(kind::SHARED, 0, &parts)
    }

    fn probes(notes: &[u8]) -> Vec<Probe> {
        Elf::parse(&file(notes, 0x9000))
            .expect("an ELF file")
            .probes()
    }

    #[test]
    fn notes_are_read_as_sdt_h_writes_them() {
        let texts = "postgresql\0query__parse__start\08@%rdi -4@$5\0";
        let notes = [
            note_of(3, b"stapsdt\0", &description(0x1010, 0x5000, texts)),
            note_of(1, b"GNU\0", &[0; 16]),
            note_of(3, b"stapsdt\0", &description(0x1020, 0, "p\0q\0\0")),
        ]
        .concat();
        let first = Probe {
            provider: "postgresql".to_owned(),
            name: "query__parse__start".to_owned(),
            address: 0x1010,
            semaphore: 0x5000,
            arguments: "8@%rdi -4@$5".to_owned(),
        };
        let found = probes(&notes);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0], first);
        assert_eq!((found[1].name.as_str(), found[1].semaphore), ("q", 0));
        // Prelink moved the file by 0x100.
        let moved = file(&notes, 0x9100);
        let moved = Elf::parse(&moved).expect("an ELF file");
        let probe = &moved.probes()[0];
        assert_eq!((probe.address, probe.semaphore), (0x1110, 0x5100));
        // Behind the header and three program headers, the next multiple of 16.
        assert_eq!(moved.code_offset(0x1010), Some(240 + 0x10));
        assert_eq!(moved.code_offset(0x1040), None);
        assert_eq!(moved.code_offset(0x9100), None);
    }

    #[test]
    fn arguments_are_where_they_are_said_to_be() {
        use Argument::{Constant, Memory, Register};
        let memory = |register, offset| Some(Memory { register, offset });
        for (arguments, expected) in [
            ("8@%rsi", Some(Register(13))),
            ("8@%rdi -4@%eax", Some(Register(14))),
            ("8@-24(%rbp)", memory(4, -24)),
            ("8@(%r12)", memory(3, 0)),
            ("-8@$-5", Some(Constant(-5))),
            ("4@%eax", None),
            ("8@%eax", None),
            ("8@40+CheckpointStats(%rip)", None),
            ("8@8(%rax,%rbx,4)", None),
            ("8@", None),
            ("@%rsi", None),
            ("", None),
            ("8@99999999999999999999(%rbp)", None),
        ] {
            assert_eq!(Argument::pointer(arguments, 0), expected, "{arguments}");
        }
        assert_eq!(Argument::pointer("4@%eax 8@%rsi", 1), Some(Register(13)));
        assert_eq!(Argument::pointer("4@%eax", 1), None);
    }

    #[test]
    fn lying_notes_are_harmless() {
        let texts = "postgresql\0query__start\08@%rdi\0";
        let whole = note_of(3, b"stapsdt\0", &description(0x1010, 0, texts));
        for length in 0..whole.len() {
            // The padding at the very end may be missing.
            let found = probes(&whole[..length]).len();
            assert!(found == 0 || whole.len() - length < 4, "{length}");
        }
        // Each byte anything: sizes beyond the section, texts without an end.
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut notes = whole.clone();
                notes[at] = value;
                for probe in probes(&notes) {
                    assert!(probe.name.len() <= MAX_NAME);
                }
            }
        }
        // No end of a name, names that are no text, and very long ones.
        for texts in ["postgresql", "a\0b", "\0", ""] {
            let note = note_of(3, b"stapsdt\0", &description(1, 0, texts));
            assert!(probes(&note).is_empty());
        }
        let mut wild = description(1, 0, "a\0");
        wild.extend(b"\xff\xfe\0\0");
        assert!(probes(&note_of(3, b"stapsdt\0", &wild)).is_empty());
        let long = format!("a\0{}\0\0", "b".repeat(MAX_NAME + 1));
        assert!(probes(&note_of(3, b"stapsdt\0", &description(1, 0, &long))).is_empty());
        // Addresses that overflow.
        let note = note_of(
            3,
            b"stapsdt\0",
            &description(u64::MAX, u64::MAX, "a\0b\0\0"),
        );
        let data = file(&note, u64::MAX);
        let elf = Elf::parse(&data).expect("an ELF file");
        for probe in elf.probes() {
            assert_eq!(elf.code_offset(probe.address), None);
        }
        assert!(
            Elf::parse(&image(kind::SHARED, 0, &[]))
                .expect("it")
                .probes()
                .is_empty()
        );
    }
}
