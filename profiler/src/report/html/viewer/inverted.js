// The tree from the leaf. Stacks share nothing at that end, so a full tree of
// 100,000 stacks would have millions of nodes that no screen can show: a
// node's children are made when it is first looked at.

class InvertedTree extends Tree {
  /**
   * `cursors`: for each selected row the stack node to begin with; NONE leaves
   * the row out. Without it, rows begin with their innermost frame.
   */
  constructor(tables, keys, selection, { group = "none", collapse = false, root, cursors = null } = {}) {
    super(keys, 4096);
    this.tables = tables;
    this.collapse = collapse;
    this.levels = GROUPS[group];
    const { samples } = tables;
    const rows = selection.rows;
    this.rows = rows;
    /** Positions in `rows`; a node owns a range of it. */
    this.entries = new Int32Array(rows.length);
    /** What comes next for an entry: a stack node, or a code below zero. */
    this.cursor = new Int32Array(rows.length);
    this.from = new Int32Array(this.capacity);
    this.to = new Int32Array(this.capacity);
    this.expanded = new Uint8Array(this.capacity);
    this.columns.push("from", "to", "expanded");
    const node = this.add(-1, root ?? keys.root);
    let length = 0;
    for (let position = 0; position < rows.length; position += 1) {
      const row = rows[position];
      if (cursors && cursors[position] === InvertedTree.NONE) continue;
      this.entries[length++] = position;
      if (cursors) this.cursor[position] = cursors[position] < 0 ? this.group(0) : cursors[position];
      else this.cursor[position] = samples.stack[row] < 0 ? InvertedTree.NO_STACK : samples.stack[row];
      this.total[node] += samples.weight[row];
      this.count[node] += samples.count[row];
    }
    this.to[node] = length;
    this.entries = this.entries.subarray(0, length);
  }

  /** Code for the `n`th group row after the outermost frame. */
  group(n) {
    return n < this.levels.length ? -1 - n : InvertedTree.ENDED;
  }

  /** The next key of an entry, or -1 at its end; moves its cursor on. */
  next(position) {
    const cursor = this.cursor[position];
    const { stacks, samples } = this.tables;
    if (cursor >= 0) {
      const key = this.keys.ofFrame[stacks.frame[cursor]];
      this.step(position);
      if (this.collapse) this.skip(position, key);
      return key;
    }
    if (cursor === InvertedTree.ENDED) return -1;
    if (cursor === InvertedTree.NO_STACK) {
      this.cursor[position] = this.group(0);
      return this.keys.noStack;
    }
    const level = -1 - cursor;
    this.cursor[position] = this.group(level + 1);
    const thread = samples.thread[this.rows[position]];
    return groupKey(this.tables, this.keys, thread, this.levels[this.levels.length - 1 - level]);
  }

  step(position) {
    const caller = this.tables.stacks.caller[this.cursor[position]];
    this.cursor[position] = caller < 0 ? this.group(0) : caller;
  }

  /** Passes callers of the same key, when recursion is collapsed. */
  skip(position, key) {
    const { stacks } = this.tables;
    while (this.cursor[position] >= 0 && this.keys.ofFrame[stacks.frame[this.cursor[position]]] === key) {
      this.step(position);
    }
  }

  expand(node) {
    if (this.expanded[node]) return;
    this.expanded[node] = 1;
    const { samples } = this.tables;
    const range = this.entries.slice(this.from[node], this.to[node]);
    const children = new Map();
    const owner = new Int32Array(range.length);
    const sizes = [];
    const begin = this.length;
    for (let i = 0; i < range.length; i += 1) {
      const key = this.next(range[i]);
      const row = this.rows[range[i]];
      if (key < 0) {
        this.self[node] += samples.weight[row];
        owner[i] = -1;
        continue;
      }
      let child = children.get(key);
      if (child === undefined) {
        child = this.add(node, key);
        children.set(key, child);
        sizes.push(0);
      }
      this.total[child] += samples.weight[row];
      this.count[child] += samples.count[row];
      sizes[child - begin] += 1;
      owner[i] = child;
    }
    // Entries of a child lie together; those that ended come last.
    let at = this.from[node];
    for (let i = 0; i < sizes.length; i += 1) {
      this.from[begin + i] = at;
      this.to[begin + i] = at;
      this.children[begin + i] = begin + i;
      at += sizes[i];
    }
    for (let i = 0; i < range.length; i += 1) {
      if (owner[i] >= 0) this.entries[this.to[owner[i]]++] = range[i];
      else this.entries[at++] = range[i];
    }
    this.first[node] = begin;
    this.last[node] = this.length;
  }
}

InvertedTree.ENDED = -1000;
InvertedTree.NO_STACK = -1001;
InvertedTree.NONE = -1002;

/** Callers of a key, from the trees of its callees: see `mergeFromRoot`. */
function callersOf(tables, keys, selection, callees, focus, options) {
  const { samples, stacks } = tables;
  const cursors = Int32Array.from(selection.rows, (row, position) => {
    if (samples.stack[row] < 0) return focus === keys.noStack ? -1 : InvertedTree.NONE;
    const stack = callees.outermost[position];
    return stack < 0 ? InvertedTree.NONE : stacks.caller[stack];
  });
  return new InvertedTree(tables, keys, selection, { ...options, root: focus, cursors });
}
