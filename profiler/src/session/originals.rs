//! JavaScript in terms of its sources, by the maps of bundlers.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::AsFd,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use profiler_ebpf::ProcessKey;
use rustc_hash::FxHashMap;
use rustix::time::{ClockId, clock_gettime};

use super::{
    intake::Intake,
    interpreted::{JavaScriptFunction, JavaScriptId},
};
use crate::{
    process::{start_ticks, ticks_of},
    profile::{Note, NoteKind},
    symbolize::{
        self, GeneratedFrame, OriginalFrame, Place, Script, Translation, open_root, path_of_script,
    },
};

/// For all processes together.
const TIME: Duration = Duration::from_secs(40);
/// Scripts that the notes tell of one by one.
const MAX_NOTES: usize = 8;

/// What became of the scripts, by their paths.
#[derive(Default)]
struct Outcomes {
    translated: BTreeSet<String>,
    newer: BTreeSet<String>,
    out_of_time: BTreeSet<String>,
    /// And why.
    failed: BTreeMap<String, String>,
}

/// The frames that maps know of. Those of processes that are gone stay as
/// they are: their files cannot be told from others of the same path.
pub fn originals(intake: &Intake, notes: &mut Vec<Note>) -> FxHashMap<JavaScriptId, OriginalFrame> {
    let mut scripts: BTreeMap<(u32, &str), Vec<JavaScriptId>> = BTreeMap::new();
    for (id, function) in (0..).zip(&intake.functions.javascript) {
        let JavaScriptFunction { process, frame } = function;
        if frame.line > 0 {
            let ids = scripts.entry((*process, &frame.script)).or_default();
            ids.push(id);
        }
    }
    let mut by_process: BTreeMap<u32, Vec<(String, Vec<JavaScriptId>)>> = BTreeMap::new();
    for ((process, script), ids) in scripts {
        if let Some(path) = path_of_script(script) {
            by_process.entry(process).or_default().push((path, ids));
        }
    }
    let end = Instant::now() + TIME;
    let mut outcomes = Outcomes::default();
    let mut found = FxHashMap::default();
    for (process, scripts) in by_process {
        let left = end.saturating_duration_since(Instant::now());
        let Some(raw) = intake.processes.get(process as usize) else {
            continue;
        };
        let functions = &intake.functions.javascript;
        of_process(raw.key, functions, scripts, left, &mut outcomes, &mut found);
    }
    outcomes.tell(notes);
    found
}

fn of_process(
    key: ProcessKey,
    functions: &[JavaScriptFunction],
    scripts: Vec<(String, Vec<JavaScriptId>)>,
    time: Duration,
    outcomes: &mut Outcomes,
    found: &mut FxHashMap<JavaScriptId, OriginalFrame>,
) {
    let Ok(root) = open_root(Path::new(&format!("/proc/{}/root", key.tgid))) else {
        return;
    };
    // Looked at when the root is open: before, another process could get the
    // number in between.
    if start_ticks(key.tgid) != Some(ticks_of(key.start_boottime)) {
        return;
    }
    let asked: Vec<Script> = scripts
        .iter()
        .map(|(path, ids)| Script {
            path: path.clone(),
            frames: ids
                .iter()
                .map(|&id| generated(&functions[id as usize]))
                .collect(),
        })
        .collect();
    let started = time_of(key.start_boottime);
    let translations = if time.is_zero() {
        Ok(vec![Translation::OutOfTime; asked.len()])
    } else {
        symbolize::originals(root.as_fd(), started, time, &asked)
    };
    let translations = translations.unwrap_or_else(|error| {
        let why = format!("a script of the process or its map: {error}");
        vec![Translation::Failed(why); asked.len()]
    });
    for ((path, ids), translation) in scripts.into_iter().zip(translations) {
        match translation {
            Translation::Untouched => {}
            Translation::Newer => {
                outcomes.newer.insert(path);
            }
            Translation::OutOfTime => {
                outcomes.out_of_time.insert(path);
            }
            Translation::Failed(why) => {
                outcomes.failed.insert(path, why);
            }
            Translation::Translated(frames) => {
                let frames = ids.into_iter().zip(frames);
                let before = found.len();
                found.extend(frames.filter_map(|(id, frame)| Some((id, frame?))));
                if found.len() > before {
                    outcomes.translated.insert(path);
                }
            }
        }
    }
}

fn generated(function: &JavaScriptFunction) -> GeneratedFrame<'_> {
    let frame = &function.frame;
    let place = |line: u32, column: u32| {
        Some(Place {
            line: line.checked_sub(1)?,
            column: column.checked_sub(1)?,
        })
    };
    GeneratedFrame {
        name: &frame.function,
        place: place(frame.line, frame.column),
        parameters: place(frame.first_line, frame.first_column),
    }
}

/// The time of day of a moment in nanoseconds after boot.
fn time_of(boottime: u64) -> SystemTime {
    let now = clock_gettime(ClockId::Boottime);
    let now = Duration::new(
        u64::try_from(now.tv_sec).unwrap_or_default(),
        u32::try_from(now.tv_nsec).unwrap_or_default(),
    );
    let ago = now.saturating_sub(Duration::from_nanos(boottime));
    SystemTime::now()
        .checked_sub(ago)
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

impl Outcomes {
    fn tell(self, notes: &mut Vec<Note>) {
        let mut note = |kind, text| notes.push(Note { kind, text });
        if !self.translated.is_empty() {
            note(
                NoteKind::Info,
                format!(
                    "{}: functions and lines are those of the sources, by source maps",
                    list(&self.translated)
                ),
            );
        }
        if !self.newer.is_empty() {
            note(
                NoteKind::Missing,
                format!(
                    "{}: lines are those of the generated script: it or its source map was \
                     changed after the process started",
                    list(&self.newer)
                ),
            );
        }
        if !self.out_of_time.is_empty() {
            note(
                NoteKind::Missing,
                format!(
                    "{}: lines are those of the generated script: reading source maps took \
                     too long",
                    list(&self.out_of_time)
                ),
            );
        }
        let more = self.failed.len().saturating_sub(MAX_NOTES);
        for (path, why) in self.failed.into_iter().take(MAX_NOTES) {
            note(
                NoteKind::Missing,
                format!("{path}: lines are those of the generated script: {why}"),
            );
        }
        if more > 0 {
            note(
                NoteKind::Missing,
                format!("{more} more scripts have source maps that cannot be used"),
            );
        }
    }
}

/// How many, and one of them.
fn list(paths: &BTreeSet<String>) -> String {
    let first = paths.first().map_or("", String::as_str);
    match paths.len() {
        1 => format!("1 script ({first})"),
        count => format!("{count} scripts ({first}, …)"),
    }
}
