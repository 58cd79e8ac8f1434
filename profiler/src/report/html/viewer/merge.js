// The tree from the root: stacks of a recording share their callers already,
// so each of its stack nodes is merged once per group, not once per sample.

/** Finds the child of a node by key: open addressing over the tree itself. */
class ChildIndex {
  constructor(tree) {
    this.tree = tree;
    this.resize(1 << 12);
  }

  resize(size) {
    this.slots = new Int32Array(size).fill(-1);
    this.mask = size - 1;
    for (let node = 1; node < this.tree.length; node += 1) {
      this.slots[this.slot(this.tree.parent[node], this.tree.key[node])] = node;
    }
  }

  /** Where the child is, or belongs. */
  slot(parent, key) {
    let slot = (Math.imul(parent, 0x9e3779b1) ^ Math.imul(key, 0x85ebca6b)) >>> 0;
    slot = (slot ^ (slot >>> 15)) & this.mask;
    for (;;) {
      const node = this.slots[slot];
      if (node < 0 || (this.tree.parent[node] === parent && this.tree.key[node] === key)) return slot;
      slot = (slot + 1) & this.mask;
    }
  }

  child(parent, key) {
    const slot = this.slot(parent, key);
    if (this.slots[slot] >= 0) return this.slots[slot];
    const node = this.tree.add(parent, key);
    this.slots[slot] = node;
    if (this.tree.length * 2 > this.slots.length) this.resize(this.slots.length * 2);
    return node;
  }
}

/**
 * Merges the selected samples from the root.
 *
 * `focus`: a key to start from instead, at its outermost occurrence in each
 * stack; `outermost` then is each row's stack node of it (-1: does not occur),
 * where the callers' tree goes on.
 */
function mergeFromRoot(tables, keys, selection, { group = "none", collapse = false, focus = -1 } = {}) {
  const { samples, threads, stacks } = tables;
  const tree = new Tree(keys, 4096);
  const root = tree.add(-1, focus < 0 ? keys.root : focus);
  const index = new ChildIndex(tree);
  const levels = GROUPS[group];
  const memo = new Int32Array(stacks.caller.length);
  const stamp = new Int32Array(stacks.caller.length);
  const start = new Int32Array(focus < 0 ? 0 : stacks.caller.length).fill(-1);
  const outermost = new Int32Array(focus < 0 ? 0 : selection.rows.length).fill(-1);
  const pending = [];
  const OUTSIDE = -1;

  // The memo holds for one group at a time, so rows go group by group.
  const groupOf = (row) => {
    const thread = samples.thread[row];
    if (group === "thread") return thread;
    if (group === "process") return threads.process[thread];
    return group === "container" ? tables.processes.container[threads.process[thread]] : 0;
  };
  const positions = Uint32Array.from(selection.rows, (_, position) => position);
  if (levels.length > 0) {
    const groups = Int32Array.from(selection.rows, groupOf);
    positions.sort((a, b) => groups[a] - groups[b] || a - b);
  }

  let current = -1;
  let era = 0;
  let base = root;
  for (const position of positions) {
    const row = selection.rows[position];
    const group = levels.length > 0 ? groupOf(row) : 0;
    if (group !== current) {
      current = group;
      era += 1;
      base = root;
      for (const level of levels) {
        base = index.child(base, groupKey(tables, keys, samples.thread[row], level));
      }
    }
    let node = focus < 0 ? base : OUTSIDE;
    let stack = samples.stack[row];
    if (stack < 0) {
      if (focus < 0) node = index.child(base, keys.noStack);
      else if (focus === keys.noStack) node = root;
    } else {
      for (; stack >= 0 && stamp[stack] !== era; stack = stacks.caller[stack]) pending.push(stack);
      if (stack >= 0) node = memo[stack];
      let begun = stack >= 0 && focus >= 0 ? start[stack] : -1;
      while (pending.length > 0) {
        stack = pending.pop();
        const key = keys.ofFrame[stacks.frame[stack]];
        if (node === OUTSIDE) {
          if (key === focus) {
            node = root;
            begun = stack;
          }
        } else if (!(collapse && tree.key[node] === key)) {
          node = index.child(node, key);
        }
        memo[stack] = node;
        stamp[stack] = era;
        if (focus >= 0) start[stack] = begun;
      }
      if (focus >= 0) outermost[position] = begun;
    }
    if (node === OUTSIDE) continue;
    tree.self[node] += samples.weight[row];
    tree.total[node] += samples.weight[row];
    tree.count[node] += samples.count[row];
  }
  linkChildren(tree);
  tree.outermost = outermost;
  return tree;
}

/** Sums totals, and lists each node's children: parents have smaller ids. */
function linkChildren(tree) {
  const { length, parent, total, count, first, last } = tree;
  for (let node = length - 1; node > 0; node -= 1) {
    total[parent[node]] += total[node];
    count[parent[node]] += count[node];
    last[parent[node]] += 1;
  }
  let at = 0;
  for (let node = 0; node < length; node += 1) {
    first[node] = at;
    at += last[node];
    last[node] = first[node];
  }
  for (let node = 1; node < length; node += 1) tree.children[last[parent[node]]++] = node;
}
