// System calls: which, how many, how long, and how they failed.

const CALL_ROWS = 12;

/** A histogram as bars: longer durations to the right, one bar for a doubling. */
function histogramBars({ up_to_ns, counts, count }) {
  const powers = new Map();
  for (let index = 0; index < counts.length; index += 1) {
    const power = Math.ceil(Math.log2(Math.max(1, up_to_ns[index])));
    powers.set(power, (powers.get(power) ?? 0) + counts[index]);
  }
  if (powers.size === 0) return el("span");
  const low = Math.min(...powers.keys());
  const high = Math.max(...powers.keys());
  const most = Math.max(...powers.values());
  const bars = [];
  for (let power = low; power <= high; power += 1) {
    const bar = el("i", { title: `${plural(powers.get(power) ?? 0, "time")} up to ${formatTime(2 ** power)}` });
    bar.style.height = `${Math.round((100 * (powers.get(power) ?? 0)) / most)}%`;
    bars.push(bar);
  }
  return el("span", { class: "histogram", "aria-label": `${plural(count, "time")}, from ${formatTime(2 ** low)} to ${formatTime(2 ** high)}` }, bars);
}

function durationCells({ p50_ns, p99_ns, max_ns }) {
  return [p50_ns, p99_ns, max_ns].map((value) => (value === null ? "" : formatTime(value)));
}

function callRow(call) {
  const errors = Object.entries(call.by_error).sort((a, b) => b[1] - a[1]);
  const progress = call.in_progress > 0 ? [el("span", { class: "below", text: `${plural(call.in_progress, "call")} in progress, for ${formatTime(call.in_progress_ns)}` })] : [];
  return [
    [el("span", { text: call.call }), ...(call.idle ? [el("span", { class: "below", text: "waits for work" })] : []), ...progress],
    formatCount(call.calls),
    formatTime(call.total_ns),
    ...durationCells(call.durations),
    histogramBars(call.durations),
    errors.map(([name, count]) => el("span", { class: "below", text: `${name} ${formatCount(count)}` })),
  ];
}

function targetRow(target) {
  const process = target.pid === null ? "" : nameLines(`${clipped(visible(target.process), 40)} [${target.pid}]`, visible(target.container));
  const error = target.error === null ? [] : [el("span", { class: "below", text: target.error })];
  return [
    target.call,
    nameLines(clipped(visible(target.title), 120)),
    process,
    formatCount(target.calls),
    [el("span", { text: formatCount(target.errors) }), ...error],
    formatTime(target.total_ns),
    formatTime(target.max_ns),
  ];
}

/** What calls were about. */
function targetBlocks(syscalls, shown, showAll) {
  if (!syscalls.targets_told) {
    return [el("p", { class: "explain", text: "Which files and peers these were about is told with --trace or --sources all,syscalls." })];
  }
  const columns = [["System call", false], ["File or peer", false], ["Process", false], ["Calls", true], ["Failed", true], ["Total", true], ["Longest", true]];
  const blocks = [plainTable(columns, syscalls.targets.slice(0, shown).map(targetRow))];
  if (syscalls.targets.length > shown) {
    blocks.push(el("div", { class: "table-foot" }, el("span"), el("button", { type: "button", text: `Show ${syscalls.targets.length - shown} more`, onclick: showAll })));
  }
  if (syscalls.targets_not_shown > 0) {
    blocks.push(el("p", { class: "explain", text: `${plural(syscalls.targets_not_shown, "row")} with less time are not shown.` }));
  }
  if (syscalls.calls_without_target > 0) {
    blocks.push(el("p", { class: "explain", text: `${plural(syscalls.calls_without_target, "call")}: not among these, since the table of files and peers was full.` }));
  }
  return blocks;
}

function showSyscalls({ syscalls, about }) {
  byId("syscalls").hidden = !syscalls;
  if (!syscalls) return;
  const columns = [["System call", false], ["Calls", true], ["Total", true], ["p50", true], ["p99", true], ["Longest", true], ["Durations", false], ["Failed", false]];
  const places = [
    ["all", syscalls.by_call],
    ...syscalls.containers.map((row) => [`container ${clipped(visible(row.name), 60)}`, row.by_call]),
    ...syscalls.processes.map((row) => [`${clipped(visible(row.name), 60)} [${row.pid}] in ${clipped(visible(row.container), 60)}`, row.by_call]),
  ];
  const choice = el("select", { id: "syscalls-of", "aria-label": "Whose system calls" }, places.map(([text], id) => el("option", { value: String(id), text })));
  const render = (shown) => {
    const rows = places[Number(choice.value)][1];
    const blocks = [el("div", { class: "table-foot" }, choice, el("span")), plainTable(columns, rows.slice(0, shown).map(callRow))];
    if (rows.length > shown) {
      blocks.push(el("div", { class: "table-foot" }, el("span"), el("button", { type: "button", text: `Show ${rows.length - shown} more`, onclick: () => render(rows.length) })));
    }
    if (syscalls.counted_ns < 0.99 * about.duration_ns) {
      blocks.push(el("p", { class: "explain", text: `Counted in the first ${formatTime(syscalls.counted_ns)} of the recording only; the notes say why.` }));
    }
    if (syscalls.calls_without_thread > 0) {
      blocks.push(el("p", { class: "explain", text: `${plural(syscalls.calls_without_thread, "call")}: counted for the host only, since the table of calls was full.` }));
    }
    byId("syscalls-body").replaceChildren(...blocks);
  };
  const targets = (shown) => byId("syscalls-targets").replaceChildren(...targetBlocks(syscalls, shown, () => targets(Infinity)));
  choice.addEventListener("change", () => render(CALL_ROWS));
  render(CALL_ROWS);
  targets(CALL_ROWS);
}
