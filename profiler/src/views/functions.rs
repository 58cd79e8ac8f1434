//! Functions: what they took themselves, what with all they called, and who
//! called whom.

use rustc_hash::FxHashMap;

use crate::profile::{FunctionId, StackId};

use super::{Amount, Views, tree::Step};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionRow {
    pub function: FunctionId,
    /// While it was the innermost frame.
    pub own: Amount,
    /// While it was anywhere on the stack; a recursive function counts once.
    pub total: Amount,
}

/// A function next to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// `None` among callers: nothing called it, it is the thread's root.
    /// `None` among callees: nothing was called, it ran itself.
    pub function: Option<FunctionId>,
    pub amount: Amount,
}

/// Callers and callees of a function. Each table adds up to its total: callers
/// are those of its outermost frame, callees those of its innermost, so a
/// recursion is one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Around {
    pub callers: Vec<Neighbour>,
    pub callees: Vec<Neighbour>,
}

impl Views<'_> {
    fn function_at(&self, stack: StackId) -> FunctionId {
        let frame = self.recording.stacks[stack as usize].frame;
        self.recording.frames[frame as usize].function
    }

    /// All functions that were on a stack, by their own weight, heaviest first.
    pub fn functions(&self) -> Vec<FunctionRow> {
        let count = self.recording.functions.len();
        let mut own = vec![Amount::default(); count];
        let mut total = vec![Amount::default(); count];
        let mut on_path = vec![0_u32; count];
        self.tree.walk(|step| match step {
            Step::Enter(id) => {
                let function = self.function_at(id) as usize;
                own[function] += self.tree.own(id);
                if on_path[function] == 0 {
                    total[function] += self.tree.total(id);
                }
                on_path[function] += 1;
            }
            Step::Leave(id) => on_path[self.function_at(id) as usize] -= 1,
        });
        let mut rows: Vec<_> = own
            .into_iter()
            .zip(total)
            .enumerate()
            .filter(|(_, (_, total))| !total.is_zero())
            .map(|(id, (own, total))| FunctionRow {
                function: id as FunctionId,
                own,
                total,
            })
            .collect();
        let name = |row: &FunctionRow| &self.recording.functions[row.function as usize].name;
        rows.sort_unstable_by(|a, b| {
            (b.own, b.total)
                .cmp(&(a.own, a.total))
                .then_with(|| name(a).cmp(name(b)))
                .then(a.function.cmp(&b.function))
        });
        rows
    }

    /// Who called `function` and what it called.
    pub fn around(&self, function: FunctionId) -> Around {
        // For each stack the outermost and innermost frame of the function on
        // it, and what the innermost called. A caller's id is smaller than its
        // callee's, so all of them are known from one pass.
        #[derive(Clone, Copy)]
        struct Seen {
            outermost: StackId,
            called: Option<StackId>,
        }
        let nodes = &self.recording.stacks;
        let mut seen: Vec<Option<Seen>> = Vec::with_capacity(nodes.len());
        let mut callers = FxHashMap::<Option<FunctionId>, Amount>::default();
        let mut callees = FxHashMap::<Option<FunctionId>, Amount>::default();
        for (id, node) in nodes.iter().enumerate() {
            let id = id as StackId;
            let above = node.caller.and_then(|caller| seen[caller as usize]);
            let here = if self.function_at(id) == function {
                Some(Seen {
                    outermost: above.map_or(id, |seen| seen.outermost),
                    called: None,
                })
            } else {
                above.map(|seen| Seen {
                    called: seen.called.or(Some(id)),
                    ..seen
                })
            };
            seen.push(here);
            let own = self.tree.own(id);
            if let Some(here) = here
                && !own.is_zero()
            {
                let caller = nodes[here.outermost as usize].caller;
                *callers
                    .entry(caller.map(|caller| self.function_at(caller)))
                    .or_default() += own;
                *callees
                    .entry(here.called.map(|called| self.function_at(called)))
                    .or_default() += own;
            }
        }
        Around {
            callers: self.neighbours(callers),
            callees: self.neighbours(callees),
        }
    }

    pub(super) fn neighbours(
        &self,
        amounts: FxHashMap<Option<FunctionId>, Amount>,
    ) -> Vec<Neighbour> {
        let mut rows: Vec<_> = amounts
            .into_iter()
            .map(|(function, amount)| Neighbour { function, amount })
            .collect();
        rows.sort_unstable_by(|a, b| {
            b.amount
                .cmp(&a.amount)
                .then_with(|| a.function.cmp(&b.function))
        });
        rows
    }
}
