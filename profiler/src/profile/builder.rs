//! Builds a recording: interns what it is given.

use std::hash::Hash;

use rustc_hash::FxHashMap;

use super::{
    Frame, FrameId, Function, FunctionId, Module, ModuleId, Recording, Sample, Source, StackId,
    StackNode, ThreadId,
};

/// Makes the interned tables of a [`Recording`].
#[derive(Default)]
pub struct Builder {
    pub recording: Recording,
    modules: FxHashMap<Module, ModuleId>,
    functions: FxHashMap<Function, FunctionId>,
    frames: FxHashMap<Frame, FrameId>,
    stacks: FxHashMap<StackNode, StackId>,
    samples: FxHashMap<(Source, ThreadId, Option<StackId>), usize>,
}

fn intern<T: Clone + Eq + Hash>(
    table: &mut Vec<T>,
    index: &mut FxHashMap<T, u32>,
    value: T,
) -> u32 {
    if let Some(&id) = index.get(&value) {
        return id;
    }
    let id = table.len() as u32;
    table.push(value.clone());
    index.insert(value, id);
    id
}

impl Builder {
    pub fn module(&mut self, module: Module) -> ModuleId {
        intern(&mut self.recording.modules, &mut self.modules, module)
    }

    pub fn function(&mut self, function: Function) -> FunctionId {
        intern(&mut self.recording.functions, &mut self.functions, function)
    }

    pub fn frame(&mut self, frame: Frame) -> FrameId {
        intern(&mut self.recording.frames, &mut self.frames, frame)
    }

    /// The stack of `frame` called by `caller`.
    pub fn stack(&mut self, caller: Option<StackId>, frame: FrameId) -> StackId {
        intern(
            &mut self.recording.stacks,
            &mut self.stacks,
            StackNode { caller, frame },
        )
    }

    /// Adds to what is recorded with the same source, thread and stack.
    pub fn sample(&mut self, sample: Sample) {
        let samples = &mut self.recording.samples;
        let index = *self
            .samples
            .entry((sample.source, sample.thread, sample.stack))
            .or_insert_with(|| {
                samples.push(Sample {
                    weight: 0,
                    count: 0,
                    ..sample
                });
                samples.len() - 1
            });
        samples[index].weight += sample.weight;
        samples[index].count += sample.count;
    }

    pub fn finish(self) -> Recording {
        self.recording
    }
}
