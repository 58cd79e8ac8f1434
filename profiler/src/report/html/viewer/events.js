// What the page listens to, and what of the app each event calls.

function listenFor(app) {
  const { flame } = app;
  for (const name of ["container", "process", "thread", "source"]) {
    byId(`filter-${name}`).addEventListener("change", (event) => {
      const id = Number(event.target.value);
      const { tables } = app;
      if (name === "source") {
        app.filter = app.everything(id);
        app.select();
        showSentence(app.state, app.facts, id);
      } else if (name === "container") app.setFilter({ container: id, process: -1, thread: -1 });
      else if (name === "process") app.setFilter({ process: id, thread: -1, ...(id >= 0 && { container: tables.processes.container[id] }) });
      else app.setFilter({ thread: id });
    });
  }
  byId("filter-clear").addEventListener("click", () => app.setFilter(app.everything(app.filter.source)));
  for (const view of ["graph", "inverted", "sandwich"]) {
    byId(`view-${view}`).addEventListener("click", () => (view === "sandwich" ? app.sandwichOfChosen() : app.setView(view)));
  }
  for (const name of ["orientation", "order", "group", "collapse"]) {
    app.option(name).addEventListener("change", () => app.build(true));
  }
  app.option("lines").addEventListener("change", () => app.select());
  byId("export-svg").addEventListener("click", () => saveSvg(flame, app.state, app.caption(), app.fileName()));
  byId("export-png").addEventListener("click", () => savePng(flame, app.fileName()));
  byId("zoom-reset").addEventListener("click", () => flame.resetZoom());
  const search = perFrame(() => app.setSearch(byId("search").value));
  byId("search").addEventListener("input", search);
  const tabs = Object.keys(app.made).filter((name) => !byId(`tab-${name}`).hidden);
  for (const name of tabs) {
    const tab = byId(`tab-${name}`);
    tab.addEventListener("click", () => {
      app.table = name;
      app.showTable();
      // On a phone the last ones are outside of the row.
      tab.scrollIntoView({ block: "nearest", inline: "nearest" });
    });
    tab.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!by) return;
      event.preventDefault();
      byId(`tab-${tabs[(tabs.indexOf(name) + by + tabs.length) % tabs.length]}`).focus();
      document.activeElement.click();
    });
  }
  byId("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = app.dark() ? "light" : "dark";
    app.applyTheme();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => app.applyTheme());
  // An open menu closes as menus do.
  document.addEventListener("pointerdown", (event) => {
    if (!byId("options").contains(event.target)) byId("options").open = false;
  });
  listenToKeys({
    escape: (target) => app.escape(target),
    leaveSearch: () => flame.canvas.focus(),
    step: (direction) => flame.step(direction),
    zoom: () => flame.chosen && flame.zoomTo(flame.chosen.part, flame.chosen.node),
    letters: {
      "/": () => byId("search").select(),
      "?": () => byId("help").showModal(),
      r: () => flame.resetZoom(),
      i: () => app.setView(app.view === "inverted" ? "graph" : "inverted"),
      s: () => app.sandwichOfChosen(),
      f: () => {
        app.option("orientation").value = app.growsUp() ? "down" : "up";
        app.build(true);
      },
      c: () => flame.chosen && copyText(foldedStack(app.state, flame.chosen), "the folded stack"),
    },
  });
}
