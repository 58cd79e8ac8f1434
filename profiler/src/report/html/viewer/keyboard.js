// Keys. None is taken while a field or a menu has them, none with a modifier.

function listenToKeys(actions) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (byId("help").open) return;
    const target = event.target;
    const typing = target.matches?.("input, textarea, select, [contenteditable]");
    if (event.key === "Escape") {
      actions.escape(target);
      return;
    }
    if (typing) {
      if (target.id === "search" && event.key === "Enter") actions.leaveSearch();
      return;
    }
    const onButton = target.matches?.("button, summary, a");
    const arrows = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down" };
    if (event.key in arrows) {
      // Elsewhere on the page arrows scroll, as ever.
      if (target.id !== "flame-canvas") return;
      event.preventDefault();
      actions.step(arrows[event.key]);
    } else if (event.key === "Enter") {
      if (onButton) return;
      actions.zoom();
    } else if (event.key in actions.letters) {
      event.preventDefault();
      actions.letters[event.key]();
    }
  });
}
