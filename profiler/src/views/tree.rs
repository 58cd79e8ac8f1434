//! The tree of stacks with accumulated weights.

use crate::profile::{StackId, StackNode};

use super::Amount;

/// For each stack what ran in it, what ran in it and what it called, and an
/// order that keeps what was called from one place together.
pub struct Tree {
    own: Vec<Amount>,
    total: Vec<Amount>,
    /// Children of all nodes, node after node; `first_child` says where each
    /// node's start.
    children: Vec<StackId>,
    first_child: Vec<u32>,
    roots: Vec<StackId>,
}

/// A step of a walk over the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Enter(StackId),
    Leave(StackId),
}

impl Tree {
    /// Callers have smaller ids than what they call, so one pass from the end
    /// adds everything up, however deep the stacks are.
    pub(super) fn new(nodes: &[StackNode], own: Vec<Amount>) -> Self {
        let mut total = own.clone();
        let mut first_child = vec![0_u32; nodes.len() + 1];
        for (id, node) in nodes.iter().enumerate().rev() {
            if let Some(caller) = node.caller {
                let amount = total[id];
                total[caller as usize] += amount;
                first_child[caller as usize + 1] += 1;
            }
        }
        for index in 1..first_child.len() {
            first_child[index] += first_child[index - 1];
        }
        let mut next = first_child.clone();
        let mut children = vec![0; first_child.last().map_or(0, |&count| count as usize)];
        let mut roots = Vec::new();
        for (id, node) in nodes.iter().enumerate() {
            match node.caller {
                Some(caller) => {
                    let slot = &mut next[caller as usize];
                    children[*slot as usize] = id as StackId;
                    *slot += 1;
                }
                None => roots.push(id as StackId),
            }
        }
        Self {
            own,
            total,
            children,
            first_child,
            roots,
        }
    }

    pub fn own(&self, stack: StackId) -> Amount {
        self.own[stack as usize]
    }

    pub fn total(&self, stack: StackId) -> Amount {
        self.total[stack as usize]
    }

    pub fn roots(&self) -> &[StackId] {
        &self.roots
    }

    pub fn children(&self, stack: StackId) -> &[StackId] {
        let stack = stack as usize;
        &self.children[self.first_child[stack] as usize..self.first_child[stack + 1] as usize]
    }

    /// Depth first, callers before callees. What has no weight is left out.
    pub fn walk(&self, mut visit: impl FnMut(Step)) {
        let mut pending: Vec<Step> = Vec::new();
        let push = |pending: &mut Vec<Step>, ids: &[StackId]| {
            pending.extend(
                ids.iter()
                    .rev()
                    .filter(|&&id| !self.total[id as usize].is_zero())
                    .map(|&id| Step::Enter(id)),
            );
        };
        push(&mut pending, &self.roots);
        while let Some(step) = pending.pop() {
            visit(step);
            if let Step::Enter(id) = step {
                pending.push(Step::Leave(id));
                push(&mut pending, self.children(id));
            }
        }
    }
}
