//! Python functions as `cProfile` shows them: what each took itself and with
//! what it called, callers, callees and lines. Sampled, not counted.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::profile::{FrameKind, FunctionId, Recording, Source, StackId};

use super::{Amount, FunctionRow, Kept, Neighbour, Top, Views, interpreted, top};

/// A Python function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PythonRow {
    pub function: FunctionId,
    /// While its own code was interpreted.
    pub own: Amount,
    /// In native code and in the kernel, called by it and not by a Python
    /// function that it called.
    pub native: Amount,
    /// While it was anywhere on the stack; a recursive function counts once.
    pub total: Amount,
    /// Python functions that called it, `None`: no Python function did. They
    /// add up to `total`.
    pub callers: Vec<Neighbour>,
    /// Python functions and native ones that it called, `None`: it ran itself.
    /// They add up to `total`. A native function stands for all that was
    /// between it and Python: it is the innermost one, where the time went.
    pub callees: Vec<Neighbour>,
    /// Heaviest first, by their total.
    pub lines: Vec<LineRow>,
}

impl PythonRow {
    /// What no other Python function had: parts of all Python time.
    pub fn share(&self) -> Amount {
        [self.own, self.native].into_iter().sum()
    }
}

/// A line of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineRow {
    /// 0 when unknown.
    pub line: u32,
    /// While it ran, or what it called that is not Python.
    pub own: Amount,
    /// With all it called; a line counts once in a stack.
    pub total: Amount,
}

/// The heaviest Python functions, by [`PythonRow::share`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PythonTable {
    /// Of all stacks with a Python function.
    pub total: Amount,
    pub functions: Top<PythonRow>,
}

/// The table of at most `limit` functions; `None` when no Python was recorded.
pub fn python_functions(
    recording: &Recording,
    source: Source,
    limit: usize,
) -> Option<PythonTable> {
    let is_python = |id: FunctionId| recording.functions[id as usize].kind == FrameKind::Python;
    // Most recordings of most hosts: no need to build what stays empty.
    if !recording
        .functions
        .iter()
        .any(|function| function.kind == FrameKind::Python)
    {
        return None;
    }
    let shorter = interpreted(recording, Kept::PythonAndLeaf);
    let views = Views::new(&shorter, source);
    let total = views.total.without(views.without_stack);
    if total.is_zero() {
        return None;
    }
    let mut native = FxHashMap::<FunctionId, Amount>::default();
    for (id, node) in shorter.stacks.iter().enumerate() {
        let own = views.own(id as StackId);
        if let Some(caller) = node.caller
            && !own.is_zero()
            && !is_python(shorter.frame(node.frame).function)
        {
            let caller = shorter.stacks[caller as usize].frame;
            *native.entry(shorter.frame(caller).function).or_default() += own;
        }
    }
    let share = |row: &FunctionRow| -> Amount {
        let native = native.get(&row.function).copied().unwrap_or_default();
        [row.own, native].into_iter().sum()
    };
    let mut rows = views.functions();
    rows.retain(|row| is_python(row.function));
    // Stable: equal ones stay as the table of functions orders them.
    rows.sort_by_key(|row| std::cmp::Reverse((share(row), row.total)));
    let Top {
        rows,
        others,
        others_count,
    } = top(rows, limit, share);
    let mut details = Details::default();
    details.find(
        &views,
        &rows
            .iter()
            .map(|row| row.function)
            .collect::<FxHashSet<_>>(),
    );
    let rows = rows
        .into_iter()
        .map(|row| PythonRow {
            function: row.function,
            own: row.own,
            native: native.get(&row.function).copied().unwrap_or_default(),
            total: row.total,
            callers: views.neighbours(details.callers.remove(&row.function).unwrap_or_default()),
            callees: views.neighbours(details.callees.remove(&row.function).unwrap_or_default()),
            lines: lines(details.lines.remove(&row.function).unwrap_or_default()),
        })
        .collect();
    Some(PythonTable {
        total,
        functions: Top {
            rows,
            others,
            others_count,
        },
    })
}

type Neighbours = FxHashMap<FunctionId, FxHashMap<Option<FunctionId>, Amount>>;

/// What is around and in some functions. [`Views::around`] says the same of
/// one, and passes over all stacks for it.
#[derive(Default)]
struct Details {
    callers: Neighbours,
    callees: Neighbours,
    /// By line: its own and its total.
    lines: FxHashMap<FunctionId, FxHashMap<u32, (Amount, Amount)>>,
}

impl Details {
    fn find(&mut self, views: &Views, functions: &FxHashSet<FunctionId>) {
        let recording = views.recording;
        // Of one stack: each function with the caller of its outermost frame.
        let mut callers = FxHashMap::<FunctionId, Option<FunctionId>>::default();
        let mut seen_lines = FxHashSet::default();
        for id in 0..recording.stacks.len() as StackId {
            let amount = views.own(id);
            if amount.is_zero() {
                continue;
            }
            callers.clear();
            seen_lines.clear();
            let mut frames = recording
                .frames_of(Some(id))
                .map(|frame| recording.frame(frame))
                .peekable();
            let mut called = None;
            let mut innermost = true;
            while let Some(frame) = frames.next() {
                let function = frame.function;
                if functions.contains(&function) {
                    let caller = frames.peek().map(|caller| caller.function);
                    if callers.insert(function, caller).is_none() {
                        add(&mut self.callees, function, called, amount);
                    }
                    if seen_lines.insert((function, frame.line)) {
                        let lines = self.lines.entry(function).or_default();
                        let (own, total) = lines.entry(frame.line).or_default();
                        *total += amount;
                        if innermost {
                            *own += amount;
                        }
                    }
                }
                called = Some(function);
                innermost &= recording.functions[function as usize].kind != FrameKind::Python;
            }
            for (&function, &caller) in &callers {
                add(&mut self.callers, function, caller, amount);
            }
        }
    }
}

fn add(to: &mut Neighbours, function: FunctionId, other: Option<FunctionId>, amount: Amount) {
    *to.entry(function).or_default().entry(other).or_default() += amount;
}

/// Heaviest first.
fn lines(amounts: FxHashMap<u32, (Amount, Amount)>) -> Vec<LineRow> {
    let mut rows: Vec<_> = amounts
        .into_iter()
        .map(|(line, (own, total))| LineRow { line, own, total })
        .collect();
    rows.sort_unstable_by_key(|row| (std::cmp::Reverse((row.total, row.own)), row.line));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::sample;

    fn counts(recording: &Recording, rows: &[Neighbour]) -> Vec<(String, u64)> {
        rows.iter()
            .map(|row| {
                let name = row
                    .function
                    .map_or("", |id| recording.functions[id as usize].name.as_str());
                (name.to_string(), row.amount.count)
            })
            .collect()
    }

    #[test]
    fn functions_with_callers_callees_and_lines() {
        let recording = sample::plain();
        let table = python_functions(&recording, Source::OnCpu, 10).expect("there is Python");
        assert_eq!(table.total.count, 150);
        let [walk, module] = &table.functions.rows[..] else {
            panic!("{table:?}");
        };
        assert_eq!((walk.own.count, walk.native.count), (90, 0));
        assert_eq!((module.own.count, module.native.count), (0, 60));
        assert_eq!((walk.total.count, module.total.count), (90, 150));
        let owned = |rows: &[(&str, u64)]| -> Vec<(String, u64)> {
            rows.iter()
                .map(|&(name, count)| (name.to_string(), count))
                .collect()
        };
        assert_eq!(
            counts(&recording, &walk.callers),
            owned(&[("<module>", 90)])
        );
        assert_eq!(counts(&recording, &walk.callees), owned(&[("", 90)]));
        assert_eq!(counts(&recording, &module.callers), owned(&[("", 150)]));
        assert_eq!(
            counts(&recording, &module.callees),
            owned(&[
                ("walk", 90),
                ("Py_INCREF", 30),
                ("ksys_read", 25),
                ("_PyEval_EvalFrame", 5)
            ])
        );
        let lines: Vec<_> = walk
            .lines
            .iter()
            .map(|row| (row.line, row.own.count, row.total.count))
            .collect();
        assert_eq!(lines, [(12, 90, 90), (13, 0, 50)]);
    }

    #[test]
    fn neighbours_are_those_of_each_function_alone() {
        for recording in [sample::plain(), sample::large(500, 30), sample::nasty(4)] {
            let shorter = interpreted(&recording, Kept::PythonAndLeaf);
            let views = Views::new(&shorter, Source::OnCpu);
            let table = python_functions(&recording, Source::OnCpu, 50).expect("there is Python");
            for row in table.functions.rows {
                let around = views.around(row.function);
                assert_eq!((row.callers, row.callees), (around.callers, around.callees));
            }
        }
    }

    #[test]
    fn shares_are_parts_of_all_python_time() {
        for recording in [sample::plain(), sample::large(500, 30), sample::nasty(4)] {
            for source in Source::ALL {
                let Some(table) = python_functions(&recording, source, 3) else {
                    continue;
                };
                let mut sum: Amount = table.functions.rows.iter().map(PythonRow::share).sum();
                sum += table.functions.others;
                assert_eq!(sum, table.total);
                for row in &table.functions.rows {
                    let sum =
                        |rows: &[Neighbour]| rows.iter().map(|row| row.amount).sum::<Amount>();
                    assert_eq!(sum(&row.callers), row.total);
                    assert_eq!(sum(&row.callees), row.total);
                    let own: Amount = row.lines.iter().map(|line| line.own).sum();
                    assert_eq!(own, row.share());
                }
            }
        }
        assert_eq!(python_functions(&sample::empty(), Source::OnCpu, 3), None);
    }
}
