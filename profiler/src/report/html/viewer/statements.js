// Phases of PostgreSQL's statements.

const STATEMENT_ROWS = 12;
const STATEMENT_LENGTH = 300;

function phaseCell({ count, total_ns, mean_ns, longest_ns, nested, nested_ns }) {
  if (count === 0 && nested === 0) return "";
  const lines = [el("span", { text: formatTime(total_ns) })];
  if (count > 1) {
    lines.push(el("span", { class: "below", text: `${formatTime(mean_ns)} each` }));
    lines.push(el("span", { class: "below", text: `longest ${formatTime(longest_ns)}` }));
  }
  if (nested > 0) lines.push(el("span", { class: "below", text: `within: ${formatTime(nested_ns)} (${formatCount(nested)})` }));
  return lines;
}

function severalCell(number, ns) {
  return number === 0 ? "" : [el("span", { text: formatTime(ns) }), el("span", { class: "below", text: formatCount(number) })];
}

function statementRow(name, use) {
  return [
    name,
    formatCount(use.executions),
    formatTime(use.total_ns),
    phaseCell(use.parse),
    phaseCell(use.rewrite),
    phaseCell(use.plan),
    phaseCell(use.execute),
    severalCell(use.lock_waits, use.lock_ns),
    severalCell(use.failed, use.failed_ns),
    severalCell(use.in_progress, use.in_progress_ns),
  ];
}

function statementName({ statement, cut }) {
  return nameLines(clipped(visible(statement), STATEMENT_LENGTH), cut ? "and all that begin like it: only the begin is read" : "");
}

function showStatements({ statements }) {
  const servers = statements === null || statements === undefined ? [] : statements.servers;
  byId("statements").hidden = servers.length === 0;
  const columns = [["Statement", false], ["Executed", true], ["Total", true], ["Parse", true], ["Rewrite", true], ["Plan", true], ["Execute", true], ["For locks", true], ["Failed", true], ["In progress", true]];
  const blocks = servers.map((server) => {
    const block = el("div");
    const render = (shown) => {
      const rows = server.statements.slice(0, shown).map((row) => statementRow(statementName(row), row));
      rows.push(statementRow(nameLines("all", ""), server.total));
      block.replaceChildren(el("h3", { text: `PostgreSQL ${server.pid} in ${clipped(visible(server.container), 80)}` }), plainTable(columns, rows));
      if (server.statements.length > shown) {
        const more = el("button", { type: "button", text: "Show all", onclick: () => render(server.statements.length) });
        block.append(el("div", { class: "table-foot" }, el("span"), more));
      } else if (server.statements_not_shown > 0) {
        block.append(el("p", { class: "explain", text: `and ${formatCount(server.statements_not_shown)} more.` }));
      }
    };
    render(STATEMENT_ROWS);
    return block;
  });
  byId("statements-body").replaceChildren(...blocks);
}
