// What is known about one box: in a tooltip at the pointer, in a panel for the
// chosen one, and as a folded stack.

/** Lines that both tooltip and panel show, as `[term, text]`. */
function factsOf(view, box) {
  const { keys, tables, sums, selection, unit, event } = view;
  const { tree } = box.part;
  const key = tree.key[box.node];
  const facts = [];
  const of = (weight) => `${formatWeight(weight, unit)}, ${formatShare(weight / selection.total)}`;
  if (key < keys.frameKeys || key === keys.noStack) {
    const module = keys.module(key);
    facts.push(["Kind", KIND_TITLE[keys.kind(key)]]);
    if (module >= 0) facts.push(["Module", visible(keys.modulePath(key))]);
    if (keys.place(key)) facts.push(["Source", visible(keys.place(key))]);
  } else {
    facts.push(["Kind", KIND_TITLE[keys.kind(key)] || "everything shown"]);
    const process = key - keys.processes;
    if (keys.kind(key) === KIND.process) {
      const command = tables.strings[tables.processes.command[process]];
      if (command) facts.push(["Command", visible(command)]);
    }
  }
  facts.push(["This box", `${of(tree.total[box.node])}, ${plural(tree.count[box.node], event)}`]);
  // Known of every box that was drawn: its children were made for it.
  if (view.mode === "graph" && tree.self[box.node] > 0) facts.push(["Self, here", of(tree.self[box.node])]);
  if (key < keys.frameKeys) {
    facts.push(["Function, self", of(sums.self[key])]);
    facts.push(["Function, total", `${of(sums.total[key])}, ${plural(sums.count[key], event)}`]);
  }
  return facts;
}

function showTooltip(view, box, event) {
  const tooltip = byId("tooltip");
  if (!box) {
    tooltip.hidden = true;
    return;
  }
  const name = view.keys.shown(box.part.tree.key[box.node]);
  tooltip.replaceChildren(
    el("div", { class: "tooltip-name", text: clipped(name, 900), dir: "ltr" }),
    el(
      "dl",
      {},
      factsOf(view, box).map(([term, text]) => [
        el("dt", { text: term }),
        el("dd", { text: clipped(text, 300), dir: "ltr" }),
      ]),
    ),
  );
  tooltip.hidden = false;
  const { offsetWidth: width, offsetHeight: height } = tooltip;
  const room = { x: document.documentElement.clientWidth, y: window.innerHeight };
  const x = event.clientX + 14 + width > room.x ? event.clientX - 14 - width : event.clientX + 14;
  const y = event.clientY + 18 + height > room.y ? event.clientY - 12 - height : event.clientY + 18;
  tooltip.style.left = `${Math.max(4, Math.min(x, room.x - width - 4))}px`;
  tooltip.style.top = `${Math.max(4, y)}px`;
}

/** `actions`: `[title, run]`. */
function showDetails(view, box, actions) {
  const panel = byId("details");
  panel.hidden = !box;
  if (!box) return;
  const { keys, tables, selection, unit } = view;
  const key = box.part.tree.key[box.node];
  const facts = factsOf(view, box);
  const parent = box.part.tree.parent[box.node];
  if (parent >= 0) {
    const share = box.part.tree.total[box.node] / box.part.tree.total[parent];
    facts.push(["Of the box it rests on", formatShare(share)]);
  }
  if (key < keys.frameKeys) {
    const module = keys.module(key);
    if (module >= 0) {
      const { buildId, symbols } = tables.modules;
      if (tables.strings[buildId[module]]) facts.push(["Build id", visible(tables.strings[buildId[module]])]);
      if (tables.strings[symbols[module]]) facts.push(["Names from", visible(tables.strings[symbols[module]])]);
    }
    const lines = sumByLine(tables, selection, keys.functionOf[key]).filter(({ line }) => line > 0);
    if (lines.length > 0) {
      const text = lines
        .slice(0, 5)
        .map(({ line, total }) => `${line} (${formatShare(total / selection.total)})`)
        .join(", ");
      facts.push(["Busiest lines", lines.length > 5 ? `${text} and ${lines.length - 5} more` : text]);
    }
  }
  panel.replaceChildren(
    el("h3", { text: keys.shown(key), dir: "ltr" }),
    el("div", { class: "actions" }, actions.map(([text, onclick]) => el("button", { type: "button", text, onclick }))),
    el(
      "dl",
      {},
      facts.map(([term, text]) => el("div", {}, el("dt", { text: term }), el("dd", { text, dir: "ltr" }))),
    ),
  );
  panel.dataset.name = keys.label(key);
  panel.dataset.total = box.part.tree.total[box.node];
  panel.dataset.unit = unit;
}

/** `container;process;frame;… weight`, outermost first, whatever the view. */
function foldedStack(view, box) {
  const { tree } = box.part;
  let path = tree.path(box.node);
  if (tree.key[0] === view.keys.root) path = path.slice(1);
  if (!tree.inwards) path.reverse();
  // A frame must not end its stack, or the line.
  const text = (node) => view.keys.label(tree.key[node]).replace(/;/g, ":").replace(/[\r\n]+/g, " ");
  return `${path.map(text).join(";")} ${Math.round(tree.total[box.node])}`;
}
