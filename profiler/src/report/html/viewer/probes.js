// Servers that were asked beside the recording, each with its tables.

const PROBE_ROWS = 8;

function probeFinding({ severity, text, evidence, advice }) {
  const below = [evidence, advice].filter((it) => it !== "").map((it) => el("span", { class: "below", text: visible(it) }));
  return el("li", { class: severity === "problem" ? "bad" : "" }, el("b", { text: severity }), ` ${visible(text)}`, below);
}

function probePart(part) {
  const block = el("div", { class: "probe-part" });
  const columns = part.columns.map(({ name, number }) => [visible(name), number]);
  const cell = (text, index) => (part.columns[index].number ? visible(text) : nameLines(clipped(visible(text), 200)));
  const render = (shown) => {
    const rows = part.rows.slice(0, shown).map((row) => row.map(cell));
    const blocks = [el("h4", { text: visible(part.title) })];
    if (rows.length > 0) blocks.push(plainTable(columns, rows));
    blocks.push(...part.notes.map((note) => el("p", { class: "explain", text: visible(note) })));
    if (rows.length === 0 && part.notes.length === 0) blocks.push(el("p", { class: "explain", text: "None." }));
    const hidden = part.rows.length - rows.length;
    if (hidden > 0) {
      const more = el("button", { type: "button", text: `Show ${hidden} more`, onclick: () => render(Infinity) });
      blocks.push(el("div", { class: "table-foot" }, el("span"), more));
    }
    block.replaceChildren(...blocks);
  };
  render(PROBE_ROWS);
  return block;
}

function probeBlock(probe) {
  const { title, target, container, reason, document: found } = probe;
  const head = el("summary", {}, el("b", { text: `${title} ` }), el("span", { text: `${visible(container)} ${visible(target)}`, dir: "ltr" }));
  if (found === null) return el("details", { open: true }, head, el("p", { class: "note", text: `Not measured: ${visible(reason)}.` }));
  const about = el("dl", { class: "about" }, found.about.map(([name, value]) => [el("dt", { text: name }), el("dd", { text: visible(value) })]));
  const findings = el("ul", { class: "findings" }, found.findings.map(probeFinding));
  return el("details", { open: true }, head, about, findings, found.parts.map(probePart));
}

function showProbes(facts) {
  byId("probes").hidden = facts.probes.length === 0;
  byId("probes-body").replaceChildren(...facts.probes.map(probeBlock));
}
