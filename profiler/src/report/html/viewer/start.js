// What runs when the page is opened.

async function start() {
  const facts = readFacts();
  showAbout(facts);
  showNotes(facts);
  showFindings(facts);
  showWaiting(facts);
  showSyscalls(facts);
  showMemory(facts);
  showNetwork(facts);
  showPools(facts);
  showDisk(facts);
  showProbes(facts);
  showStatements(facts);
  showGil(facts);
  showUsage(facts);
  showQuality(facts);
  byId("open-help").addEventListener("click", () => byId("help").showModal());
  byId("help-close").addEventListener("click", () => byId("help").close());
  // A frame in between: the facts are painted before the tables are unpacked.
  await new Promise((done) => setTimeout(done));
  const tables = await readTables();
  byId("workspace").hidden = false;
  byId("filters").hidden = false;
  new App(facts, tables);
  document.documentElement.dataset.ready = performance.now().toFixed(0);
}

start().catch((error) => {
  byId("failure").hidden = false;
  byId("failure").textContent = `The flame graph and the tables cannot be shown. ${error.message}`;
  byId("sentence").textContent = "";
  document.documentElement.dataset.ready = "failed";
});
