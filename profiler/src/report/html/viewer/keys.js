// What makes two boxes the same: a key for each function (or line of one), and
// for each container, process and thread, since those are rows of the graph.

const KIND = {
  native: 0,
  kernel: 1,
  python: 2,
  javascript: 3,
  jit: 4,
  synthetic: 5,
  inlined: 6,
  container: 7,
  process: 8,
  thread: 9,
  root: 10,
};

const KIND_TITLE = [
  "native",
  "kernel",
  "Python",
  "JavaScript",
  "JIT-compiled",
  "made by the profiler",
  "native, inlined",
  "container",
  "process",
  "thread",
  "",
];

class Keys {
  /** `lines`: lines of one function are different boxes. */
  constructor(facts, tables, lines) {
    this.facts = facts;
    this.tables = tables;
    this.lines = lines;
    const { frames, functions } = tables;
    const seen = new Map();
    const functionOf = [];
    const inlinedOf = [];
    const lineOf = [];
    this.ofFrame = new Int32Array(frames.function.length);
    for (let frame = 0; frame < this.ofFrame.length; frame += 1) {
      const callee = frames.function[frame];
      const inlined = frames.inlined[frame];
      const line = lines ? frames.line[frame] : 0;
      // Exact as a double: 2^32 functions, 2^20 lines.
      const identity = (callee * 2 + inlined) * 0x100000 + Math.min(line, 0xfffff);
      let key = seen.get(identity);
      if (key === undefined) {
        key = functionOf.length;
        seen.set(identity, key);
        functionOf.push(callee);
        inlinedOf.push(inlined);
        lineOf.push(lines ? line : functions.line[callee]);
      }
      this.ofFrame[frame] = key;
    }
    this.functionOf = Int32Array.from(functionOf);
    this.inlinedOf = Uint8Array.from(inlinedOf);
    this.lineOf = Uint32Array.from(lineOf);
    this.frameKeys = functionOf.length;
    this.containers = this.frameKeys;
    this.processes = this.containers + facts.containers.length;
    this.threads = this.processes + tables.processes.pid.length;
    this.noStack = this.threads + tables.threads.tid.length;
    this.root = this.noStack + 1;
    this.count = this.root + 1;
    this.labels = new Array(this.count);
  }

  kind(key) {
    if (key < this.frameKeys) {
      const kind = this.tables.functions.kind[this.functionOf[key]];
      const native = kind === KIND.native || kind === KIND.jit;
      return native && this.inlinedOf[key] ? KIND.inlined : kind;
    }
    if (key < this.processes) return KIND.container;
    if (key < this.threads) return KIND.process;
    if (key < this.noStack) return KIND.thread;
    return key === this.noStack ? KIND.synthetic : KIND.root;
  }

  /** The frame as text, as folded stacks spell it. */
  label(key) {
    return (this.labels[key] ??= this.makeLabel(key));
  }

  makeLabel(key) {
    const { strings, functions, processes, threads } = this.tables;
    if (key < this.frameKeys) {
      const callee = this.functionOf[key];
      const name = strings[functions.name[callee]];
      switch (this.kind(key)) {
        case KIND.kernel:
          return `${name}_[k]`;
        case KIND.inlined:
          return `${name}_[i]`;
        case KIND.python:
        case KIND.javascript:
          return `${name} (${this.place(key)})`;
        default:
          return name;
      }
    }
    if (key < this.processes) return this.facts.containers[key - this.containers].name;
    if (key < this.threads) return strings[processes.name[key - this.processes]];
    if (key < this.noStack) return strings[threads.name[key - this.threads]];
    return key === this.noStack ? "[no stack]" : "all";
  }

  /** As a box or a row shows it: processes with their pid, lines if asked. */
  shown(key) {
    const label = visible(this.label(key));
    const { processes, threads } = this.tables;
    switch (this.kind(key)) {
      case KIND.process:
        return `${label || "(no name)"} [${processes.pid[key - this.processes]}]`;
      case KIND.thread:
        return `${label || "(no name)"} [thread ${threads.tid[key - this.threads]}]`;
      case KIND.native:
      case KIND.inlined:
      case KIND.jit:
        return this.lines && this.lineOf[key] > 0 ? `${label} (${visible(this.place(key))})` : label;
      default:
        return label;
    }
  }

  /** `file:line`, as far as it is known. */
  place(key) {
    if (key >= this.frameKeys) return "";
    const { strings, functions } = this.tables;
    const file = strings[functions.file[this.functionOf[key]]];
    return this.lineOf[key] > 0 ? `${file}:${this.lineOf[key]}` : file;
  }

  /** Index of the module, -1 for none. */
  module(key) {
    return key < this.frameKeys ? this.tables.functions.module[this.functionOf[key]] : -1;
  }

  modulePath(key) {
    const module = this.module(key);
    return module < 0 ? "" : this.tables.strings[this.tables.modules.path[module]];
  }

  keyOfContainer(id) {
    return this.containers + id;
  }

  keyOfProcess(id) {
    return this.processes + id;
  }

  keyOfThread(id) {
    return this.threads + id;
  }
}
