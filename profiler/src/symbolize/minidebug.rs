//! MiniDebugInfo: `.gnu_debugdata`, an xz-compressed ELF file with the symbol
//! table of a stripped one, as Fedora and its kin ship (GDB manual,
//! "Debugging information in a special section").

use std::{fs::File, time::Duration};

use super::{
    elf::{Elf, SHT_SYMTAB},
    frames::{self, RawFrame},
    isolate::{self, IsolateError, Limits},
    symbols,
};

pub const SECTION: &str = ".gnu_debugdata";
/// The largest in Fedora are some MB.
const MAX_COMPRESSED: u64 = 64 << 20;
/// xz packs zeroes seven thousand to one, and the decoder has no bound.
const LIMITS: Limits = Limits {
    time: Duration::from_secs(10),
    memory: 512 << 20,
    output: 64 << 20,
};

/// The name of each address, empty where there is none.
pub fn look_up(
    elf: &Elf<'_, File>,
    addresses: &[u64],
) -> Result<Vec<Option<Vec<u8>>>, IsolateError> {
    let output = isolate::run(LIMITS, || {
        let names = names(elf, addresses).unwrap_or_default();
        frames::encode(&names)
    })?;
    let lists = frames::decode(&output, addresses.len()).ok_or_else(|| {
        IsolateError::Died(format!("{SECTION} has no symbol table that can be read"))
    })?;
    Ok(lists
        .into_iter()
        .map(|list| list.into_iter().next().map(|frame| frame.name))
        .collect())
}

/// `None` when there is no table in it.
fn names(elf: &Elf<'_, File>, addresses: &[u64]) -> Option<Vec<Vec<RawFrame>>> {
    let section = elf.section(SECTION)?;
    let packed = elf.read(section, MAX_COMPRESSED, SECTION).ok()?;
    let mut data = Vec::new();
    lzma_rs::xz_decompress(&mut packed.as_slice(), &mut data).ok()?;
    let inner = Elf::parse(data.as_slice()).ok()?;
    let table = inner.section_of(SHT_SYMTAB)?;
    let found = symbols::look_up(&inner, table, addresses, false).ok()?;
    Some(
        found
            .into_iter()
            .map(|name| {
                let frame = |name| RawFrame {
                    name,
                    ..RawFrame::default()
                };
                name.map(frame).into_iter().collect()
            })
            .collect(),
    )
}
