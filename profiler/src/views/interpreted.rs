//! Stacks as an interpreter sees them: without the native and kernel frames
//! that run it.

use std::hash::Hash;

use rustc_hash::FxHashMap;

use crate::profile::{FrameKind, Recording, Sample, Source, StackId, StackNode, ThreadId};

/// What stays of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Python functions. What they called counts as theirs.
    Python,
    /// Python functions, and where the time went if it was not in one of them:
    /// the innermost frame.
    PythonAndLeaf,
    /// Functions of all interpreters.
    Interpreted,
}

impl Kept {
    fn keeps(self, kind: FrameKind) -> bool {
        match self {
            Self::Python | Self::PythonAndLeaf => kind == FrameKind::Python,
            Self::Interpreted => matches!(kind, FrameKind::Python | FrameKind::JavaScript),
        }
    }
}

/// `recording` with shorter stacks. Samples of which nothing stays are left
/// out, but waits for the interpreter's lock stay without a stack: they are
/// waits of Python whoever called it.
pub fn interpreted(recording: &Recording, kept: Kept) -> Recording {
    let mut stacks = Stacks::default();
    let mut shorter: Vec<Option<StackId>> = Vec::with_capacity(recording.stacks.len());
    for node in &recording.stacks {
        let caller = node.caller.and_then(|caller| shorter[caller as usize]);
        let kind = recording.function_of(node.frame).kind;
        shorter.push(if kept.keeps(kind) {
            Some(stacks.id(caller, node.frame))
        } else {
            caller
        });
    }
    let mut samples = Samples::default();
    for sample in &recording.samples {
        let stack = sample.stack.and_then(|stack| {
            let frame = recording.stacks[stack as usize].frame;
            let short = shorter[stack as usize]?;
            let kind = recording.function_of(frame).kind;
            Some(if kept == Kept::PythonAndLeaf && !kept.keeps(kind) {
                stacks.id(Some(short), frame)
            } else {
                short
            })
        });
        if stack.is_some() || sample.source != Source::OnCpu {
            samples.add(Sample { stack, ..*sample });
        }
    }
    Recording {
        stacks: stacks.nodes,
        samples: samples.rows,
        ..recording.clone()
    }
}

#[derive(Default)]
struct Stacks {
    nodes: Vec<StackNode>,
    ids: FxHashMap<StackNode, StackId>,
}

impl Stacks {
    fn id(&mut self, caller: Option<StackId>, frame: u32) -> StackId {
        let node = StackNode { caller, frame };
        let index = place(&mut self.nodes, &mut self.ids, node, || node);
        index as StackId
    }
}

#[derive(Default)]
struct Samples {
    rows: Vec<Sample>,
    ids: FxHashMap<(Source, ThreadId, Option<StackId>), u32>,
}

impl Samples {
    fn add(&mut self, sample: Sample) {
        let key = (sample.source, sample.thread, sample.stack);
        let index = place(&mut self.rows, &mut self.ids, key, || Sample {
            weight: 0,
            count: 0,
            ..sample
        });
        let row = &mut self.rows[index];
        row.weight = row.weight.saturating_add(sample.weight);
        row.count = row.count.saturating_add(sample.count);
    }
}

fn place<K: Eq + Hash, T>(
    table: &mut Vec<T>,
    index: &mut FxHashMap<K, u32>,
    key: K,
    make: impl FnOnce() -> T,
) -> usize {
    *index.entry(key).or_insert_with(|| {
        table.push(make());
        (table.len() - 1) as u32
    }) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::{Views, sample};

    #[test]
    fn only_python_stays() {
        for recording in [sample::plain(), sample::nasty(3), sample::large(500, 30)] {
            for kept in [Kept::Python, Kept::PythonAndLeaf, Kept::Interpreted] {
                let shorter = interpreted(&recording, kept);
                assert_eq!(shorter.check(), Ok(()));
                let expected: u64 = recording
                    .samples
                    .iter()
                    .filter(|sample| {
                        sample.source == Source::OnCpu
                            && recording
                                .frames_of(sample.stack)
                                .any(|frame| kept.keeps(recording.function_of(frame).kind))
                    })
                    .map(|sample| sample.weight)
                    .sum();
                assert_eq!(shorter.total(Source::OnCpu), expected);
                assert_eq!(
                    shorter.total(Source::GilWait),
                    recording.total(Source::GilWait)
                );
                for sample in &shorter.samples {
                    let others = shorter
                        .frames_of(sample.stack)
                        .filter(|&frame| !kept.keeps(shorter.function_of(frame).kind))
                        .count();
                    assert!(others <= usize::from(kept == Kept::PythonAndLeaf));
                }
            }
        }
    }

    #[test]
    fn what_python_called_counts_as_its_own() {
        let recording = interpreted(&sample::plain(), Kept::Python);
        let views = Views::new(&recording, Source::OnCpu);
        let own = |name: &str| {
            let rows = views.functions();
            let row = rows
                .iter()
                .find(|row| recording.functions[row.function as usize].name == name);
            row.map_or(0, |row| row.own.count)
        };
        assert_eq!((own("walk"), own("<module>")), (90, 60));
    }
}
