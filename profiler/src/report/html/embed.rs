//! The recording as the page carries it, in two inert data blocks.
//!
//! The *facts* (when and where, usage of containers, quality, cost, notes) are
//! JSON: small, and shown even where the rest cannot be unpacked. The *tables*
//! (names, stacks, samples) are columns of variable-length integers, in gzip,
//! in base64. Columns of small differences are what gzip is good at, and
//! typed arrays read from them cost the page a tenth of parsing JSON.

use std::io::{self, Write};

use base64::{prelude::BASE64_STANDARD, write::EncoderWriter};
use flate2::{Compression, write::GzEncoder};
use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::{
    profile::{About, Container, Cost, FrameKind, Note, Quality, Recording, Source},
    report::{
        Selection,
        disk::{Disk, disk},
        findings::{FindingRow, findings},
        gil::{Gil, gil},
        memory::{MemoryReport, memory},
        network::{NetworkReport, network},
        probes::{self, ProbePage},
        statements::{StatementsReport, statements},
        syscalls::{SyscallReport, syscalls},
        waiting::{Waiting, waiting},
    },
};

/// Version of the tables' layout; `data.js` checks it.
const LAYOUT: u64 = 1;

#[derive(Serialize)]
struct Facts<'a> {
    about: &'a About,
    containers: &'a [Container],
    quality: &'a Quality,
    cost: &'a Cost,
    notes: &'a [Note],
    sources: Vec<SourceFact>,
    /// Place in `sources` of the one that is shown first.
    source: u64,
    gil: Gil<'a>,
    waiting: Waiting<'a>,
    syscalls: Option<SyscallReport<'a>>,
    statements: Option<StatementsReport<'a>>,
    memory: Option<MemoryReport<'a>>,
    findings: Vec<FindingRow<'a>>,
    network: Option<NetworkReport<'a>>,
    disk: Disk<'a>,
    probes: Vec<ProbePage<'a>>,
}

#[derive(Serialize)]
struct SourceFact {
    title: &'static str,
    unit: &'static str,
    /// What the weights are, for a sentence.
    measures: &'static str,
    /// What is counted, in the singular.
    event: &'static str,
    /// Places of the sources whose samples it shows.
    parts: Vec<u64>,
}

/// Writes the small part as JSON that is safe inside of a script element.
pub fn facts(recording: &Recording, selection: Selection, out: &mut dyn Write) -> io::Result<()> {
    let facts = Facts {
        about: &recording.about,
        containers: &recording.containers,
        quality: &recording.quality,
        cost: &recording.cost,
        notes: &recording.notes,
        sources: Source::ALL
            .iter()
            .map(|source| SourceFact {
                title: source.title(),
                measures: source.measures(),
                unit: source.unit().name(),
                event: source.event(),
                parts: source.parts().iter().map(|&part| place(part)).collect(),
            })
            .collect(),
        source: place(selection.source),
        gil: gil(recording),
        waiting: waiting(recording),
        syscalls: syscalls(recording),
        statements: statements(recording),
        memory: memory(recording),
        findings: findings(recording),
        network: network(recording),
        disk: disk(recording),
        probes: probes::pages(recording),
    };
    let json = serde_json::to_string(&facts).map_err(io::Error::from)?;
    // `<` occurs in strings alone, where its escape means the same: no end
    // tag and no comment can begin in here.
    out.write_all(json.replace('<', "\\u003c").as_bytes())
}

/// Writes the large part.
pub fn tables(recording: &Recording, out: &mut dyn Write) -> io::Result<()> {
    let base64 = EncoderWriter::new(out, &BASE64_STANDARD);
    let mut gzip = GzEncoder::new(base64, Compression::default());
    gzip.write_all(&columns(recording))?;
    gzip.finish()?.finish()?;
    Ok(())
}

/// The tables as bytes, in the order `data.js` reads them.
fn columns(recording: &Recording) -> Vec<u8> {
    let mut strings = Strings::default();
    let mut body = Columns::default();

    body.column(&recording.modules, |it| strings.id(&it.path));
    body.column(&recording.modules, |it| strings.id(&it.build_id));
    body.column(&recording.modules, |it| strings.id(&it.symbols));

    body.column(&recording.functions, |it| strings.id(&it.name));
    body.column(&recording.functions, |it| kind(it.kind));
    body.column(&recording.functions, |it| option(it.module));
    body.column(&recording.functions, |it| strings.id(&it.file));
    body.column(&recording.functions, |it| it.line.into());

    body.column(&recording.frames, |it| it.function.into());
    body.column(&recording.frames, |it| it.line.into());
    body.column(&recording.frames, |it| it.column.into());
    body.column(&recording.frames, |it| it.inlined.into());

    body.column(&recording.processes, |it| it.pid.into());
    body.column(&recording.processes, |it| strings.id(&it.name));
    body.column(&recording.processes, |it| strings.id(&it.command_line));
    body.column(&recording.processes, |it| it.container.into());

    body.column(&recording.threads, |it| it.tid.into());
    body.column(&recording.threads, |it| strings.id(&it.name));
    body.column(&recording.threads, |it| it.process.into());

    // A caller usually is the node just before: its distance is 1, and 0 is
    // free to say that there is none.
    let mut id = 0;
    body.column(&recording.stacks, |it| {
        let distance = it.caller.map_or(0, |caller| id - u64::from(caller));
        id += 1;
        distance
    });
    body.column(&recording.stacks, |it| it.frame.into());

    body.column(&recording.samples, |it| place(it.source));
    body.column(&recording.samples, |it| it.thread.into());
    body.column(&recording.samples, |it| option(it.stack));
    body.column(&recording.samples, |it| it.weight);
    body.column(&recording.samples, |it| it.count);

    let mut head = Columns::default();
    head.integer(LAYOUT);
    // All text at once, cut by lengths in the unit that JavaScript counts in.
    head.column(&strings.list, |it| it.encode_utf16().count() as u64);
    let text = strings.list.concat();
    head.integer(text.len() as u64);
    head.bytes.extend_from_slice(text.as_bytes());
    head.bytes.append(&mut body.bytes);
    head.bytes
}

/// Zero for none.
fn option(id: Option<u32>) -> u64 {
    id.map_or(0, |id| u64::from(id) + 1)
}

fn place(source: Source) -> u64 {
    let position = Source::ALL.iter().position(|&other| other == source);
    position.expect("Source::ALL holds every source") as u64
}

/// As `keys.js` counts kinds.
fn kind(kind: FrameKind) -> u64 {
    match kind {
        FrameKind::Native => 0,
        FrameKind::Kernel => 1,
        FrameKind::Python => 2,
        FrameKind::JavaScript => 3,
        FrameKind::Jit => 4,
        FrameKind::Synthetic => 5,
    }
}

#[derive(Default)]
struct Strings<'a> {
    ids: FxHashMap<&'a str, u64>,
    list: Vec<&'a str>,
}

impl<'a> Strings<'a> {
    fn id(&mut self, text: &'a str) -> u64 {
        *self.ids.entry(text).or_insert_with(|| {
            self.list.push(text);
            self.list.len() as u64 - 1
        })
    }
}

#[derive(Default)]
struct Columns {
    bytes: Vec<u8>,
}

impl Columns {
    /// Length, then one integer a row.
    fn column<'a, T>(&mut self, rows: &'a [T], mut value: impl FnMut(&'a T) -> u64) {
        self.integer(rows.len() as u64);
        for row in rows {
            self.integer(value(row));
        }
    }

    /// LEB128.
    fn integer(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}
