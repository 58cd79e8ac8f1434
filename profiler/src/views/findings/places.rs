//! Which functions the time of each container is in.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::profile::{Activity, ContainerId, FrameId, FrameKind, Recording, Source};

/// Libraries that work on behalf of whoever calls them.
const SERVANTS: &[&str] = &[
    "libc.so",
    "libc-",
    "ld-linux",
    "libpthread",
    "ld-musl",
    "[vdso]",
];

/// Which functions the time of each container is in.
pub(super) struct Places<'r> {
    recording: &'r Recording,
    /// By container and function, on a CPU.
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
                Source::Blocked => {
                    if let (Some(&what), Some(place)) = (frames.first(), places.own(&frames)) {
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

    pub(super) fn hottest(&self, container: ContainerId) -> Option<(String, u64)> {
        self.hot
            .iter()
            .filter(|((of, _), _)| *of == container)
            .max_by_key(|&(&(_, frame), &weight)| (weight, std::cmp::Reverse(frame)))
            .map(|(&(_, frame), &weight)| (self.label(frame), weight))
    }

    pub(super) fn of_wait(&self, container: ContainerId, activity: Activity) -> Option<String> {
        let shown = activity.frame();
        let recording = self.recording;
        self.waits
            .iter()
            .filter(|((of, what, _), _)| {
                *of == container && recording.function_of(*what).name == shown
            })
            .max_by_key(|&(&(.., place), &weight)| (weight, std::cmp::Reverse(place)))
            .map(|(&(.., place), _)| self.label(place))
    }

    fn label(&self, frame: FrameId) -> String {
        let recording = self.recording;
        recording.frame(frame).label(recording.function_of(frame))
    }
}
