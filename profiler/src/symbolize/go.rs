//! Names and lines from `.gopclntab`, which Go's runtime needs and `strip`
//! leaves: what there is of a stripped Go executable.
//!
//! It names the function that an address belongs to and the line of the
//! instruction. Where another function is inlined there, the line is that
//! one's, in its file: so `go tool addr2line` has it too.

use std::{fs::File, time::Duration};

use super::{
    elf::{Elf, Section},
    frames::{self, RawFrame},
    isolate::{self, IsolateError, Limits},
};
use crate::elf::go::GoTable;

/// As it is shown among the sources of symbols.
pub const SOURCE: &str = "gopclntab";
/// Kubernetes' largest is some 30 MB.
const MAX_TABLE: u64 = 256 << 20;
/// A function's lines are found by going through them, however many a damaged
/// table makes of them.
const LIMITS: Limits = Limits {
    time: Duration::from_secs(10),
    memory: 512 << 20,
    output: 64 << 20,
};

/// The section that has the table. Position-independent executables have it
/// among what is relocated.
pub fn table<'a>(elf: &'a Elf<'_, File>) -> Option<&'a Section> {
    [".gopclntab", ".data.rel.ro.gopclntab"]
        .iter()
        .find_map(|name| elf.section(name))
        .filter(|section| section.has_bytes())
}

/// The function, file and line of each address.
pub fn look_up(
    elf: &Elf<'_, File>,
    table: &Section,
    addresses: &[u64],
) -> Result<Vec<Option<RawFrame>>, IsolateError> {
    let output = isolate::run(LIMITS, || {
        frames::encode(&read(elf, table, addresses).unwrap_or_default())
    })?;
    let lists = frames::decode(&output, addresses.len())
        .ok_or_else(|| IsolateError::Died("it is no table that can be read".into()))?;
    Ok(lists
        .into_iter()
        .map(|list| list.into_iter().next())
        .collect())
}

/// `None` when there is no table that can be read.
fn read(elf: &Elf<'_, File>, section: &Section, addresses: &[u64]) -> Option<Vec<Vec<RawFrame>>> {
    let data = elf.read(section, MAX_TABLE, SOURCE).ok()?;
    let text = elf.section(".text").and_then(|text| {
        let end = text.address.checked_add(text.size)?;
        Some(text.address..end)
    });
    let table = GoTable::parse(&data, text)?;
    let found = addresses
        .iter()
        .map(|&address| frame(&table, address).into_iter().collect());
    Some(found.collect())
}

fn frame(table: &GoTable, address: u64) -> Option<RawFrame> {
    let function = table.find(address)?;
    let (file, line) = table.line(&function, address).unwrap_or_default();
    // The prologue belongs to the line of the declaration.
    let definition = table.line(&function, function.start);
    Some(RawFrame {
        name: function.name().into_owned().into_bytes(),
        file: file.into_owned(),
        line,
        column: 0,
        definition_line: definition.map_or(0, |(_, line)| line),
    })
}
