// Disk requests: what each device, container, process and file had of them.

const DISK_ROWS = 10;

function percentileCells(latency) {
  return [latency.p50_ns, latency.p99_ns, latency.p50_ns === null ? null : latency.max_ns].map((ns) => (ns === null ? "–" : formatTime(ns)));
}

function deviceRows(device) {
  return device.operations.map((operation) => [
    nameLines(visible(device.name)),
    operation.operation,
    formatBytes(operation.bytes),
    formatCount(operation.requests),
    formatCount(operation.errors),
    ...percentileCells(operation.queue),
    ...percentileCells(operation.service),
  ]);
}

function diskUserRow(row, name, below) {
  const bytesOf = (kind) => row.operations.find(({ operation }) => operation === kind)?.bytes ?? 0;
  const cache = row.page_cache;
  return [
    nameLines(clipped(visible(name), 80) || "(no name)", below),
    formatBytes(bytesOf("read")),
    formatBytes(bytesOf("write")),
    formatCount(row.requests),
    formatCount(row.errors),
    formatTime(row.request_ns),
    formatBytes(cache.dirtied_bytes),
    formatBytes(cache.missed_bytes + cache.faulted_bytes),
    cache.hit_bytes === null ? "–" : formatBytes(cache.hit_bytes),
  ];
}

function fileRow(file) {
  return [
    nameLines(clipped(visible(file.path), 120) || "other files", `${file.access_title}, ${file.device}`),
    nameLines(`${clipped(visible(file.process), 40)} [${file.pid}]`, visible(file.container)),
    file.operation,
    formatBytes(file.bytes),
    formatCount(file.requests),
    formatTime(file.request_ns),
  ];
}

function showDisk(facts) {
  const { disk } = facts;
  byId("disk").hidden = disk.devices.length === 0 && disk.processes.length === 0;
  const latencies = ["p50", "p99", "max"];
  const devices = [["Disk", false], ["Operation", false], ["Bytes", true], ["Requests", true], ["Errors", true], ...latencies.map((it) => [`Queue ${it}`, true]), ...latencies.map((it) => [`Service ${it}`, true])];
  const users = (title) => [[title, false], ...["Read", "Written", "Requests", "Errors", "Request time", "Dirtied", "Cache misses", "Cache hits"].map((it) => [it, true])];
  const files = [["File", false], ["Process", false], ["Operation", false], ["Bytes", true], ["Requests", true], ["Request time", true]];
  const render = (shown) => {
    const hidden = Math.max(disk.processes.length, disk.files.length) - shown;
    const blocks = [
      plainTable(devices, disk.devices.flatMap(deviceRows)),
      plainTable(users("Container"), disk.containers.map((row) => diskUserRow(row, row.name))),
      plainTable(
        users("Process"),
        disk.processes.slice(0, shown).map((row) => diskUserRow(row, `${row.name} [${row.pid}]`, visible(row.container))),
      ),
      plainTable(files, disk.files.slice(0, shown).map(fileRow)),
    ];
    if (hidden > 0) {
      const more = el("button", { type: "button", text: `Show up to ${hidden} more`, onclick: () => render(Infinity) });
      blocks.push(el("div", { class: "table-foot" }, el("span"), more));
    }
    byId("disk-body").replaceChildren(...blocks);
  };
  render(DISK_ROWS);
}
