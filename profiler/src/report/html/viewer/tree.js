// The tree behind a flame graph, in typed arrays. How its nodes come about is
// the business of merge.js (from the root) and inverted.js (from the leaf).

/** Typed arrays that grow together. */
class Tree {
  constructor(keys, capacity = 1024) {
    this.keys = keys;
    this.length = 0;
    this.capacity = capacity;
    this.key = new Int32Array(capacity);
    this.parent = new Int32Array(capacity);
    this.depth = new Int32Array(capacity);
    this.total = new Float64Array(capacity);
    this.self = new Float64Array(capacity);
    this.count = new Float64Array(capacity);
    /** Range of a node's children in `children`. */
    this.first = new Int32Array(capacity);
    this.last = new Int32Array(capacity);
    this.children = new Int32Array(capacity);
    this.sorted = new Uint8Array(capacity);
    this.columns = ["key", "parent", "depth", "total", "self", "count", "first", "last", "children", "sorted"];
    this.order = "weight";
    this.orderStamp = 1;
  }

  add(parent, key) {
    if (this.length === this.capacity) this.grow();
    const node = this.length++;
    this.parent[node] = parent;
    this.key[node] = key;
    this.depth[node] = parent < 0 ? 0 : this.depth[parent] + 1;
    return node;
  }

  grow() {
    this.capacity *= 2;
    for (const name of this.columns) {
      const larger = new this[name].constructor(this.capacity);
      larger.set(this[name]);
      this[name] = larger;
    }
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
    const { total, key, keys } = this;
    const range = this.children.subarray(this.first[node], this.last[node]);
    if (range.length < 2) return;
    const byName = (a, b) => {
      const [left, right] = [keys.shown(key[a]), keys.shown(key[b])];
      return left < right ? -1 : left > right ? 1 : key[a] - key[b];
    };
    if (this.order === "name") range.sort(byName);
    else range.sort((a, b) => total[b] - total[a] || byName(a, b));
  }

  /** Trees that grow as they are looked at make a node's children here. */
  expand() {}

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

/** Rows above the frames: which of container, process and thread. */
const GROUPS = {
  none: [],
  container: ["container"],
  process: ["container", "process"],
  thread: ["container", "process", "thread"],
};

/** The key of a sample's row at a level. */
function groupKey(tables, keys, thread, level) {
  if (level === "thread") return keys.keyOfThread(thread);
  const process = tables.threads.process[thread];
  if (level === "process") return keys.keyOfProcess(process);
  return keys.keyOfContainer(tables.processes.container[process]);
}
