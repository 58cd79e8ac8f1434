// The tree behind a flame graph, in typed arrays. A full tree of 100,000
// stacks has millions of nodes, and a screen shows some thousands: a node's
// children are made when it is first looked at.
//
// A node owns a range of the selection's rows; its children are made by
// sorting that range by the key that comes next. What comes next is a cursor
// for each row, so the same tree is built from the root (callees), from the
// leaf (inverted), and both ways from the middle (sandwich).

/** Rows above the frames: which of container, process and thread. */
const GROUPS = {
  none: [],
  container: ["container"],
  process: ["container", "process"],
  thread: ["container", "process", "thread"],
};

/** The key of a thread's row at a level. */
function groupKey(tables, keys, thread, level) {
  if (level === "thread") return keys.keyOfThread(thread);
  const process = tables.threads.process[thread];
  if (level === "process") return keys.keyOfProcess(process);
  return keys.keyOfContainer(tables.processes.container[process]);
}

/** Cursors below zero: the nth row of groups is -1 - n. */
const ENDED = -1000;

class Tree {
  /**
   * `inwards`: towards the leaf. `group`: rows of groups at the outer end.
   * `collapse`: callers of their own are passed over. `focus`: a key to begin
   * with, at its outermost occurrence in each stack; others are left out.
   */
  constructor(tables, keys, paths, { inwards, group = "none", collapse = false, focus = -1 }) {
    Object.assign(this, { tables, keys, paths, inwards, collapse });
    this.levels = GROUPS[group];
    this.columns = {
      key: Int32Array,
      parent: Int32Array,
      depth: Int32Array,
      total: Float64Array,
      self: Float64Array,
      count: Float64Array,
      // Range of a node's children in `children`, and of its rows in `entries`.
      first: Int32Array,
      last: Int32Array,
      children: Int32Array,
      from: Int32Array,
      to: Int32Array,
      expanded: Uint8Array,
      sorted: Uint8Array,
    };
    this.length = 0;
    this.capacity = 4096;
    for (const [name, Type] of Object.entries(this.columns)) this[name] = new Type(this.capacity);
    this.order = "weight";
    this.orderStamp = 1;
    /** For `expand`: the child that a key has, -1 in between. */
    this.childOf = new Int32Array(keys.count).fill(-1);

    const { weight, count } = tables.samples;
    const rows = paths.rows.length;
    this.entries = new Int32Array(rows);
    this.cursor = new Int32Array(rows);
    const root = this.add(-1, focus < 0 ? keys.root : focus);
    let length = 0;
    for (let n = 0; n < rows; n += 1) {
      if (focus < 0) {
        if (inwards) this.cursor[n] = this.levels.length > 0 ? -1 : paths.start[n + 1] - 1;
        else this.cursor[n] = paths.start[n];
      } else {
        let at = paths.start[n + 1] - 1;
        while (at >= paths.start[n] && paths.keys[at] !== focus) at -= 1;
        if (at < paths.start[n]) continue;
        this.cursor[n] = at;
        this.step(n);
        if (collapse) this.skip(n, focus);
      }
      this.entries[length++] = n;
      this.total[root] += weight[paths.rows[n]];
      this.count[root] += count[paths.rows[n]];
    }
    this.to[root] = length;
  }

  add(parent, key) {
    if (this.length === this.capacity) {
      this.capacity *= 2;
      for (const [name, Type] of Object.entries(this.columns)) {
        const larger = new Type(this.capacity);
        larger.set(this[name]);
        this[name] = larger;
      }
    }
    const node = this.length++;
    this.parent[node] = parent;
    this.key[node] = key;
    this.depth[node] = parent < 0 ? 0 : this.depth[parent] + 1;
    return node;
  }

  /** Moves a row's cursor past a frame. */
  step(n) {
    const { start } = this.paths;
    if (this.inwards) {
      this.cursor[n] -= 1;
      if (this.cursor[n] < start[n]) this.cursor[n] = ENDED;
    } else {
      this.cursor[n] += 1;
      if (this.cursor[n] >= start[n + 1]) this.cursor[n] = this.levels.length > 0 ? -1 : ENDED;
    }
  }

  /** Passes frames of the same key, when recursion is collapsed. */
  skip(n, key) {
    while (this.cursor[n] >= 0 && this.paths.keys[this.cursor[n]] === key) this.step(n);
  }

  /** The next key of a row, or -1 at its end; moves its cursor on. */
  next(n) {
    const cursor = this.cursor[n];
    if (cursor === ENDED) return -1;
    if (cursor >= 0) {
      const key = this.paths.keys[cursor];
      this.step(n);
      if (this.collapse) this.skip(n, key);
      return key;
    }
    // Groups: outermost first on the way in, last on the way out.
    const level = -1 - cursor;
    const { length } = this.levels;
    if (level + 1 < length) this.cursor[n] = cursor - 1;
    else this.cursor[n] = this.inwards ? this.paths.start[n + 1] - 1 : ENDED;
    const thread = this.tables.samples.thread[this.paths.rows[n]];
    return groupKey(this.tables, this.keys, thread, this.levels[this.inwards ? level : length - 1 - level]);
  }

  /** Makes a node's children. */
  expand(node) {
    if (this.expanded[node]) return;
    this.expanded[node] = 1;
    const { weight, count } = this.tables.samples;
    const range = this.entries.slice(this.from[node], this.to[node]);
    const owner = new Int32Array(range.length);
    const begin = this.length;
    for (let i = 0; i < range.length; i += 1) {
      const n = range[i];
      const row = this.paths.rows[n];
      const key = this.next(n);
      if (key < 0) {
        this.self[node] += weight[row];
        owner[i] = -1;
        continue;
      }
      let child = this.childOf[key];
      if (child < 0) {
        child = this.add(node, key);
        this.childOf[key] = child;
      }
      this.total[child] += weight[row];
      this.count[child] += count[row];
      this.to[child] += 1;
      owner[i] = child;
    }
    // Rows of a child lie together; those that ended come last.
    let at = this.from[node];
    for (let child = begin; child < this.length; child += 1) {
      this.childOf[this.key[child]] = -1;
      this.children[child] = child;
      this.from[child] = at;
      at += this.to[child];
      this.to[child] = this.from[child];
    }
    for (let i = 0; i < range.length; i += 1) {
      if (owner[i] >= 0) this.entries[this.to[owner[i]]++] = range[i];
      else this.entries[at++] = range[i];
    }
    this.first[node] = begin;
    this.last[node] = this.length;
  }

  /** Orders by `weight` or `name`; each range is sorted when it is looked at. */
  setOrder(order) {
    if (order === this.order) return;
    this.order = order;
    this.orderStamp = this.orderStamp === 1 ? 2 : 1;
    this.sorted.fill(0);
  }

  /** Makes `children[first[node]..last[node]]` valid and ordered. */
  open(node) {
    this.expand(node);
    if (this.sorted[node] === this.orderStamp) return;
    this.sorted[node] = this.orderStamp;
    if (this.last[node] - this.first[node] < 2) return;
    const { total, key, keys } = this;
    const range = this.children.subarray(this.first[node], this.last[node]);
    // Equal weights keep an order that does not depend on the view.
    if (this.order === "weight") range.sort((a, b) => total[b] - total[a] || key[a] - key[b]);
    else {
      const name = new Map(Array.from(range, (child) => [child, keys.shown(key[child])]));
      range.sort((a, b) => {
        const [left, right] = [name.get(a), name.get(b)];
        return left < right ? -1 : left > right ? 1 : key[a] - key[b];
      });
    }
  }

  /** From the root down to a node. */
  path(node) {
    const path = [];
    for (; node >= 0; node = this.parent[node]) path.push(node);
    return path.reverse();
  }

  /** The node that a path of keys leads to, or the nearest above it. */
  find(path) {
    let node = 0;
    for (const key of path.slice(1)) {
      this.open(node);
      const next = this.children.subarray(this.first[node], this.last[node]).find((child) => this.key[child] === key);
      if (next === undefined) break;
      node = next;
    }
    return node;
  }
}
