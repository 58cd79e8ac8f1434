// Page faults, reclaim, and processes that ran out of memory.

const MEMORY_ROWS = 10;

function memoryRow(row, below) {
  return [
    nameLines(clipped(visible(row.name), 80) || "(no name)", below),
    formatCount(row.minor_faults),
    formatCount(row.major_faults),
    row.reclaims > 0 ? `${formatTime(row.reclaim_ns)} in ${formatCount(row.reclaims)}` : "",
  ];
}

function showMemory({ memory }) {
  byId("memory").hidden = !memory || memory.containers.length === 0;
  if (!memory) return;
  const columns = (title) => [[title, false], ["Page faults", true], ["With a read", true], ["Freeing memory itself", true]];
  const render = (shown) => {
    const blocks = [
      ...memory.oom_kills.map((kill) =>
        el("p", { class: "note warning", text: `Killed for want of memory after ${formatTime(kill.time_ns)}: ${clipped(visible(kill.name), 80)} [${kill.pid}] in ${clipped(visible(kill.container), 80)}, when ${clipped(visible(kill.caller), 80)} [${kill.caller_pid}] asked for some.` }),
      ),
      plainTable(columns("Container"), memory.containers.map((row) => memoryRow(row, ""))),
      plainTable(columns("Process"), memory.processes.slice(0, shown).map((row) => memoryRow(row, `${row.pid}, ${visible(row.container)}`))),
    ];
    if (memory.processes.length > shown) {
      blocks.push(el("div", { class: "table-foot" }, el("span"), el("button", { type: "button", text: `Show ${memory.processes.length - shown} more`, onclick: () => render(memory.processes.length) })));
    }
    const { swapped_in_pages, swapped_out_pages, refaulted_pages, huge_page_faults } = memory.host;
    blocks.push(el("p", { class: "explain", text: `The host: ${plural(swapped_in_pages, "page")} swapped in, ${formatCount(swapped_out_pages)} out; ${formatCount(refaulted_pages)} of files thrown out and read again; ${plural(huge_page_faults, "fault")} brought in a huge page.` }));
    byId("memory-body").replaceChildren(...blocks);
  };
  render(MEMORY_ROWS);
}
