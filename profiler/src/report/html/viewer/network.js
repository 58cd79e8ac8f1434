// What was sent and received, by container, process and peer.

const NETWORK_ROWS = 12;

function troubleLines(row) {
  const failed = Array.isArray(row.failed_connects)
    ? row.failed_connects.map(({ error, count }) => [count, error])
    : [[row.failed_connects, "failed connects"]];
  return [
    ...failed,
    [row.retransmits, "retransmits"],
    [row.resets_sent, "resets sent"],
    [row.resets_received, "resets received"],
    [row.drops, "packets dropped"],
  ]
    .filter(([count]) => count > 0)
    .map(([count, text]) => el("span", { class: "below", text: `${formatCount(count)} ${text}` }));
}

function durationLines(durations) {
  if (durations.count === 0) return "";
  return [
    el("span", { text: `${formatTime(durations.p50_ns)} / ${formatTime(durations.p99_ns)}` }),
    el("span", { class: "below", text: `${formatCount(durations.count)}, longest ${formatTime(durations.max_ns)}` }),
  ];
}

function movedCells(row) {
  const cell = (bytes, messages) => [el("span", { text: formatBytes(bytes) }), el("span", { class: "below", text: plural(messages, "message") })];
  return [cell(row.sent_bytes, row.sent_messages), cell(row.received_bytes, row.received_messages)];
}

function trafficRow(row, name, below) {
  return [
    nameLines(clipped(visible(name), 80) || "(no name)", below),
    ...movedCells(row),
    formatCount(row.sockets),
    durationLines(row.connects),
    durationLines(row.lifetimes),
    troubleLines(row),
  ];
}

function flowRow(flow) {
  const { peer } = flow;
  const remote = flow.remote_name === null ? flow.remote : `${flow.remote_name} (${flow.remote})`;
  const address = flow.role === "server" ? `at ${flow.local}${remote && `, from ${remote}`}` : remote || flow.local;
  const name = peer === null ? address : [peer.container, peer.process === null ? "" : `${peer.process} [${peer.pid}]`].filter(Boolean).join(" ");
  return [
    nameLines(`${clipped(visible(flow.process), 80) || "(no name)"} [${flow.pid}]`, visible(flow.container)),
    nameLines(clipped(visible(name), 80) || "(no name)", peer === null ? "" : clipped(visible(address), 80)),
    `${flow.protocol.replace("_", " ")} ${flow.role}`,
    ...movedCells(flow),
    formatCount(flow.sockets),
    durationLines(flow.connects),
    flow.round_trip_ns === null ? "" : formatTime(flow.round_trip_ns),
    troubleLines(flow),
  ];
}

function showNetwork(facts) {
  const { network } = facts;
  byId("network").hidden = network === null || network.containers.length === 0;
  if (network === null) return;
  const moved = [["Sent", true], ["Received", true], ["Sockets", true], ["Connects: p50 / p99", true]];
  const traffic = (title) => [[title, false], ...moved, ["Lifetimes: p50 / p99", true], ["Trouble", false]];
  const render = (shown) => {
    const blocks = [
      plainTable(traffic("Container"), network.containers.map((row) => trafficRow(row, row.name, ""))),
      plainTable(traffic("Process"), network.processes.slice(0, shown).map((row) => trafficRow(row, `${row.name} [${row.pid}]`, visible(row.container)))),
      plainTable(
        [["Process", false], ["With", false], ["Protocol", false], ...moved, ["Round trip", true], ["Trouble", false]],
        network.flows.slice(0, shown).map(flowRow),
      ),
    ];
    const most = Math.max(network.processes.length, network.flows.length);
    if (most > shown) {
      const more = el("button", { type: "button", text: "Show all", onclick: () => render(most) });
      blocks.push(el("div", { class: "table-foot" }, el("span"), more));
    }
    if (network.dropped_packets.length > 0) {
      const drops = network.dropped_packets.map(({ reason, packets }) => `${visible(reason)} ${formatCount(packets)}`);
      blocks.push(el("p", { class: "explain", text: `Packets dropped, host-wide: ${drops.join(", ")}.` }));
    }
    for (const queue of network.listen_queues) {
      const text = `Listening sockets of ${visible(queue.container)} dropped ${plural(queue.drops, "connection")}, ${formatCount(queue.overflows)} of them because a queue was full.`;
      blocks.push(el("p", { class: "explain", text }));
    }
    byId("network-body").replaceChildren(...blocks);
  };
  render(NETWORK_ROWS);
}
