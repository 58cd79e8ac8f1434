// Which samples count: the filter, and sums over what it leaves.

/** Sources that have samples, and views of more than one such. */
function shownSources(sources, recorded) {
  return sources.map((_, id) => id).filter((id) => sources[id].parts.filter((part) => recorded.has(part)).length >= Math.min(2, sources[id].parts.length));
}

/**
 * A filter that leaves everything of one source, which shows the samples of
 * its parts; -1 is "all".
 */
function noFilter(source, parts) {
  return { source, parts, container: -1, process: -1, thread: -1 };
}

/** Rows of the sample table that pass, with their sum. */
function select(tables, filter) {
  const { samples, threads, processes } = tables;
  const rows = new Int32Array(samples.weight.length);
  let length = 0;
  let total = 0;
  let count = 0;
  for (let row = 0; row < rows.length; row += 1) {
    if (!filter.parts.includes(samples.source[row])) continue;
    const thread = samples.thread[row];
    if (filter.thread >= 0 && thread !== filter.thread) continue;
    const process = threads.process[thread];
    if (filter.process >= 0 && process !== filter.process) continue;
    if (filter.container >= 0 && processes.container[process] !== filter.container) continue;
    rows[length++] = row;
    total += samples.weight[row];
    count += samples.count[row];
  }
  return { rows: rows.subarray(0, length), total, count };
}

/** Weight and count of the selection per container, process or thread. */
function sumBy(tables, selection, level) {
  const { samples, threads, processes } = tables;
  const size = level === "thread" ? threads.tid.length : processes.pid.length;
  const containers = level === "container" ? 1 + processes.container.reduce((a, b) => Math.max(a, b), 0) : 0;
  const weight = new Float64Array(containers || size);
  const count = new Float64Array(containers || size);
  for (const row of selection.rows) {
    let id = samples.thread[row];
    if (level !== "thread") id = threads.process[id];
    if (level === "container") id = processes.container[id];
    weight[id] += samples.weight[row];
    count[id] += samples.count[row];
  }
  return { weight, count };
}

/** Weight per executed line of a function: a line counts once in a stack. */
function sumByLine(tables, selection, callee) {
  const { samples, stacks, frames } = tables;
  const lines = new Map();
  for (const row of selection.rows) {
    const seen = new Set();
    let innermost = true;
    for (let stack = samples.stack[row]; stack >= 0; stack = stacks.caller[stack]) {
      const frame = stacks.frame[stack];
      if (frames.function[frame] === callee && !seen.has(frames.line[frame])) {
        seen.add(frames.line[frame]);
        const entry = lines.get(frames.line[frame]) ?? { line: frames.line[frame], self: 0, total: 0 };
        entry.total += samples.weight[row];
        if (innermost) entry.self += samples.weight[row];
        lines.set(entry.line, entry);
      }
      innermost = false;
    }
  }
  return [...lines.values()].sort((a, b) => b.total - a.total);
}
