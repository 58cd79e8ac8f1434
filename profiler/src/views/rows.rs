//! Totals per container, process, thread, module and kind of code, and the
//! heaviest stacks.

use rustc_hash::FxHashMap;

use crate::profile::{ContainerId, FrameKind, ModuleId, ProcessId, StackId, ThreadId};

use super::{Amount, Views};

/// A row of a table: what, and what it adds up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<Id> {
    pub id: Id,
    pub amount: Amount,
}

/// A stack of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackRow {
    pub process: ProcessId,
    /// `None`: no frame of it is known.
    pub stack: Option<StackId>,
    pub amount: Amount,
}

/// The first rows of a table, and what the others add up to: a table that
/// shows a part still adds up to the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Top<T> {
    pub rows: Vec<T>,
    pub others: Amount,
    pub others_count: usize,
}

/// The first `limit` of `rows`.
pub fn top<T>(mut rows: Vec<T>, limit: usize, amount: impl Fn(&T) -> Amount) -> Top<T> {
    let others = rows.get(limit..).unwrap_or_default();
    let (others, others_count) = (others.iter().map(amount).sum(), others.len());
    rows.truncate(limit);
    Top {
        rows,
        others,
        others_count,
    }
}

/// Heaviest first, equal ones by name, equal names by id: the same recording
/// always gives the same table.
fn sorted<'n, Id: Copy + Ord>(
    amounts: impl Iterator<Item = (Id, Amount)>,
    name: impl Fn(Id) -> &'n str,
) -> Vec<Row<Id>> {
    let mut rows: Vec<_> = amounts.map(|(id, amount)| Row { id, amount }).collect();
    rows.sort_unstable_by(|a, b| {
        b.amount
            .cmp(&a.amount)
            .then_with(|| name(a.id).cmp(name(b.id)))
            .then(a.id.cmp(&b.id))
    });
    rows
}

fn by_id(amounts: &[Amount]) -> impl Iterator<Item = (u32, Amount)> + '_ {
    amounts
        .iter()
        .enumerate()
        .map(|(id, &amount)| (id as u32, amount))
}

impl Views<'_> {
    /// All containers, also those where nothing ran.
    pub fn containers(&self) -> Vec<Row<ContainerId>> {
        sorted(by_id(&self.containers), |id| {
            &self.recording.containers[id as usize].name
        })
    }

    /// All processes, also those that did not run.
    pub fn processes(&self) -> Vec<Row<ProcessId>> {
        sorted(by_id(&self.processes), |id| {
            &self.recording.processes[id as usize].name
        })
    }

    /// All threads, also those that did not run.
    pub fn threads(&self) -> Vec<Row<ThreadId>> {
        sorted(by_id(&self.threads), |id| {
            &self.recording.threads[id as usize].name
        })
    }

    /// Modules by what ran in them themselves; `None` is what has no module.
    pub fn modules(&self) -> Vec<Row<Option<ModuleId>>> {
        let mut amounts = FxHashMap::<Option<ModuleId>, Amount>::default();
        *amounts.entry(None).or_default() += self.without_stack;
        self.each_own(|frame, own| {
            let module = self.recording.function_of(frame).module;
            *amounts.entry(module).or_default() += own;
        });
        sorted(
            amounts.into_iter().filter(|(_, amount)| !amount.is_zero()),
            |id| id.map_or("", |id| &self.recording.modules[id as usize].path),
        )
    }

    /// Kinds of code by what ran in them themselves; `None` is what has no
    /// known frame.
    pub fn kinds(&self) -> Vec<Row<Option<FrameKind>>> {
        let mut amounts = FxHashMap::<Option<FrameKind>, Amount>::default();
        *amounts.entry(None).or_default() += self.without_stack;
        self.each_own(|frame, own| {
            let kind = self.recording.function_of(frame).kind;
            *amounts.entry(Some(kind)).or_default() += own;
        });
        sorted(
            amounts.into_iter().filter(|(_, amount)| !amount.is_zero()),
            |_| "",
        )
    }

    /// All stacks of each process, the heaviest first.
    pub fn stacks(&self) -> Vec<StackRow> {
        let mut amounts = FxHashMap::<(ProcessId, Option<StackId>), Amount>::default();
        for sample in &self.recording.samples {
            if !self.source.shows(sample.source) {
                continue;
            }
            let process = self.recording.threads[sample.thread as usize].process;
            *amounts.entry((process, sample.stack)).or_default() += Amount {
                weight: sample.weight,
                count: sample.count,
            };
        }
        let mut rows: Vec<_> = amounts
            .into_iter()
            .map(|((process, stack), amount)| StackRow {
                process,
                stack,
                amount,
            })
            .collect();
        rows.sort_unstable_by(|a, b| {
            b.amount
                .cmp(&a.amount)
                .then((a.process, a.stack).cmp(&(b.process, b.stack)))
        });
        rows
    }

    fn each_own(&self, mut visit: impl FnMut(u32, Amount)) {
        for (id, node) in self.recording.stacks.iter().enumerate() {
            let own = self.tree.own(id as StackId);
            if !own.is_zero() {
                visit(node.frame, own);
            }
        }
    }
}
