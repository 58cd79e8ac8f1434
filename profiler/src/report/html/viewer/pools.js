// How the connections of a process to a service, and those of its clients, are used.

const POOL_ROWS = 12;

function meanText(value) {
  return value === null ? "" : value.toFixed(1);
}

function percentText(value) {
  return value === null ? "" : `${value.toFixed(1)} %`;
}

function poolCommon(row, name, below) {
  const unused = row.unused > 0 ? [el("span", { class: "below", text: `${formatCount(row.unused)} unused` })] : [];
  const { sampled } = row;
  return [
    nameLines(`${clipped(visible(row.process), 80) || "(no name)"} [${row.pid}]`, visible(row.container)),
    nameLines(clipped(visible(name), 80) || "(no name)", below),
    [
      el("span", { text: meanText(sampled.mean_connections) }),
      el("span", { class: "below", text: `at most ${formatCount(sampled.most_connections)}` }),
      ...unused,
    ],
    formatCount(row.requests),
    row.mean_ns === null ? "" : formatTime(row.mean_ns),
    formatTime(row.longest_ns),
  ];
}

function clientPool(row) {
  const { peer, sampled } = row;
  const name = peer === null ? row.service : [peer.container, peer.process].filter(Boolean).join(" ");
  return [
    ...poolCommon(row, name, peer === null ? "" : clipped(visible(row.service), 80)),
    row.opened === null ? "" : formatCount(row.opened),
    percentText(row.in_use_percent),
    percentText(sampled.all_in_use_percent),
    meanText(sampled.requests_in_progress_then),
  ];
}

function serverPool(row) {
  return [...poolCommon(row, row.service, ""), meanText(row.mean_in_use)];
}

function showPools(facts) {
  const rows = facts.network === null ? [] : facts.network.pools.rows;
  byId("pools").hidden = rows.length === 0;
  const of = (role) => rows.filter((row) => row.role === role);
  const [clients, servers] = [of("client"), of("server")];
  const common = [["At once", true], ["Requests", true], ["Mean", true], ["Longest", true]];
  const render = (shown) => {
    const blocks = [];
    if (clients.length > 0) {
      const heads = [["Process", false], ["Connections to", false], ...common, ["Made", true], ["In use", true], ["All in use", true], ["Requests in progress then", true]];
      blocks.push(plainTable(heads, clients.slice(0, shown).map(clientPool)));
    }
    if (servers.length > 0) {
      const heads = [["Process", false], ["Serves at", false], ...common, ["In progress at once", true]];
      blocks.push(plainTable(heads, servers.slice(0, shown).map(serverPool)));
    }
    const most = Math.max(clients.length, servers.length);
    if (most > shown) {
      const more = el("button", { type: "button", text: "Show all", onclick: () => render(most) });
      blocks.push(el("div", { class: "table-foot" }, el("span"), more));
    }
    byId("pools-body").replaceChildren(...blocks);
  };
  render(POOL_ROWS);
}
