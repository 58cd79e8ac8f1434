//! Lines and inlined functions, from DWARF.
//!
//! addr2line and gimli do the work, in a child process (see `isolate`).
//! blazesym, which builds on the same gimli, is not used: it does not give
//! the line of a definition, does not find names that `dwz` moved to another
//! file, opens the paths that a file's debug links name on the host, and
//! fails the whole batch when one unit is damaged.

use std::{borrow::Cow, cell::OnceCell, fs::File, sync::Arc, time::Duration};

use addr2line::Context;
use gimli::{AttributeValue, DebugInfoOffset, EndianSlice, NativeEndian, SectionId};

use super::{
    elf::{Elf, SHF_COMPRESSED, Section, u32_at, u64_at},
    frames::{self, RawFrame},
    isolate::{self, IsolateError, Limits},
};

/// Larger `.debug_info` is not read: its unit headers alone take seconds.
pub const MAX_INFO: u64 = 1 << 30;
/// Inlining nests some dozens deep at most.
const MAX_FRAMES: usize = 64;
const LIMITS: Limits = Limits {
    time: Duration::from_secs(20),
    // On top of the mapped files; see `look_up`.
    memory: 1 << 30,
    output: 256 << 20,
};
/// Of one compressed section.
const MAX_DECOMPRESSED: u64 = 512 << 20;

type R<'a> = EndianSlice<'a, NativeEndian>;

/// Which frames are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// The line of the instruction, no function.
    Line,
    /// The function too, and what is inlined into it.
    Inlined,
}

/// Whether there is any DWARF to read lines from.
pub fn info<'a>(elf: &'a Elf<'_, File>) -> Option<&'a Section> {
    let section = elf.section(".debug_info")?;
    (section.has_bytes() && elf.section(".debug_line").is_some_and(Section::has_bytes))
        .then_some(section)
}

/// The frames of each address, innermost first; empty where the DWARF does
/// not cover it. `alternate` is the file that `.gnu_debugaltlink` names.
pub fn look_up(
    elf: &Elf<'_, File>,
    alternate: Option<&Elf<'_, File>>,
    addresses: &[u64],
    detail: Detail,
) -> Result<Vec<Vec<RawFrame>>, IsolateError> {
    let size = |elf: &Elf<'_, File>| elf.bytes.metadata().map_or(0, |metadata| metadata.len());
    let limits = Limits {
        memory: LIMITS.memory + size(elf) + alternate.map_or(0, size),
        ..LIMITS
    };
    let output = isolate::run(limits, || {
        frames::encode(&read(elf, alternate, addresses, detail))
    })?;
    frames::decode(&output, addresses.len())
        .ok_or_else(|| IsolateError::Died("its answer is cut short".into()))
}

fn read(
    elf: &Elf<'_, File>,
    alternate: Option<&Elf<'_, File>>,
    addresses: &[u64],
    detail: Detail,
) -> Vec<Vec<RawFrame>> {
    let map = Map::new(elf.bytes);
    let sections = Sections::load(elf, &map);
    let alternate_map = alternate.map(|elf| Map::new(elf.bytes));
    let alternate = alternate
        .zip(alternate_map.as_ref())
        .map(|(elf, map)| Sections::load(elf, map));
    let mut dwarf = sections.dwarf();
    if let Some(alternate) = &alternate {
        dwarf.set_sup(alternate.dwarf());
    }
    dwarf.populate_abbreviations_cache(gimli::AbbreviationsCacheStrategy::Duplicates);
    let dwarf = Arc::new(dwarf);
    let Ok(context) = Context::from_arc_dwarf(Arc::clone(&dwarf)) else {
        return vec![Vec::new(); addresses.len()];
    };
    let definitions = Definitions::new(&dwarf);
    addresses
        .iter()
        .map(|&address| match detail {
            // addr2line computes the address behind it.
            _ if address == u64::MAX => Vec::new(),
            Detail::Line => line(&context, address),
            Detail::Inlined => inlined(&context, &definitions, address),
        })
        .collect()
}

fn line(context: &Context<R<'_>>, address: u64) -> Vec<RawFrame> {
    match context.find_location(address) {
        Ok(Some(location)) => vec![frame(Some(location))],
        _ => Vec::new(),
    }
}

fn frame(location: Option<addr2line::Location<'_>>) -> RawFrame {
    location.map_or_else(RawFrame::default, |location| RawFrame {
        file: location.file.unwrap_or_default().to_owned(),
        line: location.line.unwrap_or(0),
        column: location.column.unwrap_or(0),
        ..RawFrame::default()
    })
}

fn inlined<'d>(
    context: &Context<R<'d>>,
    definitions: &Definitions<'_, 'd>,
    address: u64,
) -> Vec<RawFrame> {
    let mut frames = Vec::new();
    // Split DWARF (.dwo) is not followed: what the skeleton has is used.
    let Ok(mut found) = context.find_frames(address).skip_all_loads() else {
        return line(context, address);
    };
    let unit = context.find_dwarf_and_unit(address).skip_all_loads();
    while let Ok(Some(next)) = found.next() {
        if frames.len() == MAX_FRAMES {
            break;
        }
        let mut raw = frame(next.location);
        if let Some(function) = &next.function {
            raw.name = function.name.slice().to_vec();
        }
        raw.definition_line = unit
            .zip(next.dw_die_offset)
            .and_then(|(unit, offset)| {
                definitions.line(offset.to_debug_info_offset(&unit.header)?, 16)
            })
            .unwrap_or(0);
        frames.push(raw);
    }
    frames
}

/// Finds the lines that functions are defined in.
struct Definitions<'a, 'd> {
    dwarf: &'a gimli::Dwarf<R<'d>>,
    /// By their place in `.debug_info`.
    headers: OnceCell<Vec<gimli::UnitHeader<R<'d>>>>,
}

impl<'a, 'd> Definitions<'a, 'd> {
    fn new(dwarf: &'a gimli::Dwarf<R<'d>>) -> Self {
        Self {
            dwarf,
            headers: OnceCell::new(),
        }
    }

    fn header(&self, at: DebugInfoOffset) -> Option<&gimli::UnitHeader<R<'d>>> {
        let headers = self.headers.get_or_init(|| {
            let mut units = self.dwarf.units();
            std::iter::from_fn(|| units.next().ok().flatten()).collect()
        });
        let next = headers
            .partition_point(|header| header.debug_info_offset().is_some_and(|start| start <= at));
        headers.get(next.checked_sub(1)?)
    }

    /// `DW_AT_decl_line` of a function, or of what it is an instance of.
    fn line(&self, at: DebugInfoOffset, depth: u32) -> Option<u32> {
        let header = self.header(at)?;
        let abbreviations = self.dwarf.abbreviations(header).ok()?;
        let entry = header
            .entry(&abbreviations, at.to_unit_offset(header)?)
            .ok()?;
        if let Some(line) = entry
            .attr(gimli::DW_AT_decl_line)
            .and_then(|attribute| attribute.udata_value())
        {
            return u32::try_from(line).ok();
        }
        let depth = depth.checked_sub(1)?;
        let origin = [gimli::DW_AT_abstract_origin, gimli::DW_AT_specification]
            .into_iter()
            .find_map(|name| entry.attr_value(name))?;
        match origin {
            AttributeValue::UnitRef(offset) => {
                self.line(offset.to_debug_info_offset(header)?, depth)
            }
            AttributeValue::DebugInfoRef(offset) => self.line(offset, depth),
            _ => None,
        }
    }
}

/// A whole file in memory. Only for a child process: see `isolate`.
struct Map<'a>(&'a [u8]);

impl Map<'_> {
    fn new(file: &File) -> Self {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        let length = file
            .metadata()
            .map_or(0, |metadata| metadata.len() as usize);
        if length == 0 {
            return Self(&[]);
        }
        // SAFETY: a new private mapping, never unmapped: it lasts as long as
        // the process. Another process may change the bytes under it, which
        // this memory model does not allow and mapping files always risks;
        // what reads them bounds-checks every access, and the process holds
        // nothing but the answer about this file.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ,
                MapFlags::PRIVATE,
                file,
                0,
            )
        };
        start.map_or(Self(&[]), |start| {
            // SAFETY: the mapping has this length.
            Self(unsafe { std::slice::from_raw_parts(start.cast(), length) })
        })
    }
}

struct Sections<'a>(gimli::DwarfSections<Cow<'a, [u8]>>);

impl<'a> Sections<'a> {
    fn load(elf: &Elf<'_, File>, map: &Map<'a>) -> Self {
        let load = |id: SectionId| -> Result<Cow<'a, [u8]>, std::convert::Infallible> {
            // Where variables are is a seventh of libc's, to be decompressed for nobody.
            let wanted = !matches!(id, SectionId::DebugLoc | SectionId::DebugLocLists);
            Ok(wanted
                .then(|| elf.section(id.name()))
                .flatten()
                .and_then(|section| contents(section, map))
                .unwrap_or_default())
        };
        let Ok(sections) = gimli::DwarfSections::load(load);
        Self(sections)
    }

    fn dwarf(&self) -> gimli::Dwarf<R<'_>> {
        self.0
            .borrow(|section| EndianSlice::new(section, NativeEndian))
    }
}

/// Decompressed where `SHF_COMPRESSED` says that it must be: type, reserved,
/// size, alignment, then the data (gABI, "Section Compression").
fn contents<'a>(section: &Section, map: &Map<'a>) -> Option<Cow<'a, [u8]>> {
    use object::{CompressedData, CompressionFormat};
    const HEADER: usize = 24;
    if !section.has_bytes() {
        return None;
    }
    let start = usize::try_from(section.offset).ok()?;
    let data = map
        .0
        .get(start..start.checked_add(usize::try_from(section.size).ok()?)?)?;
    if section.flags & SHF_COMPRESSED == 0 {
        return Some(Cow::Borrowed(data));
    }
    let format = match u32_at(data, 0)? {
        1 => CompressionFormat::Zlib,
        2 => CompressionFormat::Zstandard,
        _ => return None,
    };
    let uncompressed_size = u64_at(data, 8)?;
    if uncompressed_size > MAX_DECOMPRESSED {
        return None;
    }
    CompressedData {
        format,
        data: data.get(HEADER..)?,
        uncompressed_size,
    }
    .decompress()
    .ok()
}
