// Which boxes of a tree are visible, and where. Only boxes that can be seen
// are made, so the work depends on the size of the canvas, not of the tree.

/** Narrower boxes (in CSS pixels) are not drawn on their own. */
const MINIMUM_WIDTH = 0.3;

/** Boxes row by row, left to right within a row. */
class Boxes {
  constructor() {
    this.capacity = 4096;
    this.x = new Float64Array(this.capacity);
    this.width = new Float64Array(this.capacity);
    /** Where the node begins, in weight: children begin there too. */
    this.offset = new Float64Array(this.capacity);
    /** -1: crumbs, several nodes too narrow to tell apart. */
    this.node = new Int32Array(this.capacity);
    this.clear();
  }

  clear() {
    this.length = 0;
    /** Index of each row's first box, and the end. */
    this.rows = [0];
  }

  push(x, width, offset, node) {
    if (this.length === this.capacity) {
      this.capacity *= 2;
      for (const name of ["x", "width", "offset", "node"]) {
        const larger = new this[name].constructor(this.capacity);
        larger.set(this[name]);
        this[name] = larger;
      }
    }
    const at = this.length++;
    this.x[at] = x;
    this.width[at] = width;
    this.offset[at] = offset;
    this.node[at] = node;
  }

  endRow() {
    this.rows.push(this.length);
  }

  get rowCount() {
    return this.rows.length - 1;
  }

  /** The box of a row at a place, or -1. */
  at(row, x) {
    if (row < 0 || row >= this.rowCount) return -1;
    let low = this.rows[row];
    let high = this.rows[row + 1] - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.x[middle] <= x) low = middle;
      else high = middle - 1;
    }
    if (low > high || this.x[low] > x + 0.5 || x > this.x[low] + Math.max(this.width[low], 1)) return -1;
    return low;
  }

  indexOf(node, row) {
    for (let i = this.rows[row] ?? 0; i < (this.rows[row + 1] ?? 0); i += 1) if (this.node[i] === node) return i;
    return -1;
  }
}

/**
 * Lays out a tree on `width` pixels, which show the weights from `left` to
 * `right` of its root.
 */
function layOut(tree, { left, right }, width, boxes) {
  boxes.clear();
  const scale = right > left ? width / (right - left) : 0;
  if (scale === 0) {
    boxes.endRow();
    return boxes;
  }
  boxes.push(-left * scale, tree.total[0] * scale, 0, 0);
  boxes.endRow();
  for (let row = 0; boxes.rows[row] < boxes.rows[row + 1]; row += 1) {
    const end = boxes.rows[row + 1];
    // Where the last box of the row below ends: one box a pixel is enough.
    let painted = -1;
    for (let parent = boxes.rows[row]; parent < end; parent += 1) {
      if (boxes.node[parent] >= 0) painted = layOutChildren(tree, boxes, parent, left, scale, width, painted);
    }
    if (boxes.length === end) break;
    boxes.endRow();
  }
  return boxes;
}

function layOutChildren(tree, boxes, parent, left, scale, width, painted) {
  const node = boxes.node[parent];
  tree.open(node);
  const { children, total } = tree;
  const byWeight = tree.order === "weight";
  const last = tree.last[node];
  let offset = boxes.offset[parent];
  let crumbs = -1;
  const sweep = (end) => {
    const x = (crumbs - left) * scale;
    const size = (end - crumbs) * scale;
    if (crumbs >= 0 && size >= 0.5 && x < width && x + size > 0) boxes.push(x, size, crumbs, -1);
    crumbs = -1;
  };
  for (let i = tree.first[node]; i < last; i += 1) {
    const child = children[i];
    const x = (offset - left) * scale;
    const size = total[child] * scale;
    if (x > width) return painted;
    if (size < MINIMUM_WIDTH && byWeight) {
      // All that follow are as narrow.
      crumbs = offset;
      for (; i < last; i += 1) offset += total[children[i]];
      break;
    }
    if (size < MINIMUM_WIDTH || (size < 1 && Math.floor(x) === painted)) {
      if (crumbs < 0) crumbs = offset;
    } else if (x + size >= 0) {
      sweep(offset);
      boxes.push(x, size, offset, child);
      painted = Math.floor(x + size - 1e-6);
    }
    offset += total[child];
  }
  sweep(offset);
  return painted;
}

/** Where a node begins, in weight. */
function offsetOf(tree, node) {
  let offset = 0;
  for (; node > 0; node = tree.parent[node]) {
    const parent = tree.parent[node];
    tree.open(parent);
    for (let i = tree.first[parent]; tree.children[i] !== node; i += 1) offset += tree.total[tree.children[i]];
  }
  return offset;
}
