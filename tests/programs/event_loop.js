// An event loop with handlers that wait: `event_loop.js HOW`.
//
// `atomics`, `child`: in the main thread. `timers`: as one should. `worker`: in a
// thread of its own, which may.
//
// Says that it begins, and on SIGTERM for which part of the time since SIGHUP handlers
// held the loop and used no CPU.
"use strict";

const { execSync } = require("node:child_process");
const { Worker, isMainThread } = require("node:worker_threads");

const HELD = 40;
const FREE = 60;
const cell = new Int32Array(new SharedArrayBuffer(4));
const how = isMainThread ? process.argv[2] : "atomics";
let began = performance.now();
let held = 0;

function sendReceipt() {
  const cpu = process.cpuUsage();
  const begin = performance.now();
  if (how === "atomics") Atomics.wait(cell, 0, 0, HELD);
  else execSync(`sleep ${HELD / 1000}`);
  held += performance.now() - begin;
  const { user, system } = process.cpuUsage(cpu);
  held -= (user + system) / 1000;
}

function handler() {
  if (how === "atomics" || how === "child") sendReceipt();
  setTimeout(handler, FREE);
}

if (isMainThread) {
  console.log("ready");
  process.on("SIGHUP", () => {
    [began, held] = [performance.now(), 0];
  });
  process.on("SIGTERM", () => {
    console.log((100 * held) / (performance.now() - began));
    process.exit();
  });
}
if (how === "worker") new Worker(__filename);
handler();
