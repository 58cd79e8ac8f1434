// Burns CPU time in known places and says how much each of them got, in
// milliseconds: places burn until this thread's CPU clock has moved on by
// their part of a round. "function:line" is the place that asked for it.
"use strict";

const { Worker, isMainThread, parentPort } = require("node:worker_threads");
const { threadCpuUsage } = process;

const spent = {};

// Milliseconds of CPU time; before Node 23.9 only that of the whole process,
// which is the same as long as nothing else runs.
function clock() {
  const { user, system } = threadCpuUsage ? threadCpuUsage() : process.cpuUsage();
  return (user + system) / 1000;
}

function spin(count) {
  let x = 0;
  for (let i = 0; i < count; i++) x = (x + i * 7) % 1000003;
  return x;
}

function burn(milliseconds, place) {
  const start = clock();
  let now = start;
  while (now < start + milliseconds) {
    spin(20000);
    now = clock();
  }
  spent[place] = (spent[place] ?? 0) + now - start;
}

function twoLines() {
  burn(12, "twoLines:35");
  burn(4, "twoLines:36");
}

function recursion(depth) {
  if (depth === 0) {
    burn(16, "recursion:41");
    return 0;
  }
  return 1 + recursion(depth - 1);
}

function fromBuiltin() {
  return [1, 2].map((value) => {
    burn(6, "(anonymous):49");
    return value;
  });
}

class Thing {
  method() {
    burn(8, "method:56");
  }
}

const closure = (function () {
  const part = 8;
  return function closed() {
    burn(part, "closed:63");
  };
})();

async function awaited() {
  burn(8, "awaited:68");
  await null;
  burn(4, "awaited:70");
}

class Base {
  constructor() {
    burn(5, "Base:75");
  }
}

class Derived extends Base {
  constructor() {
    super();
    burn(5, "Derived:82");
  }
}

async function round() {
  twoLines();
  recursion(20);
  fromBuiltin();
  new Thing().method();
  closure();
  new Derived();
  await awaited();
}

async function main() {
  const end = Date.now() + 1000 * Number(process.argv[2] ?? 3600);
  while (Date.now() < end) await round();
  const result = JSON.stringify({ spent });
  if (isMainThread) console.log(result);
  else parentPort.postMessage(result);
}

if (process.argv[3] === "worker" && isMainThread) {
  const worker = new Worker(__filename, { argv: process.argv.slice(2) });
  worker.on("message", (result) => console.log(result));
} else {
  main();
}
