//! The entries of `.eh_frame` and `.debug_frame`: who describes which
//! addresses, and with which instructions.
//!
//! DWARF 5 section 6.4.1; LSB 5.0 core section 10.6.1 for what `.eh_frame`
//! does differently.

use rustc_hash::FxHashMap;

use super::interpreter::{Program, State};
use crate::elf::reader::{Bases, Reader, encoding};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavour {
    EhFrame,
    DebugFrame,
}

/// Common information entry: what several functions begin with.
#[derive(Clone, Debug)]
pub(super) struct Cie {
    pub code_alignment: u64,
    pub data_alignment: i64,
    pub encoding: u8,
    segment_size: u8,
    augmented: bool,
    pub signal: bool,
    /// After its instructions, or `None` if they or the entry are beyond us.
    pub initial: Option<State>,
}

/// Frame description entry: one function, or one part of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fde {
    pub start: u64,
    pub end: u64,
    /// Index in [`Frames::cies`].
    pub cie: u32,
    /// Where its instructions are in the section.
    pub first: u32,
    pub last: u32,
}

pub(super) struct Frames<'a> {
    pub data: &'a [u8],
    pub bases: Bases,
    pub cies: Vec<Cie>,
    pub fdes: Vec<Fde>,
    /// Entries that could not be read.
    pub malformed: usize,
}

struct Entry {
    /// Of its identifier field.
    position: usize,
    id: u64,
    body: usize,
    end: usize,
}

impl<'a> Frames<'a> {
    /// `open_ended`: stop at the terminator, since the section's size is not
    /// known. Otherwise go on after one: linkers that put the terminator of
    /// `crtend.o` in the middle leave functions behind it, and `.eh_frame_hdr`
    /// lists them.
    pub fn read(data: &'a [u8], bases: Bases, flavour: Flavour, open_ended: bool) -> Self {
        // The positions kept are of 32 bits.
        let data = data.get(..u32::MAX as usize).unwrap_or(data);
        let mut frames = Self {
            data,
            bases,
            cies: Vec::new(),
            fdes: Vec::new(),
            malformed: 0,
        };
        // The common entries first: a `.debug_frame` may hold them after those
        // that refer to them. Only what stands where an entry starts is taken
        // for one, so the work is linear in the section's size.
        let mut known = FxHashMap::default();
        let mut end = 0;
        for (start, entry) in entries(data, flavour, open_ended) {
            end = entry.end;
            if entry.is_common(flavour) {
                match frames.cie(&entry, flavour) {
                    Some(cie) => {
                        known.insert(start as u64, frames.cies.len() as u32);
                        frames.cies.push(cie);
                    }
                    None => frames.malformed += 1,
                }
            }
        }
        if !open_ended && data.len().saturating_sub(end) > 8 {
            frames.malformed += 1;
        }
        frames.fdes.reserve(data.len() / 48);
        for (_, entry) in entries(data, flavour, open_ended) {
            if entry.is_common(flavour) {
                continue;
            }
            let pointer = match flavour {
                Flavour::EhFrame => (entry.position as u64).wrapping_sub(entry.id),
                Flavour::DebugFrame => entry.id,
            };
            match known.get(&pointer).and_then(|&cie| frames.fde(&entry, cie)) {
                // What the linker discarded is left with the address 0.
                Some(fde) if fde.start == 0 || fde.start >= fde.end => {}
                Some(fde) => frames.fdes.push(fde),
                None => frames.malformed += 1,
            }
        }
        frames
    }

    fn cie(&self, entry: &Entry, flavour: Flavour) -> Option<Cie> {
        let mut reader = Reader::at(self.data, entry.body).until(entry.end)?;
        let version = reader.u8()?;
        if !matches!(version, 1 | 3 | 4) {
            return None;
        }
        let augmentation = reader.string()?;
        // GCC 2 put a pointer to its own exception table here.
        if augmentation == b"eh" {
            reader.skip(8)?;
        }
        let mut segment_size = 0;
        if version == 4 && flavour == Flavour::DebugFrame {
            if reader.u8()? != 8 {
                return None;
            }
            segment_size = reader.u8()?;
        }
        let mut cie = Cie {
            code_alignment: reader.uleb128()?,
            data_alignment: reader.sleb128()?,
            encoding: encoding::ABSOLUTE,
            segment_size,
            augmented: false,
            signal: false,
            initial: None,
        };
        let return_register = match version {
            1 => u64::from(reader.u8()?),
            _ => reader.uleb128()?,
        };
        if let Some((b'z', letters)) = augmentation.split_first() {
            cie.augmented = true;
            let size = usize::try_from(reader.uleb128()?).ok()?;
            let after = reader.position().checked_add(size)?;
            let mut fields = reader.until(after)?;
            for letter in letters {
                match letter {
                    b'R' => cie.encoding = fields.u8()?,
                    b'L' => {
                        fields.u8()?;
                    }
                    b'P' => {
                        let encoding = fields.u8()?;
                        fields.encoded_value(encoding)?;
                    }
                    b'S' => cie.signal = true,
                    b'B' => {}
                    // By the size, unknown data can be skipped.
                    _ => break,
                }
            }
            reader.skip(size as u64)?;
        } else if !matches!(augmentation, b"" | b"eh") {
            return None;
        }
        if return_register == u64::from(profiler_ebpf::register::RETURN_ADDRESS) {
            let program = Program {
                cie: &cie,
                bases: &self.bases,
                reader: Reader::at(self.data, reader.position()).until(entry.end)?,
            };
            cie.initial = program.initial();
        }
        Some(cie)
    }

    fn fde(&self, entry: &Entry, index: u32) -> Option<Fde> {
        let cie = self.cies.get(index as usize)?;
        let mut reader = Reader::at(self.data, entry.body).until(entry.end)?;
        reader.skip(u64::from(cie.segment_size))?;
        let stored = reader.clone().encoded_value(cie.encoding)?;
        let start = reader.encoded_pointer(cie.encoding, &self.bases)?;
        let length = reader.encoded_value(cie.encoding)?;
        if cie.augmented {
            let size = reader.uleb128()?;
            reader.skip(size)?;
        }
        Some(Fde {
            start: if stored == 0 { 0 } else { start },
            end: start.saturating_add(length),
            cie: index,
            first: reader.position() as u32,
            last: entry.end as u32,
        })
    }
}

impl Entry {
    fn is_common(&self, flavour: Flavour) -> bool {
        match flavour {
            Flavour::EhFrame => self.id == 0,
            Flavour::DebugFrame => self.id == u64::MAX,
        }
    }
}

/// Entries with the position they start at, up to the first that does not fit.
fn entries(
    data: &[u8],
    flavour: Flavour,
    open_ended: bool,
) -> impl Iterator<Item = (usize, Entry)> + '_ {
    let mut position = 0;
    std::iter::from_fn(move || {
        loop {
            let start = position;
            let mut reader = Reader::at(data, start);
            let (length, wide) = match reader.u32()? {
                0 if open_ended => return None,
                0 => {
                    position = reader.position();
                    continue;
                }
                u32::MAX => (reader.u64()?, true),
                length => (u64::from(length), false),
            };
            let id_position = reader.position();
            let end = id_position.checked_add(usize::try_from(length).ok()?)?;
            let mut reader = reader.until(end)?;
            position = end;
            let id = match (flavour, wide) {
                (Flavour::EhFrame, _) => reader.u32().map(u64::from),
                (Flavour::DebugFrame, true) => reader.u64(),
                (Flavour::DebugFrame, false) => reader.u32().map(|id| match id {
                    u32::MAX => u64::MAX,
                    id => u64::from(id),
                }),
            };
            // Too short to be one: its length still leads to the next.
            let Some(id) = id else { continue };
            return Some((
                start,
                Entry {
                    position: id_position,
                    id,
                    body: reader.position(),
                    end,
                },
            ));
        }
    })
}
