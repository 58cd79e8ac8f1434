//! What tells one build of an executable from another, and where its debug
//! information may be.

use super::reader::Reader;
use super::{Elf, PT_DYNAMIC, PT_INTERP, PT_NOTE};

const NT_GNU_BUILD_ID: u32 = 3;
const MAX_BUILD_ID: usize = 64;
const MAX_PATH: usize = 4096;
const DT_FLAGS_1: u64 = 0x6fff_fffb;
const DF_1_PIE: u64 = 0x0800_0000;

impl<'a> Elf<'a> {
    pub fn build_id(&self) -> Option<&'a [u8]> {
        self.headers
            .iter()
            .filter(|header| header.kind == PT_NOTE)
            .filter_map(|header| self.slice(header.segment.offset, header.segment.file_size))
            .find_map(build_id)
            .or_else(|| match self.section(".note.gnu.build-id")?.data {
                std::borrow::Cow::Borrowed(data) => build_id(data),
                std::borrow::Cow::Owned(_) => None,
            })
    }

    /// Name of the file with the debug information and its CRC 32, from
    /// `.gnu_debuglink` (GDB manual, "Debugging Information in Separate
    /// Files").
    pub fn debug_link(&self) -> Option<(String, u32)> {
        let section = self.section(".gnu_debuglink")?;
        let mut reader = Reader::new(&section.data);
        let name = file_name(reader.string()?)?;
        reader.skip((reader.position().next_multiple_of(4) - reader.position()) as u64)?;
        Some((name, reader.u32()?))
    }

    /// Path of the shared supplementary file that `dwz` made, and its build id.
    pub fn debug_alt_link(&self) -> Option<(String, Vec<u8>)> {
        let section = self.section(".gnu_debugaltlink")?;
        let mut reader = Reader::new(&section.data);
        let name = path(reader.string()?)?;
        let rest = section.data.get(reader.position()..)?;
        (rest.len() <= MAX_BUILD_ID).then(|| (name, rest.to_vec()))
    }

    pub fn interpreter(&self) -> Option<String> {
        let header = self.program_header(PT_INTERP)?;
        path(Reader::new(self.slice(header.offset, header.file_size)?).string()?)
    }

    /// The linker says so in `DT_FLAGS_1`; it also holds for static-pie files,
    /// which have no interpreter.
    pub fn is_pie(&self) -> bool {
        let Some(dynamic) = self
            .program_header(PT_DYNAMIC)
            .and_then(|header| self.slice(header.offset, header.file_size))
        else {
            return false;
        };
        let mut reader = Reader::new(dynamic);
        while let (Some(tag), Some(value)) = (reader.u64(), reader.u64()) {
            match tag {
                0 => break,
                DT_FLAGS_1 => return value & DF_1_PIE != 0,
                _ => {}
            }
        }
        false
    }
}

fn build_id(mut notes: &[u8]) -> Option<&[u8]> {
    loop {
        let mut reader = Reader::new(notes);
        let name_size = reader.u32()? as usize;
        let description_size = reader.u32()? as usize;
        let kind = reader.u32()?;
        let name = reader.bytes(name_size)?;
        reader.skip((name_size.checked_next_multiple_of(4)? - name_size) as u64)?;
        let description = reader.bytes(description_size)?;
        if kind == NT_GNU_BUILD_ID
            && name == b"GNU\0"
            && (1..=MAX_BUILD_ID).contains(&description_size)
        {
            return Some(description);
        }
        notes = notes.get(reader.position().checked_next_multiple_of(4)?..)?;
    }
}

fn path(bytes: &[u8]) -> Option<String> {
    if bytes.is_empty() || bytes.len() > MAX_PATH {
        return None;
    }
    String::from_utf8(bytes.to_vec()).ok()
}

/// A name alone: a path here would lead the reader out of the directories
/// that debug information is looked for in.
fn file_name(bytes: &[u8]) -> Option<String> {
    path(bytes).filter(|name| !name.contains('/') && name != "." && name != "..")
}
