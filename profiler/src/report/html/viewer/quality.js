// Usage of containers, quality and cost: how far the numbers can be trusted.

/** Columns of the usage table; one is shown if any container has it. */
const USAGE = [
  {
    title: "CPU",
    value: (u) => u.cpu_ns,
    text: (u) => {
      const cpus = u.interval_ns > 0 ? `${short(u.cpu_ns / u.interval_ns)} CPUs` : formatTime(u.cpu_ns);
      return u.cpu_limit != null ? `${cpus} of ${short(u.cpu_limit)}` : cpus;
    },
    below: (u) =>
      u.cpu_user_ns != null && u.cpu_system_ns != null
        ? `${formatTime(u.cpu_user_ns)} user, ${formatTime(u.cpu_system_ns)} system`
        : formatTime(u.cpu_ns),
    share: (u) => (u.cpu_limit > 0 && u.interval_ns > 0 ? u.cpu_ns / u.interval_ns / u.cpu_limit : null),
  },
  {
    title: "Throttled",
    value: (u) => u.cpu_throttled_ns ?? u.cpu_throttled_periods,
    text: (u) => (u.cpu_throttled_ns != null ? formatTime(u.cpu_throttled_ns) : `${formatCount(u.cpu_throttled_periods)} periods`),
    below: (u) => (u.cpu_periods > 0 && u.cpu_throttled_periods != null ? `${formatShare(u.cpu_throttled_periods / u.cpu_periods)} of periods` : ""),
    share: (u) => (u.cpu_periods > 0 ? u.cpu_throttled_periods / u.cpu_periods : null),
  },
  {
    title: "Memory",
    value: (u) => u.memory_working_set_bytes ?? u.memory_usage_bytes,
    text: (u) => formatBytes(u.memory_working_set_bytes ?? u.memory_usage_bytes),
    below: (u) =>
      [
        u.memory_limit_bytes != null ? `of ${formatBytes(u.memory_limit_bytes)}` : "no limit",
        u.memory_working_set_bytes != null && u.memory_usage_bytes != null ? `${formatBytes(u.memory_usage_bytes)} with cache` : "",
      ]
        .filter(Boolean)
        .join(", "),
    share: (u) => (u.memory_limit_bytes > 0 ? (u.memory_working_set_bytes ?? u.memory_usage_bytes) / u.memory_limit_bytes : null),
  },
  ...[
    ["Disk read", "block_read_bytes"],
    ["Disk written", "block_write_bytes"],
    ["Network in", "network_receive_bytes"],
    ["Network out", "network_transmit_bytes"],
  ].map(([title, field]) => ({
    title,
    value: (u) => u[field],
    text: (u) => formatBytes(u[field]),
    below: (u) => (u.interval_ns > 0 && u[field] > 0 ? `${formatBytes(u[field] / (u.interval_ns / 1e9))}/s` : ""),
  })),
  {
    title: "Tasks",
    value: (u) => u.pids,
    text: (u) => formatCount(u.pids),
    below: (u) => (u.pids_limit != null ? `of ${formatCount(u.pids_limit)}` : ""),
    share: (u) => (u.pids_limit > 0 ? u.pids / u.pids_limit : null),
  },
  ...[
    ["CPU pressure", "cpu_pressure"],
    ["Memory pressure", "memory_pressure"],
    ["I/O pressure", "io_pressure"],
  ].map(([title, field]) => ({
    title,
    value: (u) => u[field]?.some_ns,
    text: (u) => formatShare(u.interval_ns > 0 ? u[field].some_ns / u.interval_ns : 0),
    below: (u) => (u[field].full_ns > 0 && u.interval_ns > 0 ? `all tasks: ${formatShare(u[field].full_ns / u.interval_ns)}` : ""),
  })),
  { title: "OOM kills", value: (u) => u.oom_kills, text: (u) => formatCount(u.oom_kills), below: () => "" },
];

const USAGE_ROWS = 12;

function showUsage(facts) {
  const withUsage = facts.containers.filter(({ usage }) => usage);
  byId("usage").hidden = withUsage.length === 0;
  if (withUsage.length === 0) return;
  const columns = USAGE.filter(({ value }) => withUsage.some(({ usage }) => value(usage) != null));
  withUsage.sort((a, b) => (b.usage.cpu_ns ?? 0) - (a.usage.cpu_ns ?? 0));
  const row = ({ name, usage }) =>
    el(
      "tr",
      {},
      el("th", { scope: "row", class: "text" }, el("span", { class: "name", text: clipped(visible(name)), dir: "ltr" })),
      columns.map((column) => {
        if (column.value(usage) == null) return el("td", { class: "number none", text: "–", title: "Not accounted for on this host" });
        const share = column.share?.(usage);
        const below = column.below(usage);
        return el(
          "td",
          { class: "number" },
          el("span", { text: column.text(usage) }),
          share != null && bar(share, share > 0.9 ? "hot" : "second"),
          below && el("span", { class: "below", text: below }),
        );
      }),
    );
  const render = (shown) => {
    const without = facts.containers.length - withUsage.length;
    byId("usage-body").replaceChildren(
      el(
        "table",
        { class: "usage" },
        el("thead", {}, el("tr", {}, el("th", { scope: "col", text: "Container" }), columns.map(({ title }) => el("th", { scope: "col", class: "number", text: title })))),
        el("tbody", {}, shown.map(row)),
      ),
      el(
        "div",
        { class: "table-foot" },
        without > 0 && el("span", { text: `${plural(without, "container")} without figures: the cgroup could not be read, or is gone.` }),
        shown.length < withUsage.length &&
          el("button", { type: "button", text: `Show ${withUsage.length - shown.length} more`, onclick: () => render(withUsage) }),
      ),
    );
  };
  render(withUsage.slice(0, USAGE_ROWS));
}

/** `[title, value, text]`; zeros are shown too, but recede. */
function factList(rows) {
  return el(
    "dl",
    { class: "facts" },
    rows
      .filter(([, value]) => value !== null && value !== undefined)
      .map(([title, value, text]) =>
        el("div", { class: value === 0 ? "zero" : "" }, el("dt", { text: title }), el("dd", { text: text ?? formatCount(value) })),
      ),
  );
}

function outcomeBar(outcomes) {
  const sum = outcomes.reduce((total, { count }) => total + count, 0);
  const sorted = [...outcomes].sort((a, b) => (b.outcome === "root_reached") - (a.outcome === "root_reached") || b.count - a.count);
  const strip = el("div", { class: "outcomes", "aria-hidden": "true" });
  const list = el("ul", { class: "outcome-list" });
  sorted.forEach(({ outcome, meaning, count }, index) => {
    const kind = outcome === "root_reached" ? "good" : outcome === "no_user_stack" ? "neutral" : `rest rest-${index % 4}`;
    const part = el("span", { class: kind });
    part.style.flexGrow = String(count);
    strip.append(part);
    list.append(
      el(
        "li",
        {},
        el("i", { class: `swatch ${kind}` }),
        el("span", { text: visible(meaning || outcome) }),
        el("b", { text: `${formatShare(count / sum)}` }),
        el("span", { class: "below", text: formatCount(count) }),
      ),
    );
  });
  return sum > 0 ? [strip, list] : [el("p", { class: "explain", text: "No stack was walked." })];
}

function showQuality(facts) {
  const { quality, cost, about } = facts;
  const block = (title, ...content) => el("section", { class: "block" }, el("h3", { text: title }), ...content);
  const walked = quality.outcomes.filter(({ outcome }) => outcome !== "no_user_stack").reduce((sum, { count }) => sum + count, 0);
  const complete = quality.outcomes.filter(({ outcome }) => outcome === "root_reached").reduce((sum, { count }) => sum + count, 0);
  const ofSamples = (count) => (quality.samples > 0 ? `${formatCount(count)} (${formatShare(count / quality.samples)})` : formatCount(count));
  const cpu = cost.user_ns + cost.system_ns;
  const ofTime = (time) => (about.duration_ns > 0 ? `${formatTime(time)} (${formatShare(time / about.duration_ns)} of one CPU)` : formatTime(time));
  const bpf = cost.programs.reduce((sum, program) => sum + program.run_time_ns, 0);

  const blocks = [
    block(
      "Samples",
      factList([
        ["Taken", quality.samples],
        ["Lost, buffer full", quality.samples_lost],
        ["Ticks missed", quality.ticks_missed],
        ["Time taken by the hypervisor", quality.stolen_ns, formatTime(quality.stolen_ns)],
        ["Ticks on idle CPUs", quality.idle_ticks],
        ["Out of scope", quality.not_wanted],
        ["Without a container", quality.without_container, ofSamples(quality.without_container)],
        ["Innermost frame without a name", quality.without_symbol, ofSamples(quality.without_symbol)],
        ["Process events lost", quality.events_lost],
        ["Kernel stacks failed", quality.kernel_stacks_failed],
        ["Kernel stacks left to the kernel's unwinder", quality.kernel_stacks_handed_over],
        ["Kernel stacks compared with it", quality.kernel_stacks_compared],
        ["Differed from it", quality.kernel_stacks_different],
        ["Walker was busy", quality.records_busy],
        ["A kernel table was full", quality.map_full],
        ["Stacks of waits", quality.wait_stacks],
        ["Waits thinned out", quality.waits_thinned],
        ["Accounts of threads lost", quality.thread_accounts_lost],
      ]),
    ),
    block(
      "Stacks",
      el(
        "p",
        { class: "big" },
        el("b", { id: "complete-share", text: walked > 0 ? formatShare(complete / walked) : "–" }),
        walked > 0 ? " of the user stacks reached the thread's root." : " No user stack was walked.",
      ),
      ...outcomeBar(quality.outcomes),
    ),
    block(
      "Cost",
      factList([
        ["Profiler, user", cost.user_ns, ofTime(cost.user_ns)],
        ["Profiler, system", cost.system_ns, ofTime(cost.system_ns)],
        [
          "Of the whole host",
          cpu,
          about.duration_ns > 0 && about.cpus_online > 0 ? formatShare(cpu / about.duration_ns / about.cpus_online) : "unknown",
        ],
        ["Symbols and report, afterwards", cost.finish_ns, formatTime(cost.finish_ns)],
        ["Peak memory", cost.peak_memory_bytes, formatBytes(cost.peak_memory_bytes)],
        ["Kernel tables", cost.map_memory_bytes, formatBytes(cost.map_memory_bytes)],
        ["BPF programs", bpf, cost.programs.length > 0 ? ofTime(bpf) : "not measured"],
      ]),
    ),
  ];
  if (quality.runtimes.length > 0) {
    blocks.push(
      block(
        "Runtimes",
        ...quality.runtimes.map(({ runtime, stacks, complete: full, outcomes }) =>
          el(
            "details",
            { class: "runtime" },
            el(
              "summary",
              {},
              el("span", { class: "name", text: clipped(visible(runtime), 80) }),
              el("b", { text: stacks > 0 ? `${formatShare(full / stacks)} complete` : "no stacks" }),
              el("span", { class: "below", text: plural(stacks, "stack") }),
            ),
            ...outcomeBar(outcomes),
          ),
        ),
      ),
    );
  }
  if (cost.programs.length > 0) {
    const head = ["Program", "Run time", "Runs", "Per run"];
    const programs = [...cost.programs].sort((a, b) => b.run_time_ns - a.run_time_ns);
    blocks.push(
      block(
        "BPF programs",
        el(
          "div",
          { class: "wide" },
          el(
            "table",
            { class: "plain" },
            el("thead", {}, el("tr", {}, head.map((text, index) => el("th", { scope: "col", class: index > 0 ? "number" : "", text })))),
            el(
              "tbody",
              {},
              programs.map(({ name, run_time_ns: time, run_count: runs }) =>
                el(
                  "tr",
                  {},
                  el("th", { scope: "row", class: "text", text: clipped(visible(name), 80) }),
                  el("td", { class: "number", text: formatTime(time) }),
                  el("td", { class: "number", text: formatCount(runs) }),
                  el("td", { class: "number", text: runs > 0 ? formatTime(time / runs) : "–" }),
                ),
              ),
            ),
          ),
        ),
      ),
    );
  }
  const notes = facts.notes.filter(({ kind }) => kind === "info");
  if (notes.length > 0) {
    blocks.push(block("Notes", el("ul", { class: "infos" }, notes.map(({ text }) => el("li", { text: visible(text), dir: "ltr" })))));
  }
  byId("quality-body").replaceChildren(...blocks);
}
