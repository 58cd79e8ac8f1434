// Where the wall time of threads went: a bar that adds up for each container,
// and for the processes that were busy longest.

const CLASSES = [
  ["on_cpu_ns", "on a CPU"],
  ["run_queue_ns", "waiting for a CPU"],
  ["blocked_ns", "blocked"],
  ["idle_ns", "idle"],
];

const BUSY_ROWS = 10;

function timeBar(row) {
  return el(
    "span",
    { class: "time-bar", "aria-hidden": "true" },
    CLASSES.map(([field]) => {
      const part = el("i", { class: field });
      part.style.width = `${(100 * row[field]) / Math.max(1, row.wall_ns)}%`;
      return part;
    }),
  );
}

function timeRow(row, name, below) {
  const tenths = tableShares(CLASSES.map(([field]) => row[field]));
  const waits = row.activities.filter(({ class: kind }) => kind === "blocked" || kind === "run_queue");
  return [
    nameLines(clipped(visible(name), 80) || "(no name)", below),
    formatTime(row.wall_ns),
    timeBar(row),
    ...CLASSES.map(([field], index) => formatTenths(tenths[index], row[field])),
    waits.slice(0, 4).map(({ title, ns }) => el("span", { class: "below", text: `${title} ${formatTime(ns)}` })),
    formatShare(row.without_stack_ns / Math.max(1, row.wall_ns - row.on_cpu_ns)),
  ];
}

function showWaiting(facts) {
  const { waiting } = facts;
  byId("waiting").hidden = waiting.threads === 0;
  const columns = (title) => [
    [title, false],
    ["Wall time", true],
    ["", false],
    ...CLASSES.map(([, text]) => [text[0].toUpperCase() + text.slice(1), true]),
    ["Largest waits", false],
    ["Off a CPU without a stack", true],
  ];
  const threads = (row) => plural(row.threads, "thread");
  const render = (shown) => {
    const blocks = [
      plainTable(columns("Container"), waiting.containers.map((row) => timeRow(row, row.name, threads(row)))),
      plainTable(
        columns("Process"),
        waiting.processes.slice(0, shown).map((row) => timeRow(row, `${row.name} [${row.pid}]`, `${visible(row.container)}, ${threads(row)}`)),
      ),
    ];
    if (waiting.processes.length > shown) {
      const more = el("button", { type: "button", text: `Show ${waiting.processes.length - shown} more`, onclick: () => render(waiting.processes.length) });
      blocks.push(el("div", { class: "table-foot" }, el("span"), more));
    }
    if (waiting.processes_not_shown > 0) {
      blocks.push(el("p", { class: "explain", text: `${plural(waiting.processes_not_shown, "more process")}: in their containers' rows above.` }));
    }
    byId("waiting-body").replaceChildren(...blocks);
  };
  render(BUSY_ROWS);
}
