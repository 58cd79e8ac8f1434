//! Which functions the time of each container is in.

use std::{cmp::Reverse, collections::BTreeMap};

use rustc_hash::FxHashMap;

use super::unneeded::waits_for_event;
use crate::profile::{Activity, ContainerId, FrameId, FrameKind, FunctionId, Recording, Source};

/// Libraries that work on behalf of whoever calls them.
const SERVANTS: &[&str] = &[
    "libc.so",
    "libc-",
    "ld-linux",
    "libpthread",
    "ld-musl",
    "[vdso]",
];

/// Parts of the paths of code that came with a runtime or a package manager.
const LIBRARIES: &[&str] = &[
    "/lib/python",
    "/site-packages/",
    "/dist-packages/",
    "/node_modules/",
    "/share/nodejs/",
    "node:",
    "<frozen",
];

/// A function, and how much of a container's time is in it.
pub(super) struct Hot {
    /// With its hottest line, where it has lines.
    pub label: String,
    pub weight: u64,
    pub line_weight: u64,
}

/// Which functions the time of each container is in.
pub(super) struct Places<'r> {
    recording: &'r Recording,
    /// By container and frame, on a CPU.
    hot: FxHashMap<(ContainerId, FrameId), u64>,
    pub(super) on_cpu: BTreeMap<ContainerId, u64>,
    /// By container, what it waits for, and where.
    waits: FxHashMap<(ContainerId, FrameId, FrameId), u64>,
}

impl<'r> Places<'r> {
    pub(super) fn new(recording: &'r Recording) -> Self {
        let mut places = Self {
            recording,
            hot: FxHashMap::default(),
            on_cpu: Default::default(),
            waits: FxHashMap::default(),
        };
        for sample in &recording.samples {
            let container = recording.process_of(sample).container;
            let frames: Vec<FrameId> = recording.frames_of(sample.stack).collect();
            let add = |sum: &mut u64| *sum = sum.saturating_add(sample.weight);
            match sample.source {
                Source::OnCpu => {
                    add(places.on_cpu.entry(container).or_default());
                    if let Some(place) = places.own(&frames) {
                        add(places.hot.entry((container, place)).or_default());
                    }
                }
                Source::Blocked if !waits_for_event(recording, sample.stack) => {
                    if let (Some(&what), Some(place)) = (frames.first(), places.caller(&frames)) {
                        add(places.waits.entry((container, what, place)).or_default());
                    }
                }
                _ => {}
            }
        }
        places
    }

    /// The frame whose author can do something about it: the innermost of an
    /// interpreter, else the innermost that is no library's which only serves.
    fn own(&self, frames: &[FrameId]) -> Option<FrameId> {
        let recording = self.recording;
        let kind = |frame: FrameId| recording.function_of(frame).kind;
        let interpreted = frames
            .iter()
            .find(|&&frame| matches!(kind(frame), FrameKind::Python | FrameKind::JavaScript));
        interpreted.copied().or_else(|| {
            frames.iter().copied().find(|&frame| {
                let function = recording.function_of(frame);
                let module = function.module.map_or("", |module| {
                    recording.modules[module as usize].path.as_str()
                });
                let file = module.rsplit('/').next().unwrap_or(module);
                matches!(function.kind, FrameKind::Native | FrameKind::Jit)
                    && !function.name.contains("+0x")
                    && !SERVANTS.iter().any(|name| file.starts_with(name))
            })
        })
    }

    /// The innermost frame of an interpreter that is no library's: a library
    /// waits on behalf of whoever calls it.
    fn caller(&self, frames: &[FrameId]) -> Option<FrameId> {
        let called = |frame: FrameId| {
            let function = self.recording.function_of(frame);
            matches!(function.kind, FrameKind::Python | FrameKind::JavaScript)
                && !LIBRARIES.iter().any(|part| function.file.contains(part))
        };
        let caller = frames.iter().copied().find(|&frame| called(frame));
        caller.or_else(|| self.own(frames))
    }

    pub(super) fn hottest(&self, container: ContainerId) -> Option<Hot> {
        let (weight, line_weight, frame) = self.heaviest(
            self.hot
                .iter()
                .filter(|((of, _), _)| *of == container)
                .map(|(&(_, frame), &weight)| (frame, weight)),
        )?;
        Some(Hot {
            label: self.label(frame),
            weight,
            line_weight,
        })
    }

    pub(super) fn of_wait(&self, container: ContainerId, activity: Activity) -> Option<String> {
        let shown = activity.frame();
        let recording = self.recording;
        let (.., frame) = self.heaviest(
            self.waits
                .iter()
                .filter(|((of, what, _), _)| {
                    *of == container && recording.function_of(*what).name == shown
                })
                .map(|(&(.., place), &weight)| (place, weight)),
        )?;
        Some(self.label(frame))
    }

    /// The function with most weight, its weight, and that of its heaviest
    /// frame, which is a line of it.
    fn heaviest(
        &self,
        frames: impl Iterator<Item = (FrameId, u64)>,
    ) -> Option<(u64, u64, FrameId)> {
        let mut functions: BTreeMap<FunctionId, (u64, u64, Reverse<FrameId>)> = BTreeMap::new();
        for (frame, weight) in frames {
            let function = self.recording.frame(frame).function;
            let (sum, most, heaviest) = functions.entry(function).or_insert((0, 0, Reverse(frame)));
            *sum = sum.saturating_add(weight);
            (*most, *heaviest) = (*most, *heaviest).max((weight, Reverse(frame)));
        }
        let (sum, most, Reverse(frame)) = functions.into_values().max()?;
        Some((sum, most, frame))
    }

    fn label(&self, frame: FrameId) -> String {
        let recording = self.recording;
        recording.frame(frame).label(recording.function_of(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::sample;

    #[test]
    fn a_function_is_as_hot_as_all_its_lines() {
        let mut recording = sample::plain();
        let line_13 = recording
            .stacks
            .iter()
            .position(|stack| recording.frame(stack.frame).line == 13);
        let mut second = recording.samples[0];
        second.stack = line_13.map(|stack| stack as u32);
        let first = second.weight;
        recording.samples.push(second);
        let hot = Places::new(&recording).hottest(1).expect("it has samples");
        assert_eq!(hot.label, "walk (/app/app.py:12)");
        assert_eq!(hot.weight, hot.line_weight + first);
    }
}
