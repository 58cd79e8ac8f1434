// The top of the page: what was recorded, and where the time went, in facts.

function showAbout(facts) {
  const { about } = facts;
  const host = visible(about.host) || "unknown host";
  byId("headline").textContent = clipped(host, 120);
  const rows = [
    ["When", formatDate(about.start_unix_ms)],
    ["Duration", about.duration_ns > 0 ? formatTime(about.duration_ns) : ""],
    ["Scope", about.scope],
    ["Sampling", about.frequency_hz > 0 ? `${formatCount(about.frequency_hz)} Hz${about.clock ? `, ${about.clock}` : ""}` : ""],
    ["Kernel", [about.kernel, about.architecture].filter(Boolean).join(" ")],
    ["CPUs", about.cpus_online > 0 ? String(about.cpus_online) : ""],
    ["Command", about.command_line],
    ["Ended early", about.interrupted],
  ];
  byId("about").replaceChildren(
    ...rows
      .filter(([, text]) => text)
      .map(([term, text]) =>
        el("div", { class: term === "Command" ? "long" : "" }, el("dt", { text: term }), el("dd", { text: clipped(visible(text), 600), dir: "ltr" })),
      ),
  );
  const version = visible(about.profiler_version);
  byId("page-footer").textContent = `profiler${version ? ` ${version}` : ""}. This page holds the whole recording and asks the network for nothing.`;
}

/** Warnings and gaps come before any number; the rest is with the quality. */
function showNotes(facts) {
  const order = ["warning", "missing"];
  const title = { warning: "Warning", missing: "Not measured" };
  const notes = facts.notes.map((note) => ({ ...note }));
  if (facts.quality.samples_lost > 0) {
    const share = facts.quality.samples_lost / (facts.quality.samples + facts.quality.samples_lost);
    notes.push({
      kind: "warning",
      text: `${plural(facts.quality.samples_lost, "sample")} (${formatShare(share)}) were lost, since the buffer to the profiler was full. All sums below miss them.`,
    });
  }
  // Good to know is for the section on quality.
  const urgent = notes.filter(({ kind }) => kind !== "info");
  urgent.sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind));
  byId("notes").replaceChildren(
    ...urgent.map(({ kind, text }) =>
      el("li", { class: `note ${kind}` }, el("b", { text: title[kind] ?? kind }), " ", el("span", { text: visible(text), dir: "ltr" })),
    ),
  );
  byId("notes").hidden = urgent.length === 0;
}

/** Answers "where did the time go?" for the unfiltered state of a source. */
function showSentence({ tables, keys, selection, sums }, facts, source) {
  const { about } = facts;
  const unit = facts.sources[source].unit;
  const sentence = byId("sentence");
  if (selection.rows.length === 0) {
    sentence.textContent =
      facts.quality.idle_ticks > 0
        ? "Nothing ran: every tick of the sampling clock found an idle CPU or a task out of scope."
        : "Nothing was recorded: there is not one sample.";
    return;
  }
  const largest = (weights, from = 0, to = weights.length) => {
    let best = -1;
    for (let id = from; id < to; id += 1) if (weights[id] > 0 && (best < 0 || weights[id] > weights[best])) best = id;
    return best;
  };
  const strong = (text) => el("strong", { text: clipped(text, 90), dir: "ltr" });
  const parts = [];
  if (facts.sources[source].title === "on-CPU" && about.duration_ns > 0) {
    const busy = selection.total / about.duration_ns;
    const of = about.cpus_online > 0 ? ` of ${plural(about.cpus_online, "CPU")}` : "";
    parts.push(["On average ", strong(`${short(busy)}${of}`), about.scope && about.scope !== "all" ? " were busy with what was recorded. " : " were busy. "]);
  } else {
    parts.push(["Recorded: ", strong(formatWeight(selection.total, unit)), ` of ${facts.sources[source].measures}. `]);
  }
  const { strings, processes } = tables;
  const containers = sumBy(tables, selection, "container").weight;
  const container = largest(containers);
  const perProcess = sumBy(tables, selection, "process").weight;
  const process = largest(perProcess);
  const key = largest(sums.self, 0, keys.frameKeys);
  const share = (weight) => formatShare(weight / selection.total);
  parts.push(["Most went to ", strong(keys.shown(keys.keyOfContainer(container))), ` (${share(containers[container])})`]);
  if (process >= 0) parts.push([" and, of all processes, to ", strong(`${visible(strings[processes.name[process]])} [${processes.pid[process]}]`), ` (${share(perProcess[process])})`]);
  parts.push([". "]);
  if (key >= 0) parts.push(["The function with most of its own is ", strong(keys.shown(key)), ` (${share(sums.self[key])}).`]);
  sentence.replaceChildren(...parts.flat());
}

/** Facts that a reader should not have to look for. No advice. */
function showFindings(facts) {
  const lines = facts.findings.map(({ kind, container, target, severity, text, evidence }) => [
    kind === "out_of_memory" || severity === "problem" ? "bad" : "",
    clipped(visible(target ? `${container} ${target}` : container), 80),
    `${clipped(visible(text), 300)}${evidence === "" ? "" : ` (${visible(evidence)})`}`,
  ]);
  for (const { name, usage } of facts.containers) {
    if (!usage) continue;
    const called = clipped(visible(name), 80);
    if (usage.oom_kills > 0) {
      lines.push(["bad", called, `lost ${plural(usage.oom_kills, "process")} to the out-of-memory killer`]);
    }
    if (usage.cpu_throttled_periods > 0 && usage.cpu_periods > 0) {
      const share = usage.cpu_throttled_periods / usage.cpu_periods;
      const time = usage.cpu_throttled_ns > 0 ? `, ${formatTime(usage.cpu_throttled_ns)} in all` : "";
      lines.push([share > 0.1 ? "bad" : "", called, `was throttled by its CPU limit in ${formatShare(share)} of its periods${time}`]);
    }
    if (usage.memory_limit_bytes > 0 && usage.memory_working_set_bytes > 0.9 * usage.memory_limit_bytes) {
      const share = usage.memory_working_set_bytes / usage.memory_limit_bytes;
      lines.push(["bad", called, `uses ${formatShare(share)} of its memory limit of ${formatBytes(usage.memory_limit_bytes)}`]);
    }
    for (const [kind, title] of [["cpu_pressure", "CPU"], ["memory_pressure", "memory"], ["io_pressure", "I/O"]]) {
      const share = usage[kind] ? usage[kind].some_ns / usage.interval_ns : 0;
      if (share > 0.1) lines.push(["", called, `had tasks waiting for ${title} ${formatShare(share)} of the time`]);
    }
  }
  lines.sort((a, b) => (b[0] === "bad") - (a[0] === "bad"));
  const list = byId("findings");
  list.hidden = lines.length === 0;
  const item = ([kind, name, text]) => el("li", { class: kind }, el("b", { text: name, dir: "ltr" }), ` ${text}`);
  list.replaceChildren(...lines.slice(0, 6).map(item));
  if (lines.length > 6) {
    const more = el("button", { type: "button", class: "quiet", text: `${lines.length - 6} more`, onclick: () => list.replaceChildren(...lines.map(item)) });
    list.append(el("li", {}, more));
  }
}
