// Sortable tables with bars. Their percentages add up: to 100 % of what the
// filter leaves, the rows that are not shown yet included.

const FIRST_ROWS = 25;
const MORE_ROWS = 200;

class Table {
  /**
   * `columns`: `{ id, title, number, value(row), cell(row) }`, sorted by
   * `sort` at first. Rows have a `weight`; those add up to the whole.
   */
  constructor({ id, caption, columns, sort, choose, chosen }) {
    Object.assign(this, { id, caption, columns, sort, choose, chosen });
    this.descending = true;
    this.limit = FIRST_ROWS;
    this.rows = [];
  }

  setRows(rows, unit) {
    this.rows = rows;
    this.unit = unit;
    const shares = tableShares(rows.map((row) => row.weight));
    rows.forEach((row, index) => (row.tenths = shares[index]));
    this.whole = rows.reduce((sum, row) => sum + row.weight, 0);
    this.most = rows.reduce((most, row) => Math.max(most, row.weight), 0);
    this.limit = FIRST_ROWS;
  }

  sorted() {
    const column = this.columns.find(({ id }) => id === this.sort);
    const values = new Map(this.rows.map((row) => [row, column.value(row)]));
    const sign = this.descending ? -1 : 1;
    return [...this.rows].sort((a, b) => {
      const [left, right] = [values.get(a), values.get(b)];
      return sign * (left < right ? -1 : left > right ? 1 : 0) || b.weight - a.weight;
    });
  }

  render(into) {
    const rows = this.sorted();
    const shown = rows.slice(0, this.limit);
    const head = this.columns.map((column) => {
      const active = column.id === this.sort;
      const direction = active ? (this.descending ? "descending" : "ascending") : "none";
      return el(
        "th",
        { scope: "col", class: column.number ? "number" : "", "aria-sort": direction },
        el("button", {
          type: "button",
          text: column.title,
          title: column.hint,
          data: { sort: column.id },
          onclick: () => {
            this.descending = active ? !this.descending : Boolean(column.number);
            this.sort = column.id;
            this.render(into);
            into.querySelector(`[data-sort="${column.id}"]`).focus();
          },
        }),
      );
    });
    const body = shown.map((row) => {
      const cells = this.columns.map((column, index) =>
        el("td", { class: column.number ? "number" : `text ${column.id}` }, index === 0 ? this.nameCell(column, row) : column.cell(row)),
      );
      const chosen = this.chosen?.(row) ?? false;
      return el(
        "tr",
        { class: chosen ? "chosen" : "", data: { weight: row.weight, id: row.id }, onclick: () => this.choose(row) },
        cells,
      );
    });
    const rest = rows.slice(this.limit);
    const restTenths = rest.reduce((sum, row) => sum + row.tenths, 0);
    const restWeight = rest.reduce((sum, row) => sum + row.weight, 0);
    const table = el(
      "table",
      { data: { table: this.id, whole: this.whole } },
      el("caption", { class: "offscreen", text: this.caption }),
      el("thead", {}, el("tr", {}, head)),
      el("tbody", {}, body),
    );
    const foot = el(
      "div",
      { class: "table-foot" },
      el("span", {
        text: `${plural(rows.length, "row")}, together ${formatWeight(this.whole, this.unit)} = 100 %${this.overlap ?? ""}`,
      }),
      rest.length > 0 &&
        el("button", {
          type: "button",
          text: `Show ${formatCount(Math.min(MORE_ROWS, rest.length))} of ${formatCount(rest.length)} more (${formatTenths(restTenths, restWeight)})`,
          onclick: () => {
            this.limit += MORE_ROWS;
            this.render(into);
          },
        }),
    );
    const empty = rows.length === 0 ? el("p", { class: "empty", text: "Nothing was recorded here." }) : null;
    into.replaceChildren(...(empty ? [empty] : [el("div", { class: "wide" }, table), foot]));
  }

  /** The name is a button, so that rows can be reached without a mouse. */
  nameCell(column, row) {
    return el(
      "button",
      {
        type: "button",
        class: "row-name",
        title: clipped(column.value(row), 600),
        dir: "ltr",
        onclick: (event) => {
          event.stopPropagation();
          this.choose(row);
        },
      },
      column.cell(row),
    );
  }
}

function nameLines(name, below) {
  return [el("span", { class: "name", text: clipped(name), dir: "ltr" }), below && el("span", { class: "below", text: clipped(below, 160), dir: "ltr" })];
}

/** Share with its bar, then weight and samples: the end of most tables. */
function weightColumns(table, title = "Share") {
  return [
    {
      id: "weight",
      title,
      number: true,
      value: (row) => row.weight,
      cell: (row) => [
        el("span", { class: "share", text: formatTenths(row.tenths, row.weight) }),
        bar(table().most > 0 ? row.weight / table().most : 0),
      ],
    },
    { id: "time", title: "Weight", number: true, value: (row) => row.weight, cell: (row) => formatWeight(row.weight, table().unit) },
  ];
}

/** The tables; `open.…` says what choosing a row does. */
function makeTables(facts, tables, open) {
  const { strings, processes, threads } = tables;
  const name = (id) => visible(strings[id]) || "(no name)";
  const processName = (id) => `${name(processes.name[id])} [${processes.pid[id]}]`;
  const containerName = (id) => visible(facts.containers[id].name);
  const samples = { id: "count", title: "Samples", number: true, value: (row) => row.count, cell: (row) => formatCount(row.count) };
  const made = {};

  made.containers = new Table({
    id: "containers",
    caption: "Containers by weight",
    sort: "weight",
    choose: open.container,
    chosen: (row) => open.filter().container === row.id,
    columns: [
      {
        id: "name",
        title: "Container",
        value: (row) => containerName(row.id),
        cell: (row) => {
          const { kind, image, pod, namespace } = facts.containers[row.id];
          const place = pod ? `${namespace}/${pod}` : "";
          return nameLines(containerName(row.id), [kind, place, image].filter(Boolean).map(visible).join(" · "));
        },
      },
      ...weightColumns(() => made.containers),
      samples,
    ],
  });

  made.processes = new Table({
    id: "processes",
    caption: "Processes by weight",
    sort: "weight",
    choose: open.process,
    chosen: (row) => open.filter().process === row.id,
    columns: [
      {
        id: "name",
        title: "Process",
        value: (row) => processName(row.id),
        cell: (row) => nameLines(processName(row.id), visible(strings[processes.command[row.id]])),
      },
      ...weightColumns(() => made.processes),
      samples,
      {
        id: "container",
        title: "Container",
        value: (row) => containerName(processes.container[row.id]),
        cell: (row) => nameLines(containerName(processes.container[row.id])),
      },
    ],
  });

  made.threads = new Table({
    id: "threads",
    caption: "Threads by weight",
    sort: "weight",
    choose: open.thread,
    chosen: (row) => open.filter().thread === row.id,
    columns: [
      {
        id: "name",
        title: "Thread",
        value: (row) => `${name(threads.name[row.id])} [${threads.tid[row.id]}]`,
        cell: (row) => nameLines(`${name(threads.name[row.id])} [${threads.tid[row.id]}]`, processName(threads.process[row.id])),
      },
      ...weightColumns(() => made.threads),
      samples,
      {
        id: "container",
        title: "Container",
        value: (row) => containerName(processes.container[threads.process[row.id]]),
        cell: (row) => nameLines(containerName(processes.container[threads.process[row.id]])),
      },
    ],
  });

  made.functions = new Table({
    id: "functions",
    caption: "Functions by self weight",
    sort: "weight",
    choose: open.key,
    chosen: (row) => open.focus() === row.id,
    columns: [
      {
        id: "name",
        title: "Function",
        value: (row) => open.keys().shown(row.id),
        cell: (row) => {
          const keys = open.keys();
          const swatch = el("i", { class: "swatch", "aria-hidden": "true" });
          swatch.style.background = open.palette().color(row.id);
          const below = [keys.modulePath(row.id), keys.kind(row.id) === KIND.python || keys.kind(row.id) === KIND.javascript ? "" : keys.place(row.id)];
          return [swatch, ...nameLines(keys.shown(row.id), below.filter(Boolean).map(visible).join(" · "))];
        },
      },
      ...weightColumns(() => made.functions, "Self"),
      {
        id: "total",
        title: "Total",
        hint: "With what it called. Totals overlap: only self adds up to 100 %",
        number: true,
        value: (row) => row.total,
        cell: (row) => [
          // As many digits as self has, and never seen below it.
          el("span", { class: "share", text: formatTenths(Math.max(row.tenths, Math.round((row.total / made.functions.whole) * 1000)), row.total) }),
          bar(row.total / made.functions.whole, "second"),
        ],
      },
    ],
  });
  made.functions.overlap = " of self; totals overlap";

  made.python = new Table({
    id: "python",
    caption: "Python functions by own weight",
    sort: "weight",
    choose: open.key,
    chosen: (row) => open.focus() === row.id,
    columns: [
      {
        id: "name",
        title: "Python function",
        value: (row) => open.keys().shown(row.id),
        cell: (row) => nameLines(open.keys().shown(row.id)),
      },
      ...weightColumns(() => made.python, "Own"),
      {
        id: "total",
        title: "Cumulative",
        hint: "With the Python functions that it called. These overlap: only own adds up to 100 %",
        number: true,
        value: (row) => row.total,
        cell: (row) => [
          el("span", { class: "share", text: formatTenths(Math.max(row.tenths, Math.round((row.total / made.python.whole) * 1000)), row.total) }),
          bar(row.total / made.python.whole, "second"),
        ],
      },
      {
        id: "native",
        title: "Native",
        hint: "The part of own that was in native code and in the kernel",
        number: true,
        value: (row) => row.native,
        cell: (row) => formatWeight(row.native, made.python.unit),
      },
    ],
  });
  made.python.overlap = " of own, which holds the native code that a function called. CPU time is sampled: no calls are counted. Choose a function for its callers and callees; its box in the graph tells its lines";
  return made;
}
