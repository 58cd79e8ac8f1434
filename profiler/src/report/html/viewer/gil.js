// The global interpreter locks: who held them, who waited for them and where.

const WAITING_ROWS = 10;

/** A table of plain cells: `columns` are `[title, isNumber]`. */
function plainTable(columns, rows) {
  return el(
    "div",
    { class: "wide" },
    el(
      "table",
      { class: "usage" },
      el("thead", {}, el("tr", {}, columns.map(([text, number]) => el("th", { scope: "col", class: number ? "number" : "", text })))),
      el(
        "tbody",
        {},
        rows.map((cells) =>
          el(
            "tr",
            {},
            cells.map((cell, index) => {
              const number = columns[index][1];
              return el("td", { class: number ? "number" : "text" }, typeof cell === "string" ? el("span", { text: cell, dir: number ? null : "ltr" }) : cell);
            }),
          ),
        ),
      ),
    ),
  );
}

function showGil(facts) {
  const { processes } = facts.gil;
  byId("gil").hidden = processes.length === 0;
  const called = ({ name, pid }) => `${clipped(visible(name), 80) || "(no name)"} [${pid}]`;
  const percent = (value) => (value === null ? "not known" : formatShare(value / 100));
  const byProcess = processes.map((process) => [
    nameLines(called(process), visible(process.container)),
    formatTime(process.wait_ns),
    formatTenths(Math.round(process.wait_percent * 10), process.wait_ns),
    formatCount(process.waits),
    [
      el("span", { text: percent(process.held_percent) }),
      el("span", { class: "below", text: `${formatCount(process.held_samples)} of ${plural(process.known_samples, "sample")}` }),
    ],
    process.measured_ns === null ? "not measured" : formatTime(process.measured_ns),
  ]);
  const threads = processes.flatMap((process) => process.threads.map((thread) => ({ ...thread, process })));
  threads.sort((a, b) => b.wait_ns - a.wait_ns);
  const tenths = tableShares(threads.map(({ wait_ns }) => wait_ns));
  const byThread = threads.map((thread, index) => [
    nameLines(`${clipped(visible(thread.name), 80) || "(no name)"} [${thread.tid}]`, called(thread.process)),
    formatTime(thread.wait_ns),
    formatTenths(tenths[index], thread.wait_ns),
    percent(thread.percent_of_wall_time),
    formatCount(thread.waits),
    thread.functions.slice(0, 3).map(({ name, file, wait_percent }) => {
      const text = name === null ? "no Python function" : `${clipped(visible(name), 80)} (${clipped(visible(file), 80)})`;
      return el("span", { class: "below", text: `${text} ${formatShare(wait_percent / 100)}`, dir: "ltr" });
    }),
  ]);
  const number = (title) => [title, true];
  const text = (title) => [title, false];
  const render = (shown) => {
    const blocks = [
      plainTable([text("Process"), number("Waited"), number("Share"), number("Waits"), number("Samples that hold it"), number("Measured for")], byProcess),
    ];
    if (byThread.length > 0) {
      blocks.push(
        plainTable(
          [text("Waiting thread"), number("Waited"), number("Share"), number("Of its wall time"), number("Waits"), text("Waiting in")],
          byThread.slice(0, shown),
        ),
      );
    }
    if (byThread.length > shown) {
      const more = el("button", { type: "button", text: `Show ${byThread.length - shown} more`, onclick: () => render(byThread.length) });
      blocks.push(el("div", { class: "table-foot" }, el("span"), more));
    }
    byId("gil-body").replaceChildren(...blocks);
  };
  render(WAITING_ROWS);
}
