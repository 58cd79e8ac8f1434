//! Who held and who waited for the global interpreter lock (GIL) of CPython.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::profile::{
    FrameKind, FunctionId, LockUse, ProcessId, Recording, Source, StackId, ThreadId,
};

use super::Amount;

/// The lock of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockRow {
    pub usage: LockUse,
    /// How long waits were measured, nanoseconds; `None`: they were not.
    pub measured_ns: Option<u64>,
    /// All waits of its threads; the weight is nanoseconds.
    pub waits: Amount,
    /// Those that waited, longest first.
    pub threads: Vec<WaitingThread>,
}

/// A thread that waited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingThread {
    pub thread: ThreadId,
    pub waits: Amount,
    /// By the innermost Python function of the waiting stack, longest first;
    /// `None`: there was none. They add up to `waits`.
    pub functions: Vec<(Option<FunctionId>, Amount)>,
}

/// Every process with a lock, the one that waited longest first.
pub fn locks(recording: &Recording) -> Vec<LockRow> {
    let mut uses = BTreeMap::<ProcessId, LockUse>::new();
    for usage in &recording.locks {
        // One entry a process; of what says otherwise the first is taken.
        uses.entry(usage.process).or_insert(*usage);
    }
    let innermost = innermost_python(recording);
    let mut waits = BTreeMap::<ThreadId, FxHashMap<Option<FunctionId>, Amount>>::new();
    for sample in &recording.samples {
        if sample.source != Source::GilWait {
            continue;
        }
        let function = sample.stack.and_then(|stack| innermost[stack as usize]);
        let functions = waits.entry(sample.thread).or_default();
        *functions.entry(function).or_default() += Amount {
            weight: sample.weight,
            count: sample.count,
        };
    }
    let mut threads = BTreeMap::<ProcessId, Vec<WaitingThread>>::new();
    for (thread, functions) in waits {
        let mut functions: Vec<_> = functions.into_iter().collect();
        functions.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        let process = recording.threads[thread as usize].process;
        // Nothing waits without a lock; if the file says so, it is shown.
        uses.entry(process).or_insert(LockUse {
            process,
            ..LockUse::default()
        });
        threads.entry(process).or_default().push(WaitingThread {
            thread,
            waits: functions.iter().map(|&(_, amount)| amount).sum(),
            functions,
        });
    }
    let mut rows: Vec<LockRow> = uses
        .into_values()
        .map(|usage| {
            let mut threads = threads.remove(&usage.process).unwrap_or_default();
            threads.sort_by_key(|row| (std::cmp::Reverse(row.waits), row.thread));
            LockRow {
                usage,
                measured_ns: usage
                    .measured_from_ns
                    .map(|from| recording.about.duration_ns.saturating_sub(from)),
                waits: threads.iter().map(|row| row.waits).sum(),
                threads,
            }
        })
        .collect();
    rows.sort_by_key(|row| {
        (
            std::cmp::Reverse((row.waits, row.usage.known)),
            row.usage.process,
        )
    });
    rows
}

/// For each stack its innermost Python function.
fn innermost_python(recording: &Recording) -> Vec<Option<FunctionId>> {
    let mut innermost: Vec<Option<FunctionId>> = Vec::with_capacity(recording.stacks.len());
    for node in &recording.stacks {
        let function = recording.frame(node.frame).function;
        let outer = |caller: StackId| innermost[caller as usize];
        let here = if recording.functions[function as usize].kind == FrameKind::Python {
            Some(function)
        } else {
            node.caller.and_then(outer)
        };
        innermost.push(here);
    }
    innermost
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::sample;

    #[test]
    fn waits_by_process_thread_and_function() {
        let recording = sample::plain();
        let rows = locks(&recording);
        let [row] = &rows[..] else {
            panic!("{rows:?}");
        };
        assert_eq!((row.usage.held, row.usage.known), (72, 90));
        assert_eq!(row.measured_ns, Some(58_000_000_000));
        assert_eq!(row.waits.weight, recording.total(Source::GilWait));
        let waited: Vec<_> = row
            .threads
            .iter()
            .map(|row| (row.thread, row.waits.count, row.waits.weight))
            .collect();
        assert_eq!(
            waited,
            [
                (sample::API_WORKER, 803, 4_500_000_000),
                (sample::API, 200, 1_000_000_000)
            ]
        );
        let names: Vec<_> = row.threads[0]
            .functions
            .iter()
            .map(|&(id, amount)| {
                let name = id.map(|id| recording.functions[id as usize].name.as_str());
                (name, amount.count)
            })
            .collect();
        assert_eq!(names, [(Some("walk"), 800), (None, 3)]);
        // Called by Python, though the innermost frame is native.
        let [(Some(module), _)] = row.threads[1].functions[..] else {
            panic!("{row:?}");
        };
        assert_eq!(recording.functions[module as usize].name, "<module>");
    }

    #[test]
    fn no_wait_is_lost_and_no_process_shown_twice() {
        for seed in 0..20 {
            let recording = sample::nasty(seed);
            let rows = locks(&recording);
            let total: u64 = rows.iter().map(|row| row.waits.weight).sum();
            assert_eq!(total, recording.total(Source::GilWait));
            let mut processes: Vec<_> = rows.iter().map(|row| row.usage.process).collect();
            processes.sort_unstable();
            processes.dedup();
            assert_eq!(processes.len(), rows.len());
        }
    }

    #[test]
    fn what_was_not_measured_has_no_interval() {
        let mut recording = sample::plain();
        recording.locks[0].measured_from_ns = None;
        recording
            .samples
            .retain(|sample| sample.source == Source::OnCpu);
        let rows = locks(&recording);
        assert_eq!(rows[0].measured_ns, None);
        assert!(rows[0].waits.is_zero() && rows[0].threads.is_empty());
        assert!(locks(&sample::empty()).is_empty());
    }
}
