//! How the stacks with frames of an interpreter ended, for each of its builds.

use std::collections::BTreeMap;

use profiler_ebpf::{Frame, Missing, Outcome, interpreter, python_state};

use super::{
    account::{describe, describe_missing},
    intake::RawFrame,
};
use crate::{
    bpf::Sample,
    profile::{OutcomeCount, RuntimeQuality},
    runtimes::Registry,
};

/// A build of an interpreter, by its index in the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Build {
    Python(u32),
    V8(u32),
    /// A frame of it is missing, and no other tells which build it is.
    SomeV8,
}

impl Build {
    fn name(self, registry: &Registry) -> Option<String> {
        match self {
            Self::Python(index) => {
                let python = registry.python(index)?;
                Some(format!("CPython {}", python.version))
            }
            Self::V8(index) => Some(format!("V8 {}", registry.v8(index)?.version)),
            Self::SomeV8 => Some("V8".to_owned()),
        }
    }
}

/// Why a stack is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Incomplete {
    Walk(Outcome),
    Missing(Missing),
}

#[derive(Default)]
struct Stacks {
    count: u64,
    complete: u64,
    reasons: BTreeMap<Incomplete, u64>,
}

/// Counts stacks as they are taken in.
#[derive(Default)]
pub struct RuntimeStacks {
    builds: BTreeMap<Build, Stacks>,
}

impl RuntimeStacks {
    /// Counts a sample; `stack` is what became of its frames.
    pub fn count(&mut self, sample: &Sample<'_>, stack: &[RawFrame]) {
        if sample.header.python_state & python_state::EVALUATES != 0 {
            let build = Build::Python(sample.header.python_runtime);
            self.add(build, interpreter::PYTHON, sample.outcome, stack);
        }
        let mut v8 = None;
        for frame in profiler_ebpf::frames(sample.user_stack) {
            match frame {
                Frame::JavaScript { runtime, .. } => v8 = Some(Build::V8(runtime)),
                Frame::Missing {
                    runtime: interpreter::V8,
                    ..
                } => v8 = v8.or(Some(Build::SomeV8)),
                _ => {}
            }
        }
        if let Some(build) = v8 {
            self.add(build, interpreter::V8, sample.outcome, stack);
        }
    }

    fn add(&mut self, build: Build, interpreter: u32, outcome: Outcome, stack: &[RawFrame]) {
        let stacks = self.builds.entry(build).or_default();
        stacks.count += 1;
        let missing = stack.iter().find_map(|frame| match *frame {
            RawFrame::Missing { runtime, reason } if runtime == interpreter => Some(reason),
            _ => None,
        });
        let reason = match (outcome, missing) {
            (Outcome::RootReached, None) => {
                stacks.complete += 1;
                return;
            }
            (Outcome::RootReached, Some(reason)) => Incomplete::Missing(reason),
            (outcome, _) => Incomplete::Walk(outcome),
        };
        *stacks.reasons.entry(reason).or_default() += 1;
    }

    /// By name; builds of the same name together.
    pub fn quality(&self, registry: &Registry) -> Vec<RuntimeQuality> {
        let mut by_name: BTreeMap<String, RuntimeQuality> = BTreeMap::new();
        for (&build, stacks) in &self.builds {
            let Some(name) = build.name(registry) else {
                continue;
            };
            let quality = by_name
                .entry(name.clone())
                .or_insert_with(|| RuntimeQuality {
                    runtime: name,
                    ..RuntimeQuality::default()
                });
            quality.stacks += stacks.count;
            quality.complete += stacks.complete;
            let complete = (Incomplete::Walk(Outcome::RootReached), stacks.complete);
            let reasons = stacks
                .reasons
                .iter()
                .map(|(&reason, &count)| (reason, count));
            for (reason, count) in std::iter::once(complete).chain(reasons) {
                add_outcome(&mut quality.outcomes, reason, count);
            }
        }
        by_name.into_values().collect()
    }
}

fn add_outcome(outcomes: &mut Vec<OutcomeCount>, reason: Incomplete, count: u64) {
    if count == 0 {
        return;
    }
    let (outcome, meaning) = match reason {
        Incomplete::Walk(outcome) => describe(outcome),
        Incomplete::Missing(reason) => describe_missing(reason),
    };
    match outcomes.iter_mut().find(|entry| entry.outcome == outcome) {
        Some(entry) => entry.count += count,
        None => outcomes.push(OutcomeCount {
            outcome: outcome.to_owned(),
            meaning: meaning.to_owned(),
            count,
        }),
    }
}
