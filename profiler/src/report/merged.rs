//! Stacks as text: container, process and frames, outermost first, equal ones
//! merged.

use rustc_hash::FxHashMap;

use crate::{
    profile::{FrameKind, Recording, Source},
    views::ending,
};

use super::text::clean;

pub type NodeId = u32;
pub type LabelId = u32;

/// What a label is the name of; flame graphs colour it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelKind {
    Container,
    Process,
    Frame(FrameKind),
    Inlined,
}

#[derive(Clone, Debug)]
pub struct Label {
    /// Fit for a folded line.
    pub text: String,
    pub kind: LabelKind,
}

#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// Smaller than the node's own id.
    pub parent: Option<NodeId>,
    pub label: LabelId,
    /// Of what ended here.
    pub own: u64,
    /// With all below.
    pub total: u64,
}

/// The stacks of a recording as a tree of labels.
pub struct Merged {
    pub labels: Vec<Label>,
    pub nodes: Vec<Node>,
}

/// A step of a walk through the tree.
pub enum Step {
    Enter(NodeId),
    /// The node entered last that was not left yet.
    Leave,
}

/// Stands for the frames of a sample of which none is known.
pub const NO_STACK: &str = "[no stack]";

const NONE: u32 = u32::MAX;

#[derive(Default)]
struct Build {
    labels: Vec<Label>,
    by_text: FxHashMap<String, LabelId>,
    nodes: Vec<Node>,
    by_place: FxHashMap<(NodeId, LabelId), NodeId>,
}

impl Build {
    fn label(&mut self, name: &str, kind: LabelKind) -> LabelId {
        let text = fit(name);
        if let Some(&id) = self.by_text.get(&text) {
            return id;
        }
        let id = self.labels.len() as LabelId;
        self.by_text.insert(text.clone(), id);
        self.labels.push(Label { text, kind });
        id
    }

    fn child(&mut self, parent: Option<NodeId>, label: LabelId) -> NodeId {
        let nodes = &mut self.nodes;
        *self
            .by_place
            .entry((parent.unwrap_or(NONE), label))
            .or_insert_with(|| {
                nodes.push(Node {
                    parent,
                    label,
                    own: 0,
                    total: 0,
                });
                (nodes.len() - 1) as NodeId
            })
    }
}

/// A name as part of a folded line. `;` separates frames, so it becomes `:`,
/// as in other tools. A number after a blank at the end would be read as the
/// weight, `# ` at the start as a comment.
pub fn fit(name: &str) -> String {
    let mut text = clean(name).replace(';', ":");
    if let Some(blank) = text.rfind(' ')
        && text[blank + 1..]
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        text.replace_range(blank..=blank, "_");
    }
    if text.starts_with("# ") {
        text.replace_range(1..2, "_");
    }
    text
}

impl Merged {
    pub fn new(recording: &Recording, source: Source) -> Self {
        let mut build = Build::default();
        let roots: Vec<NodeId> = recording
            .processes
            .iter()
            .map(|process| {
                let container = &recording.containers[process.container as usize].name;
                let container = build.label(container, LabelKind::Container);
                let container = build.child(None, container);
                let process = build.label(&process.name, LabelKind::Process);
                build.child(Some(container), process)
            })
            .collect();
        // Samples root by root: what was found for a stack then holds until
        // the next root, and one entry a stack remembers it.
        let root_of = |sample: &crate::profile::Sample| {
            roots[recording.threads[sample.thread as usize].process as usize]
        };
        let mut samples: Vec<_> = recording
            .samples
            .iter()
            .filter(|sample| source.shows(sample.source) && sample.weight > 0)
            .collect();
        samples.sort_by_key(|sample| root_of(sample));
        let mut labels = vec![NONE; recording.frames.len()];
        let mut known = vec![(NONE, NONE); recording.stacks.len()];
        let mut path = Vec::new();
        for sample in samples {
            let root = root_of(sample);
            let mut node = root;
            let mut next = sample.stack;
            while let Some(stack) = next {
                let (its_root, its_node) = known[stack as usize];
                if its_root == root {
                    node = its_node;
                    break;
                }
                path.push(stack);
                next = recording.stacks[stack as usize].caller;
            }
            while let Some(stack) = path.pop() {
                let id = recording.stacks[stack as usize].frame;
                let label = &mut labels[id as usize];
                if *label == NONE {
                    let frame = recording.frame(id);
                    let function = recording.function_of(id);
                    let kind = match function.kind {
                        FrameKind::Native | FrameKind::Jit if frame.inlined => LabelKind::Inlined,
                        kind => LabelKind::Frame(kind),
                    };
                    *label = build.label(&frame.label(function), kind);
                }
                node = build.child(Some(node), *label);
                known[stack as usize] = (root, node);
            }
            if sample.stack.is_none() {
                let label = build.label(NO_STACK, LabelKind::Frame(FrameKind::Synthetic));
                node = build.child(Some(root), label);
            }
            if let Some(ending) = ending(source) {
                let label = build.label(ending, LabelKind::Frame(FrameKind::Synthetic));
                node = build.child(Some(node), label);
            }
            build.nodes[node as usize].own += sample.weight;
        }
        let mut nodes = build.nodes;
        for id in (0..nodes.len()).rev() {
            nodes[id].total += nodes[id].own;
            let Node { parent, total, .. } = nodes[id];
            if let Some(parent) = parent {
                nodes[parent as usize].total += total;
            }
        }
        Self {
            labels: build.labels,
            nodes,
        }
    }

    pub fn text(&self, node: NodeId) -> &str {
        &self.labels[self.nodes[node as usize].label as usize].text
    }

    /// Sum of all weights.
    pub fn total(&self) -> u64 {
        self.nodes.iter().map(|node| node.own).sum()
    }

    /// Depth first, children by their text, without what weighs nothing. Of a
    /// node that `wanted` refuses nothing below is visited either.
    pub fn walk<E>(
        &self,
        wanted: impl Fn(&Node) -> bool,
        mut visit: impl FnMut(Step) -> Result<(), E>,
    ) -> Result<(), E> {
        let (children, first) = self.children();
        let mut pending = Vec::new();
        // The parent's index plus one: the first list is that of the roots.
        let push = |pending: &mut Vec<Step>, list: usize| {
            let ids = &children[first[list] as usize..first[list + 1] as usize];
            pending.extend(
                ids.iter()
                    .rev()
                    .filter(|&&id| {
                        let node = &self.nodes[id as usize];
                        node.total > 0 && wanted(node)
                    })
                    .map(|&id| Step::Enter(id)),
            );
        };
        push(&mut pending, 0);
        while let Some(step) = pending.pop() {
            if let Step::Enter(id) = step {
                pending.push(Step::Leave);
                push(&mut pending, id as usize + 1);
            }
            visit(step)?;
        }
        Ok(())
    }

    /// Lists of children, sorted by text, one after the other, and where each
    /// starts. Two counting sorts: first all nodes by label, then by parent.
    fn children(&self) -> (Vec<NodeId>, Vec<u32>) {
        let mut order: Vec<LabelId> = (0..self.labels.len() as LabelId).collect();
        order.sort_unstable_by_key(|&id| &self.labels[id as usize].text);
        let mut rank = vec![0_u32; order.len()];
        for (place, &label) in order.iter().enumerate() {
            rank[label as usize] = place as u32;
        }
        let all = 0..self.nodes.len() as NodeId;
        let (by_label, _) = distribute(all, order.len(), |id| {
            rank[self.nodes[id as usize].label as usize] as usize
        });
        distribute(by_label, self.nodes.len() + 1, |id| {
            self.nodes[id as usize]
                .parent
                .map_or(0, |parent| parent as usize + 1)
        })
    }
}

/// A stable counting sort of `ids` into `lists` lists.
fn distribute(
    ids: impl IntoIterator<Item = NodeId, IntoIter: Clone>,
    lists: usize,
    list_of: impl Fn(NodeId) -> usize,
) -> (Vec<NodeId>, Vec<u32>) {
    let ids = ids.into_iter();
    let mut first = vec![0_u32; lists + 1];
    for id in ids.clone() {
        first[list_of(id) + 1] += 1;
    }
    for index in 1..first.len() {
        first[index] += first[index - 1];
    }
    let mut next = first.clone();
    let mut sorted = vec![0; first[lists] as usize];
    for id in ids {
        let slot = &mut next[list_of(id)];
        sorted[*slot as usize] = id;
        *slot += 1;
    }
    (sorted, first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_be_taken_for_separators_weights_or_comments() {
        assert_eq!(fit("a;b"), "a:b");
        assert_eq!(fit("worker 7"), "worker_7");
        assert_eq!(fit("v 1.5"), "v_1.5");
        assert_eq!(fit("# x"), "#_x");
        assert_eq!(fit("a\nb "), "a b");
        assert_eq!(fit("f(int, char)"), "f(int, char)");
        assert_eq!(fit(""), "[unknown]");
    }
}
