// What the page shows now, and what makes it show something else.

class App {
  constructor(facts, tables) {
    this.facts = facts;
    this.tables = tables;
    const sources = new Set(tables.samples.source);
    this.sources = shownSources(facts.sources, sources);
    this.filter = this.everything(this.sources.includes(facts.source) ? facts.source : (this.sources[0] ?? 0));
    this.view = "graph";
    this.focus = -1;
    this.query = null;
    this.keysOf = new Map();
    this.table = "containers";
    this.flame = new FlameGraph({
      hover: (box, event) => showTooltip(this.state, box, event),
      choose: (box, aloud) => this.chosen(box, aloud),
      zoom: () => this.showZoom(),
    });
    this.made = makeTables(facts, tables, {
      container: ({ id }) => this.setFilter({ container: this.filter.container === id ? -1 : id, process: -1, thread: -1 }),
      process: ({ id }) =>
        this.setFilter(
          this.filter.process === id
            ? { process: -1, thread: -1 }
            : { container: tables.processes.container[id], process: id, thread: -1 },
        ),
      thread: ({ id }) =>
        this.setFilter(
          this.filter.thread === id
            ? { thread: -1 }
            : { container: tables.processes.container[tables.threads.process[id]], process: tables.threads.process[id], thread: id },
        ),
      key: ({ id }) => this.sandwich(id),
      filter: () => this.filter,
      focus: () => (this.view === "sandwich" ? this.focus : -1),
      keys: () => this.keys,
      palette: () => this.palette,
    });
    byId("tab-python").hidden = !tables.functions.kind.includes(KIND.python);
    listenFor(this);
    this.select();
    this.applyTheme();
    showSentence(this.state, facts, this.filter.source);
  }

  everything(source) {
    return noFilter(source, this.facts.sources[source].parts);
  }

  get unit() {
    return this.facts.sources[this.filter.source].unit;
  }

  /** What is counted. */
  get event() {
    return this.facts.sources[this.filter.source].event;
  }

  /** What details, tooltips and pictures need to know. */
  get state() {
    const { keys, tables, sums, selection, unit, event, view } = this;
    return { keys, tables, sums, selection, unit, event, mode: view };
  }

  option(name) {
    return byId(`option-${name}`);
  }

  // Selection

  setFilter(change) {
    Object.assign(this.filter, change);
    this.select();
    announce(`Showing ${this.filterText() || "everything"}`);
  }

  filterText() {
    const { container, process, thread } = this.filter;
    const { keys } = this;
    if (thread >= 0) return clipped(keys.shown(keys.keyOfThread(thread)), 60);
    if (process >= 0) return clipped(keys.shown(keys.keyOfProcess(process)), 60);
    return container >= 0 ? clipped(keys.shown(keys.keyOfContainer(container)), 60) : "";
  }

  /** Everything that depends on the filter. */
  select() {
    const lines = this.option("lines").checked;
    if (!this.keysOf.has(lines)) this.keysOf.set(lines, new Keys(this.facts, this.tables, lines));
    if (this.keys !== this.keysOf.get(lines)) {
      const before = this.keys;
      this.keys = this.keysOf.get(lines);
      this.palette = new Palette(this.keys, this.dark());
      if (before && this.focus >= 0) this.focus = this.sameFunction(before, this.focus);
      if (this.query) this.matches = matchingKeys(this.keys, this.query);
    }
    this.selection = select(this.tables, this.filter);
    this.paths = new Paths(this.tables, this.keys, this.selection.rows);
    this.sums = this.paths.sums(this.tables, this.keys);
    this.showFilter();
    this.showLegend();
    this.build();
    this.showTable();
  }

  sameFunction(before, key) {
    if (key >= before.frameKeys) return key === before.noStack ? this.keys.noStack : -1;
    return this.keys.functionOf.findIndex(
      (callee, other) => callee === before.functionOf[key] && this.keys.inlinedOf[other] === before.inlinedOf[key],
    );
  }

  showFilter() {
    const { facts, tables, filter, keys } = this;
    const fill = (name, title, ids, label, current) => {
      const options = ids.map((id) => el("option", { value: id, text: clipped(label(id), 70) }));
      const select = byId(`filter-${name}`);
      select.replaceChildren(...(title ? [el("option", { value: -1, text: title })] : []), ...options);
      select.value = String(current);
      select.disabled = ids.length === 0;
    };
    const byWeight = (level, within) => {
      const { weight } = sumBy(tables, select(tables, within), level);
      return Array.from(weight.keys())
        .filter((id) => weight[id] > 0)
        .sort((a, b) => weight[b] - weight[a]);
    };
    const { source, container, process, thread } = filter;
    byId("source-field").hidden = this.sources.length < 2;
    fill("source", "", this.sources, (id) => facts.sources[id].title, source);
    fill("container", "all containers", byWeight("container", this.everything(source)), (id) => keys.shown(keys.keyOfContainer(id)), container);
    fill("process", "all processes", byWeight("process", { ...this.everything(source), container }), (id) => keys.shown(keys.keyOfProcess(id)), process);
    // Threads of all processes would be a list that nobody can use.
    const threads = process < 0 ? [] : byWeight("thread", { ...this.everything(source), process });
    fill("thread", process < 0 ? "of one process" : "all threads", threads, (id) => keys.shown(keys.keyOfThread(id)), thread);
    byId("filter-clear").hidden = container < 0 && process < 0 && thread < 0;
    const total = select(tables, this.everything(source)).total;
    const output = byId("filter-total");
    output.dataset.weight = this.selection.total;
    output.textContent =
      this.selection.total === total
        ? `${formatWeight(total, this.unit)}, ${plural(this.selection.count, this.event)}`
        : `${formatWeight(this.selection.total, this.unit)}, ${formatShare(this.selection.total / total)} of ${formatWeight(total, this.unit)}`;
  }

  // Graph

  growsUp() {
    const choice = this.option("orientation").value;
    return choice === "auto" ? this.view === "graph" : choice === "up";
  }

  /** Makes the trees of the current view; what is zoomed to stays, if it can. */
  build(keepZoom = false) {
    const { tables, keys, view } = this;
    const options = { group: this.option("group").value, collapse: this.option("collapse").checked };
    const kept = keepZoom && this.flame.parts.length === 1 ? this.zoomedPath() : null;
    if (view === "sandwich" && (this.focus < 0 || this.sums.total[this.focus] === 0)) this.focus = this.busiestKey();
    let parts;
    const tree = (settings) => new Tree(tables, keys, this.paths, { ...options, ...settings });
    if (view === "sandwich") {
      parts = [
        { tree: tree({ inwards: false, focus: this.focus }), up: true },
        { tree: tree({ inwards: true, focus: this.focus }), up: false },
      ];
    } else {
      parts = [{ tree: tree({ inwards: view === "graph" }), up: this.growsUp() }];
    }
    for (const { tree } of parts) tree.setOrder(this.option("order").value);
    const empty = parts[0].tree.total[0] === 0;
    byId("flame-empty").hidden = !empty;
    byId("flame-empty").textContent =
      this.tables.samples.weight.length === 0 ? "There is nothing to draw: the recording has no samples." : "Nothing of this was recorded under the filter.";
    this.flame.setScene(empty ? [] : parts, this.palette);
    if (kept && !empty) {
      const node = parts[0].tree.find(kept);
      if (node > 0) this.flame.zoomTo(this.flame.parts[0], node, false);
    }
    this.chosen(null, false);
    this.showZoom();
    this.showSearch();
    for (const name of ["graph", "inverted", "sandwich"]) {
      byId(`view-${name}`).setAttribute("aria-pressed", String(name === view));
    }
    this.showAxis();
  }

  zoomedPath() {
    const [part] = this.flame.parts;
    return part.tree.path(part.zoomed).map((node) => part.tree.key[node]);
  }

  busiestKey() {
    let best = this.keys.noStack;
    for (let key = 0; key < this.keys.frameKeys; key += 1) {
      if (this.sums.self[key] > this.sums.self[best]) best = key;
    }
    return best;
  }

  showAxis() {
    const source = this.facts.sources[this.filter.source];
    const what = source.measures;
    const order = this.option("order").value === "weight" ? "heaviest first" : "alphabetical";
    const up = this.growsUp();
    const reading = {
      graph: up ? "callees rest on their callers" : "callees hang below their callers",
      inverted: `${up ? "bottom" : "top"} row: innermost functions by self time; ${up ? "above" : "below"} them, who called`,
      sandwich: "callers above, callees below",
    }[this.view];
    byId("axis").replaceChildren(
      el("b", { text: `↔ width = share of ${what}` }),
      ` · order: ${order}, not time · ${reading}`,
    );
    const canvas = this.flame.canvas;
    canvas.setAttribute("aria-label", `Flame graph, ${this.view} view, ${formatWeight(this.selection.total, this.unit)} of ${what}. Arrow keys choose a box, Enter zooms.`);
  }

  setView(view) {
    this.view = view;
    this.build();
    this.showTable();
  }

  sandwich(key) {
    if (key >= this.keys.frameKeys && key !== this.keys.noStack) {
      announce("Callers and callees are of functions: choose one first");
      return;
    }
    this.focus = key;
    this.setView("sandwich");
  }

  /** Where the zoom is, from the root; each step leads back. */
  showZoom() {
    this.flame.hover(null);
    const zoomed = this.flame.parts.filter(({ zoomed }) => zoomed > 0);
    byId("zoom-reset").hidden = !this.flame.isZoomed() && zoomed.length === 0;
    const breadcrumb = byId("breadcrumb");
    const [part] = zoomed.length > 0 ? zoomed : this.flame.parts;
    if (!part) {
      breadcrumb.replaceChildren();
      return;
    }
    const path = part.tree.path(part.zoomed);
    // The middle of a deep path says little, and a phone has little room.
    const [head, tail] = window.innerWidth < 700 ? [1, 2] : [2, 4];
    const shown = path.length > head + tail + 1 ? [...path.slice(0, head), -1, ...path.slice(-tail)] : path;
    breadcrumb.replaceChildren(
      ...shown.map((node) =>
        node < 0
          ? el("span", { text: `… ${path.length - head - tail} …` })
          : el("button", {
              type: "button",
              text: clipped(this.keys.shown(part.tree.key[node]), 40),
              dir: "ltr",
              "aria-current": node === part.zoomed ? "location" : null,
              onclick: () => this.flame.zoomTo(part, node),
            }),
      ),
      el("span", {
        class: "zoom-share",
        text: `${formatWeight(part.tree.total[part.zoomed], this.unit)}, ${formatShare(part.tree.total[part.zoomed] / this.selection.total)}`,
        data: { weight: part.tree.total[part.zoomed] },
      }),
    );
  }

  chosen(box, aloud) {
    const { keys } = this;
    if (!box) {
      showDetails(this.state, null);
      return;
    }
    const { tree } = box.part;
    const key = tree.key[box.node];
    const actions = [];
    if (key < keys.frameKeys) actions.push(["Callers and callees", () => this.sandwich(key)]);
    if (keys.kind(key) === KIND.container) actions.push(["Only this container", () => this.made.containers.choose({ id: key - keys.containers })]);
    if (keys.kind(key) === KIND.process) actions.push(["Only this process", () => this.made.processes.choose({ id: key - keys.processes })]);
    if (keys.kind(key) === KIND.thread) actions.push(["Only this thread", () => this.made.threads.choose({ id: key - keys.threads })]);
    actions.push(["Copy stack, folded", () => copyText(foldedStack(this.state, box), "the folded stack")]);
    actions.push(["Copy name", () => copyText(keys.label(key), "the name")]);
    showDetails(this.state, box, actions);
    if (aloud) {
      const share = formatShare(tree.total[box.node] / this.selection.total);
      byId("flame-status").textContent = `${clipped(keys.shown(key), 120)}, ${share}, depth ${tree.depth[box.node]}`;
    }
  }

  // Search

  setSearch(text) {
    this.query = parseQuery(text);
    this.matches = this.query && !this.query.error ? matchingKeys(this.keys, this.query) : null;
    this.showSearch();
  }

  showSearch() {
    const output = byId("search-share");
    const field = byId("search");
    this.flame.setMatches(this.matches ?? null);
    field.setAttribute("aria-invalid", String(Boolean(this.query?.error)));
    delete output.dataset.weight;
    if (this.query?.error) {
      output.textContent = "not a regex yet";
      output.title = this.query.error;
    } else if (this.matches) {
      const weight = matchedWeight(this.tables, this.keys, this.paths, this.matches, this.option("group").value);
      output.textContent = formatShare(this.selection.total > 0 ? weight / this.selection.total : 0);
      output.title = `${formatWeight(weight, this.unit)} of ${formatWeight(this.selection.total, this.unit)} have a match in their stack`;
      output.dataset.weight = weight;
    } else {
      output.textContent = "";
      output.title = "";
    }
  }

  // Tables

  showTable() {
    const { tables, filter, made } = this;
    const everything = this.everything(filter.source);
    // A table lists what could be chosen in it: its own choice is left out.
    const within = {
      containers: everything,
      processes: { ...everything, container: filter.container },
      threads: { ...everything, container: filter.container, process: filter.process },
    }[this.table];
    const table = made[this.table];
    let rows = [];
    if (this.table === "python") {
      rows = this.pythonRows();
    } else if (this.table === "functions") {
      const { keys, sums } = this;
      for (let key = 0; key <= keys.noStack; key += 1) {
        if (sums.total[key] > 0) rows.push({ id: key, weight: sums.self[key], total: sums.total[key], count: sums.count[key] });
      }
    } else {
      const level = { containers: "container", processes: "process", threads: "thread" }[this.table];
      const { weight, count } = sumBy(tables, select(tables, within), level);
      rows = Array.from(weight, (value, id) => ({ id, weight: value, count: count[id] })).filter((row) => row.weight > 0);
    }
    table.setRows(rows, this.unit);
    table.render(byId("table-panel"));
    for (const name of Object.keys(made)) {
      byId(`tab-${name}`).setAttribute("aria-selected", String(name === this.table));
      byId(`tab-${name}`).tabIndex = name === this.table ? 0 : -1;
    }
    byId("table-panel").setAttribute("aria-labelledby", `tab-${this.table}`);
  }

  /**
   * Python functions. What they called that is not Python counts as theirs, so
   * that they add up to all Python time.
   */
  pythonRows() {
    const { keys, sums, paths } = this;
    const { weight, count } = this.tables.samples;
    const native = new Float64Array(keys.frameKeys);
    const own = new Float64Array(keys.frameKeys);
    for (let n = 0; n < paths.rows.length; n += 1) {
      for (let at = paths.start[n]; at < paths.start[n + 1]; at += 1) {
        const key = paths.keys[at];
        if (keys.kind(key) !== KIND.python) continue;
        own[key] += count[paths.rows[n]];
        if (at > paths.start[n]) native[key] += weight[paths.rows[n]];
        break;
      }
    }
    const rows = [];
    for (let key = 0; key < keys.frameKeys; key += 1) {
      if (sums.total[key] === 0 || keys.kind(key) !== KIND.python) continue;
      rows.push({ id: key, weight: sums.self[key] + native[key], native: native[key], total: sums.total[key], count: own[key] });
    }
    return rows;
  }

  // Looks

  dark() {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }

  applyTheme() {
    this.palette = new Palette(this.keys, this.dark());
    this.flame.hatch = null;
    this.flame.setPalette(this.palette);
    this.showLegend();
    this.showTable();
  }

  /** The colours, with what they hold: a summary by kind of code. */
  showLegend() {
    const shares = new Float64Array(KIND.root + 1);
    for (let key = 0; key <= this.keys.noStack; key += 1) {
      if (this.sums.self[key] > 0) shares[this.keys.kind(key)] += this.sums.self[key];
    }
    const total = this.selection.total;
    byId("legend").replaceChildren(
      ...LEGEND.map(([kind, title]) => {
        const swatch = el("i", { class: kind === KIND.synthetic ? "swatch hatched" : "swatch" });
        swatch.style.background = kindColor(kind, 0.3, this.dark());
        return el("li", { class: shares[kind] > 0 ? "" : "zero" }, swatch, title, el("b", { text: total > 0 ? formatShare(shares[kind] / total) : "" }));
      }),
    );
  }

  caption() {
    const { about } = this.facts;
    const filter = this.filterText();
    return [visible(about.host), formatDate(about.start_unix_ms), formatTime(about.duration_ns), `${this.view} view`, filter].filter(Boolean).join(" · ");
  }

  fileName() {
    const host = this.facts.about.host.replace(/[^A-Za-z0-9.-]+/g, "-").slice(0, 40) || "profile";
    return `${host}-${this.view}`;
  }

  // Keys

  /** The chosen function, or the last one, or the busiest. */
  sandwichOfChosen() {
    const box = this.flame.chosen;
    if (box) this.sandwich(box.part.tree.key[box.node]);
    else this.setView("sandwich");
  }

  escape(target) {
    if (byId("options").open) {
      byId("options").open = false;
    } else if (byId("search").value !== "") {
      byId("search").value = "";
      this.setSearch("");
    } else if (this.flame.isZoomed()) {
      this.flame.resetZoom();
    } else if (this.flame.chosen) {
      this.flame.choose(null);
    }
    if (target.id === "search") this.flame.canvas.focus();
  }
}
