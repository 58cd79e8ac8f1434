//! The file format of speedscope.app.
//!
//! The first profile holds everything, each stack below its container and
//! process; one for each process that ran follows, the heaviest first. Stacks
//! are ordered by what they share, since speedscope opens with them in the
//! order of the file. Weights are nanoseconds. `profiler` beside the fields of
//! the format carries quality and cost.

use std::io::{self, Write};

use serde::{Serialize, Serializer};

use crate::{
    profile::{Recording, StackId},
    views::{Tree, Views, ending},
};

use super::{
    Selection, evidence,
    merged::NO_STACK,
    text::{clean, clean_or_empty, function_label},
};

#[derive(Serialize)]
struct File<'r> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    exporter: String,
    name: String,
    #[serde(rename = "activeProfileIndex")]
    active: usize,
    profiler: Evidence,
    shared: Shared,
    profiles: Vec<Profile<'r>>,
}

/// Not part of the format, whose readers pass over it.
#[derive(Serialize)]
struct Evidence {
    quality: Vec<String>,
    cost: Vec<String>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Shared {
    frames: Vec<Frame>,
}

#[derive(Serialize)]
struct Frame {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

impl Frame {
    fn named(name: &str) -> Self {
        Self {
            name: clean(name).into_owned(),
            file: None,
            line: None,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Profile<'r> {
    r#type: &'static str,
    name: String,
    unit: &'static str,
    start_value: u64,
    end_value: u64,
    samples: Stacks<'r>,
    weights: Vec<u64>,
}

/// The numbers of the frames that stand for container and process; none in a
/// profile of one process.
type Root = Option<(u32, u32)>;

/// Stacks as arrays of frame numbers, made while they are written.
struct Stacks<'r> {
    recording: &'r Recording,
    stacks: Vec<(Root, Option<StackId>)>,
    no_stack: u32,
    /// What the source ends its stacks with.
    ending: Option<u32>,
}

impl Serialize for Stacks<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut frames = Vec::new();
        serializer.collect_seq(self.stacks.iter().map(|&(root, stack)| {
            frames.clear();
            frames.extend(self.ending);
            frames.extend(
                self.recording
                    .frames_of(stack)
                    .map(|frame| self.recording.frame(frame).function),
            );
            if stack.is_none() {
                frames.push(self.no_stack);
            }
            if let Some((container, process)) = root {
                frames.extend([process, container]);
            }
            frames.reverse();
            frames.clone()
        }))
    }
}

/// The place of each stack in a walk that visits callers before callees, so
/// that stacks that share callers are neighbours.
fn places(tree: &Tree, stacks: usize) -> Vec<u32> {
    let mut places = vec![0; stacks];
    let mut next = 0;
    tree.walk(|step| {
        if let crate::views::Step::Enter(id) = step {
            places[id as usize] = next;
            next += 1;
        }
    });
    places
}

pub fn write(recording: &Recording, selection: Selection, out: &mut dyn Write) -> io::Result<()> {
    let views = Views::new(recording, selection.source);
    let mut frames: Vec<Frame> = recording
        .functions
        .iter()
        .map(|function| {
            let file = clean_or_empty(&function.file);
            Frame {
                name: clean(&function_label(function)).into_owned(),
                file: (!file.is_empty()).then(|| file.into_owned()),
                line: (function.line > 0).then_some(function.line),
            }
        })
        .collect();
    let containers = frames.len() as u32;
    frames.extend(recording.containers.iter().map(|it| Frame::named(&it.name)));
    let processes = frames.len() as u32;
    frames.extend(recording.processes.iter().map(|it| Frame::named(&it.name)));
    let no_stack = frames.len() as u32;
    frames.push(Frame::named(NO_STACK));
    let ending = ending(selection.source).map(|name| {
        frames.push(Frame::named(name));
        frames.len() as u32 - 1
    });

    // By process, since a profile of one process is a part of that order.
    let places = places(views.tree(), recording.stacks.len());
    let mut samples: Vec<_> = recording
        .samples
        .iter()
        .filter(|sample| selection.source.shows(sample.source) && sample.weight > 0)
        .map(|sample| {
            let process = recording.threads[sample.thread as usize].process;
            let container = recording.processes[process as usize].container;
            let place = sample.stack.map(|stack| places[stack as usize]);
            ((container, process, place), sample)
        })
        .collect();
    samples.sort_by_key(|&(key, _)| key);

    let profile = |name: String, wanted: Option<u32>| {
        let chosen = || {
            samples
                .iter()
                .filter(move |((_, process, _), _)| wanted.is_none_or(|id| id == *process))
        };
        Profile {
            r#type: "sampled",
            name,
            unit: selection.source.unit().name(),
            start_value: 0,
            end_value: chosen().map(|(_, sample)| sample.weight).sum(),
            samples: Stacks {
                recording,
                stacks: chosen()
                    .map(|&((container, process, _), sample)| {
                        let root = (containers + container, processes + process);
                        (wanted.is_none().then_some(root), sample.stack)
                    })
                    .collect(),
                no_stack,
                ending,
            },
            weights: chosen().map(|(_, sample)| sample.weight).collect(),
        }
    };
    let everything = if views.is_empty() {
        evidence::no_samples(recording, selection)
    } else {
        format!("everything: {}", evidence::subtitle(recording))
    };
    let mut profiles = vec![profile(everything, None)];
    for row in views.processes() {
        if row.amount.weight == 0 {
            break;
        }
        let process = &recording.processes[row.id as usize];
        let container = &recording.containers[process.container as usize];
        let name = format!(
            "{} / {} ({})",
            clean(&container.name),
            clean(&process.name),
            process.pid
        );
        profiles.push(profile(name, Some(row.id)));
    }
    let texts = |lines: Vec<evidence::Line>| -> Vec<String> {
        lines
            .into_iter()
            .map(|line| format!("{}: {}", line.label, line.text))
            .collect()
    };
    let file = File {
        schema: "https://www.speedscope.app/file-format-schema.json",
        exporter: format!("profiler {}", clean(&recording.about.profiler_version)),
        name: evidence::title(recording, selection),
        active: 0,
        profiler: Evidence {
            quality: texts(evidence::quality_lines(recording)),
            cost: texts(evidence::cost_lines(recording)),
            notes: evidence::notes(recording, selection)
                .iter()
                .map(|note| clean(&note.text).into_owned())
                .collect(),
        },
        shared: Shared { frames },
        profiles,
    };
    serde_json::to_writer(&mut *out, &file).map_err(io::Error::from)?;
    writeln!(out)
}
