//! pprof's `profile.proto`, gzip-compressed, for `go tool pprof`, Pyroscope,
//! Parca and others.
//!
//! Container, process and thread are labels (`-tagroot container,process`
//! makes frames of them). Inlined frames are lines of the location they were
//! inlined into. Comments carry quality and cost.

mod proto;

use std::io::{self, Write};

use flate2::{Compression, write::GzEncoder};
use prost::Message;
use rustc_hash::FxHashMap;

use crate::profile::{FrameId, Recording, Source, StackId};

use super::{
    Selection, evidence,
    merged::NO_STACK,
    text::{clean, clean_or_empty},
};

/// What pprof calls the events and the weight of a source.
fn types(source: Source) -> [(&'static str, &'static str); 2] {
    let (events, weight) = match source {
        Source::OnCpu => ("samples", "cpu"),
        Source::GilWait => ("gil_waits", "gil_wait"),
        Source::Wakeup => ("wakeups", "wakeup"),
        Source::Blocked => ("blocked_waits", "blocked"),
        Source::Idle => ("idle_waits", "idle"),
        Source::Syscall => ("syscall_stacks", "syscall"),
        Source::Disk => ("disk_requests", "disk"),
        Source::DiskTime => ("disk_completions", "disk_time"),
        Source::Network => ("messages", "network"),
        Source::PageFault => ("faults", "page_fault"),
        // What they show is there in its parts.
        Source::Wall => return types(Source::OnCpu),
        Source::OffCpu => return types(Source::Blocked),
    };
    [(events, "count"), (weight, source.unit().name())]
}

/// pprof's numbers are signed. A sum of weights that does not fit was refused
/// before; this is for what only describes.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The string table.
struct Strings {
    table: Vec<String>,
    ids: FxHashMap<String, i64>,
}

impl Strings {
    fn new() -> Self {
        // Its first entry has to be empty.
        Self {
            table: vec![String::new()],
            ids: FxHashMap::from_iter([(String::new(), 0)]),
        }
    }

    fn id(&mut self, text: &str) -> i64 {
        if let Some(&id) = self.ids.get(text) {
            return id;
        }
        let id = self.table.len() as i64;
        self.table.push(text.to_string());
        self.ids.insert(text.to_string(), id);
        id
    }

    fn value_type(&mut self, (r#type, unit): (&str, &str)) -> proto::ValueType {
        proto::ValueType {
            r#type: self.id(r#type),
            unit: self.id(unit),
        }
    }
}

/// Whether `frame` really is part of the frame that `caller` ends with. After
/// a truncated stack an inlined frame may be all that is left of its function.
fn inlined_into(recording: &Recording, frame: FrameId, caller: StackId) -> bool {
    let outer = recording.stacks[caller as usize].frame;
    let (function, around) = (recording.function_of(frame), recording.function_of(outer));
    recording.frame(frame).inlined
        && function.kind == around.kind
        && function.module == around.module
}

/// Locations of a recording. A frame with what is inlined into it is one
/// location of several lines, and its frames form a chain: each frame points
/// to the one it is inlined into.
struct Locations {
    /// `(inlined into, frame)`.
    chains: Vec<(Option<u32>, FrameId)>,
    /// For each stack its innermost frame's chain, and the stack that called
    /// the whole chain.
    of_stack: Vec<(u32, Option<StackId>)>,
}

impl Locations {
    fn new(recording: &Recording) -> Self {
        let mut chains = Vec::new();
        let mut ids = FxHashMap::default();
        let mut of_stack: Vec<(u32, Option<StackId>)> = Vec::with_capacity(recording.stacks.len());
        for node in &recording.stacks {
            let (into, caller) = match node.caller {
                Some(caller) if inlined_into(recording, node.frame, caller) => {
                    let (chain, above) = of_stack[caller as usize];
                    (Some(chain), above)
                }
                caller => (None, caller),
            };
            let chain = *ids.entry((into, node.frame)).or_insert_with(|| {
                chains.push((into, node.frame));
                (chains.len() - 1) as u32
            });
            of_stack.push((chain, caller));
        }
        Self { chains, of_stack }
    }

    /// Frames of a chain, innermost first.
    fn frames(&self, chain: u32) -> impl Iterator<Item = FrameId> + '_ {
        let mut next = Some(chain);
        std::iter::from_fn(move || {
            let (into, frame) = self.chains[next? as usize];
            next = into;
            Some(frame)
        })
    }

    /// Chains of a stack, innermost first.
    fn chains(&self, stack: Option<StackId>) -> impl Iterator<Item = u32> + '_ {
        let mut next = stack;
        std::iter::from_fn(move || {
            let (chain, above) = self.of_stack[next? as usize];
            next = above;
            Some(chain)
        })
    }
}

pub fn write(recording: &Recording, selection: Selection, out: &mut dyn Write) -> io::Result<()> {
    let encoded = profile(recording, selection).encode_to_vec();
    let mut encoder = GzEncoder::new(out, Compression::fast());
    encoder.write_all(&encoded)?;
    encoder.finish()?;
    Ok(())
}

fn profile(recording: &Recording, selection: Selection) -> proto::Profile {
    let mut strings = Strings::new();
    let locations = Locations::new(recording);
    // Ids count from one, zero is none; the last of functions and of locations
    // stands for a stack of which nothing is known.
    let no_stack_function = recording.functions.len() as u64 + 1;
    let no_stack_location = locations.chains.len() as u64 + 1;
    let mut used = vec![false; locations.chains.len()];
    let sources: Vec<Source> = Source::recorded()
        .filter(|&source| {
            source == Source::OnCpu
                || recording
                    .samples
                    .iter()
                    .any(|sample| sample.source == source)
        })
        .collect();
    let sample = samples(
        recording,
        &sources,
        &locations,
        no_stack_location,
        &mut used,
        &mut strings,
    );

    let mut location: Vec<_> = used
        .iter()
        .enumerate()
        .filter(|&(_, &used)| used)
        .map(|(chain, _)| location(recording, &locations, chain as u32))
        .collect();
    let mut function: Vec<_> = recording
        .functions
        .iter()
        .enumerate()
        .map(|(id, function)| {
            proto::Function {
                id: id as u64 + 1,
                name: strings.id(&clean(&function.name)),
                // Empty, since it is not kept. With the name in both, pprof
                // takes `<module>` for the rest of a C++ template and shows
                // `<unknown>`.
                system_name: 0,
                filename: strings.id(&clean_or_empty(&function.file)),
                start_line: i64::from(function.line),
            }
        })
        .collect();
    if recording
        .samples
        .iter()
        .any(|sample| sample.stack.is_none())
    {
        let name = strings.id(NO_STACK);
        function.push(proto::Function {
            id: no_stack_function,
            name,
            ..proto::Function::default()
        });
        location.push(proto::Location {
            id: no_stack_location,
            line: vec![proto::Line {
                function_id: no_stack_function,
                ..proto::Line::default()
            }],
            ..proto::Location::default()
        });
    }

    let sample_type = sources
        .iter()
        .flat_map(|&source| types(source))
        .map(|names| strings.value_type(names))
        .collect();
    let [_, sampled] = types(Source::OnCpu);
    let shown = if sources.contains(&selection.source) {
        selection.source
    } else {
        Source::OnCpu
    };
    let [_, (shown, _)] = types(shown);
    let about = &recording.about;
    proto::Profile {
        sample_type,
        sample,
        mapping: mappings(recording, &mut strings),
        location,
        function,
        time_nanos: signed(about.start_unix_ms.saturating_mul(1_000_000)),
        duration_nanos: signed(about.duration_ns),
        period_type: Some(strings.value_type(sampled)),
        period: 1_000_000_000_u64
            .checked_div(about.frequency_hz)
            .map_or(0, signed),
        comment: comments(recording, selection)
            .iter()
            .map(|text| strings.id(text))
            .collect(),
        default_sample_type: strings.id(shown),
        string_table: strings.table,
    }
}

fn samples(
    recording: &Recording,
    sources: &[Source],
    locations: &Locations,
    no_stack_location: u64,
    used: &mut [bool],
    strings: &mut Strings,
) -> Vec<proto::Sample> {
    let [container, process, pid, thread, tid] =
        ["container", "process", "pid", "thread", "tid"].map(|key| strings.id(key));
    let text = |key, str| proto::Label {
        key,
        str,
        ..proto::Label::default()
    };
    let number = |key, num: u32| proto::Label {
        key,
        num: i64::from(num),
        ..proto::Label::default()
    };
    // Labels depend on the thread alone.
    let labels: Vec<Vec<proto::Label>> = recording
        .threads
        .iter()
        .map(|entry| {
            let its_process = &recording.processes[entry.process as usize];
            let its_container = &recording.containers[its_process.container as usize];
            vec![
                text(container, strings.id(&clean(&its_container.name))),
                text(process, strings.id(&clean(&its_process.name))),
                number(pid, its_process.pid),
                text(thread, strings.id(&clean(&entry.name))),
                number(tid, entry.tid),
            ]
        })
        .collect();
    recording
        .samples
        .iter()
        .map(|sample| {
            let mut location_id: Vec<u64> = locations
                .chains(sample.stack)
                .map(|chain| {
                    used[chain as usize] = true;
                    u64::from(chain) + 1
                })
                .collect();
            if location_id.is_empty() {
                location_id.push(no_stack_location);
            }
            proto::Sample {
                location_id,
                value: sources
                    .iter()
                    .flat_map(|&source| {
                        if source == sample.source {
                            [signed(sample.count), signed(sample.weight)]
                        } else {
                            [0, 0]
                        }
                    })
                    .collect(),
                label: labels[sample.thread as usize].clone(),
            }
        })
        .collect()
}

fn location(recording: &Recording, locations: &Locations, chain: u32) -> proto::Location {
    let mut outermost = None;
    let line = locations
        .frames(chain)
        .map(|id| {
            let frame = recording.frame(id);
            outermost = Some(id);
            proto::Line {
                function_id: u64::from(frame.function) + 1,
                line: i64::from(frame.line),
                column: i64::from(frame.column),
            }
        })
        .collect();
    // Inlined code is where the function around it is.
    let outermost = outermost.unwrap_or_default();
    proto::Location {
        id: u64::from(chain) + 1,
        mapping_id: recording
            .function_of(outermost)
            .module
            .map_or(0, |module| u64::from(module) + 1),
        address: recording.frame(outermost).address,
        line,
        is_folded: false,
    }
}

fn mappings(recording: &Recording, strings: &mut Strings) -> Vec<proto::Mapping> {
    // Addresses count as in the file, so each mapping starts at zero. Its end
    // has to lie behind its addresses, and must not be zero: pprof would take
    // two such mappings for neighbours and join them.
    let mut limits = vec![1_u64; recording.modules.len()];
    for frame in &recording.frames {
        if let Some(module) = recording.functions[frame.function as usize].module {
            let limit = &mut limits[module as usize];
            *limit = (*limit).max(frame.address.saturating_add(1));
        }
    }
    recording
        .modules
        .iter()
        .zip(limits)
        .enumerate()
        .map(|(id, (module, limit))| proto::Mapping {
            id: id as u64 + 1,
            memory_start: 0,
            memory_limit: limit,
            file_offset: 0,
            filename: strings.id(&clean(&module.path)),
            build_id: strings.id(&clean_or_empty(&module.build_id)),
            // Or pprof would look for the files to name everything again.
            has_functions: true,
            has_filenames: true,
            has_line_numbers: true,
            has_inline_frames: true,
        })
        .collect()
}

fn comments(recording: &Recording, selection: Selection) -> Vec<String> {
    let mut comments = vec![evidence::title(recording, selection)];
    comments.extend(
        evidence::quality_lines(recording)
            .into_iter()
            .chain(evidence::cost_lines(recording))
            .map(|line| format!("{}: {}", line.label, line.text)),
    );
    comments.extend(
        evidence::notes(recording, selection)
            .iter()
            .map(|note| format!("Note: {}", clean(&note.text))),
    );
    comments
}

#[cfg(test)]
mod tests;
