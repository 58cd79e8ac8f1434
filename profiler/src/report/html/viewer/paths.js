// The stacks of a selection as keys, innermost first, one after the other:
// walked once, then read in sequence by everything that looks into stacks.

class Paths {
  constructor(tables, keys, rows) {
    const { samples, stacks } = tables;
    this.rows = rows;
    /** `keys[start[n]..start[n + 1]]` is the stack of `rows[n]`. */
    this.start = new Uint32Array(rows.length + 1);
    let all = new Int32Array(Math.max(1024, rows.length * 24));
    let length = 0;
    for (let n = 0; n < rows.length; n += 1) {
      this.start[n] = length;
      let stack = samples.stack[rows[n]];
      if (stack < 0) {
        if (length === all.length) all = Paths.larger(all);
        all[length++] = keys.noStack;
      }
      for (; stack >= 0; stack = stacks.caller[stack]) {
        if (length === all.length) all = Paths.larger(all);
        all[length++] = keys.ofFrame[stacks.frame[stack]];
      }
    }
    this.start[rows.length] = length;
    this.keys = all.subarray(0, length);
  }

  static larger(array) {
    const larger = new Int32Array(array.length * 2);
    larger.set(array);
    return larger;
  }

  /**
   * Self and total weight per key. A key counts once in a stack however often
   * it occurs there, so no total is above the whole.
   */
  sums(tables, keys) {
    const { weight, count } = tables.samples;
    const sums = {
      self: new Float64Array(keys.count),
      total: new Float64Array(keys.count),
      count: new Float64Array(keys.count),
    };
    const seen = new Int32Array(keys.count).fill(-1);
    for (let n = 0; n < this.rows.length; n += 1) {
      const row = this.rows[n];
      sums.self[this.keys[this.start[n]]] += weight[row];
      for (let at = this.start[n]; at < this.start[n + 1]; at += 1) {
        const key = this.keys[at];
        if (seen[key] === n) continue;
        seen[key] = n;
        sums.total[key] += weight[row];
        sums.count[key] += count[row];
      }
    }
    return sums;
  }
}
