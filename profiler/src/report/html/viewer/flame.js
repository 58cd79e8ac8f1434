// The flame graph on its canvas: drawing, zooming, panning, hovering,
// choosing. What it shows is a scene of parts (one tree, or two in the
// sandwich view); what choosing means is up to the listeners.

const ROW = 19;
const FONT = '12px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace';

class FlameGraph {
  /** `on`: hover(box or null, event), choose(box), zoom(). */
  constructor(on) {
    this.on = on;
    this.scroll = byId("flame-scroll");
    this.content = byId("flame-content");
    this.canvas = byId("flame-canvas");
    this.hoverBox = byId("flame-hover");
    this.chosenBox = byId("flame-chosen");
    this.context = this.canvas.getContext("2d");
    this.parts = [];
    this.matches = null;
    this.chosen = null;
    this.request = perFrame(() => this.draw());
    this.scroll.addEventListener("scroll", this.request, { passive: true });
    new ResizeObserver(() => this.resize()).observe(this.scroll);
    this.listen();
  }

  /** `parts`: `{ tree, up }`; a part grows up or down from its root. */
  setScene(parts, palette) {
    this.parts = parts.map((part) => ({
      ...part,
      boxes: new Boxes(),
      zoomed: 0,
      view: { left: 0, right: part.tree.total[0] },
    }));
    this.palette = palette;
    this.chosen = null;
    this.fresh = true;
    this.stopAnimation();
    this.resize();
  }

  setPalette(palette) {
    this.palette = palette;
    this.request();
  }

  setMatches(matches) {
    this.matches = matches;
    this.request();
  }

  resize() {
    const ratio = Math.min(window.devicePixelRatio || 1, 3);
    this.width = this.scroll.clientWidth;
    if (this.parts.length > 0 && this.fresh) {
      for (const part of this.parts) layOut(part.tree, part.view, this.width, part.boxes);
      const rows = this.parts.reduce((sum, part) => sum + part.boxes.rowCount, 0) - (this.parts.length - 1);
      // Room for rows that only a zoom makes wide enough to be seen.
      const most = Math.max(300, Math.round(window.innerHeight * 0.62));
      this.scroll.style.height = `${Math.min(Math.max(rows * ROW + 2, 300), most)}px`;
    }
    if (this.parts.length === 0) this.scroll.style.height = "150px";
    this.height = this.scroll.clientHeight;
    this.canvas.width = Math.round(this.width * ratio);
    this.canvas.height = Math.round(this.height * ratio);
    this.canvas.style.height = `${this.height}px`;
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.draw();
  }

  /** Lays out every part and places their roots; returns the height of all. */
  place() {
    for (const part of this.parts) layOut(part.tree, part.view, this.width, part.boxes);
    const rows = this.parts.map((part) => part.boxes.rowCount);
    let height = this.height;
    if (this.parts.length === 2) {
      // Callers grow up from the row that callees hang from.
      height = Math.max(height, (rows[0] + rows[1] - 1) * ROW);
      const spare = height - (rows[0] + rows[1] - 1) * ROW;
      const base = (rows[0] - 1) * ROW + Math.floor(spare / 2);
      for (const part of this.parts) part.base = base;
    } else if (this.parts.length === 1) {
      height = Math.max(height, rows[0] * ROW);
      this.parts[0].base = this.parts[0].up ? height - ROW : 0;
    }
    this.content.style.height = `${height}px`;
    if (this.fresh) {
      this.fresh = false;
      const [first] = this.parts;
      if (this.parts.length === 2) this.scroll.scrollTop = first.base - this.height / 2;
      else this.scroll.scrollTop = first?.up ? height : 0;
    } else if (this.parts.length === 1 && this.parts[0].up && this.lastHeight !== height) {
      // The root is at the bottom: rows are counted from there.
      this.scroll.scrollTop += height - (this.lastHeight ?? height);
    }
    this.lastHeight = height;
    return height;
  }

  y(part, row) {
    return part.up ? part.base - row * ROW : part.base + row * ROW;
  }

  draw() {
    const begin = performance.now();
    if (!this.palette) return;
    this.place();
    const { context } = this;
    context.fillStyle = this.palette.background;
    context.fillRect(0, 0, this.width, this.height);
    let drawn = 0;
    this.parts.forEach((part, index) => {
      drawn += this.drawPart(context, part, this.scroll.scrollTop, this.height, index === 0 && this.parts.length === 2);
    });
    this.outline(this.chosenBox, this.chosen);
    // Read by the browser tests; costs nothing.
    this.canvas.dataset.drawMs = (performance.now() - begin).toFixed(2);
    this.canvas.dataset.boxes = drawn;
  }

  /** Draws what of a part lies between `top` and `top + height`. */
  drawPart(context, part, top, height, withoutRoot) {
    const { boxes, tree } = part;
    const { palette, matches } = this;
    context.font = FONT;
    context.textBaseline = "middle";
    context.direction = "ltr";
    this.hatch ??= this.makeHatch(context);
    const character = (this.characterWidth ??= context.measureText("mmmmmmmmmm").width / 10);
    let drawn = 0;
    let style = "";
    const fill = (color) => {
      if (color !== style) context.fillStyle = style = color;
    };
    for (let row = withoutRoot ? 1 : 0; row < boxes.rowCount; row += 1) {
      const y = this.y(part, row) - top;
      if (y + ROW < 0 || y > height) continue;
      for (let i = boxes.rows[row]; i < boxes.rows[row + 1]; i += 1) {
        const node = boxes.node[i];
        const x = Math.max(boxes.x[i], 0);
        const end = Math.min(boxes.x[i] + boxes.width[i], this.width);
        // A line of background between neighbours, as long as there is room.
        const width = end - x - (end - x > 2.5 ? 1 : end - x > 1 ? 0.4 : 0);
        drawn += 1;
        if (node < 0) {
          fill(palette.crumbs);
          context.fillRect(x, y, width, ROW - 1);
          continue;
        }
        const key = tree.key[node];
        const matched = matches !== null && matches[key] === 1;
        // Ancestors of what is zoomed to, and what a search left out, recede.
        const beyond = boxes.x[i] < -0.5 || boxes.x[i] + boxes.width[i] > this.width + 0.5;
        const alpha = matches !== null && !matched ? 0.34 : beyond ? 0.6 : 1;
        if (alpha !== 1) context.globalAlpha = alpha;
        fill(matched ? palette.match : palette.color(key));
        context.fillRect(x, y, width, ROW - 1);
        if (width > 3 && palette.keys.kind(key) === KIND.synthetic) {
          fill(this.hatch);
          context.fillRect(x, y, width, ROW - 1);
        }
        const room = Math.floor((width - 6) / character);
        if (room >= 3) {
          const label = palette.keys.shown(key);
          const text = label.length <= room ? label : `${label.slice(0, room - 1)}…`;
          if (alpha !== 1) context.globalAlpha = Math.max(alpha, 0.55);
          fill(palette.text);
          // The limit is for names in wider scripts than the font's own.
          context.fillText(text, x + 3, y + ROW / 2, width - 5);
        }
        if (alpha !== 1) context.globalAlpha = 1;
      }
    }
    return drawn;
  }

  makeHatch(context) {
    const tile = document.createElement("canvas");
    tile.width = tile.height = 6;
    const pen = tile.getContext("2d");
    pen.strokeStyle = this.palette.hatching;
    pen.lineWidth = 1.4;
    pen.beginPath();
    for (const shift of [-6, 0, 6]) {
      pen.moveTo(shift - 1, 7);
      pen.lineTo(shift + 7, -1);
    }
    pen.stroke();
    return context.createPattern(tile, "repeat");
  }

  /** The box under a point of the page, as `{ part, node, row, index }`. */
  hit(event) {
    const frame = this.content.getBoundingClientRect();
    const x = event.clientX - frame.left;
    const y = event.clientY - frame.top;
    for (let p = this.parts.length - 1; p >= 0; p -= 1) {
      const part = this.parts[p];
      const row = part.up ? Math.floor((part.base + ROW - y - 0.001) / ROW) : Math.floor((y - part.base) / ROW);
      if (row < 0 || (p === 0 && this.parts.length === 2 && row === 0)) continue;
      const index = part.boxes.at(row, x);
      if (index >= 0) return { part, node: part.boxes.node[index], row, index };
    }
    return null;
  }

  /** Puts one of the outlines around a box, or hides it. */
  outline(element, box) {
    const index = box ? box.part.boxes.indexOf(box.node, box.row) : -1;
    if (index < 0) {
      element.hidden = true;
      return;
    }
    const { boxes } = box.part;
    const x = Math.max(0, boxes.x[index]);
    const end = Math.min(this.width, boxes.x[index] + boxes.width[index]);
    element.hidden = false;
    element.style.transform = `translate(${x}px, ${this.y(box.part, box.row)}px)`;
    element.style.width = `${Math.max(end - x, 2)}px`;
  }

  choose(box, announceIt = true) {
    this.chosen = box && box.node >= 0 ? box : null;
    this.outline(this.chosenBox, this.chosen);
    if (this.chosen) {
      const y = this.y(this.chosen.part, this.chosen.row);
      if (y < this.scroll.scrollTop) this.scroll.scrollTop = y - ROW;
      else if (y + ROW > this.scroll.scrollTop + this.height) this.scroll.scrollTop = y + 2 * ROW - this.height;
    }
    this.on.choose(this.chosen, announceIt);
  }

  /** Shows a node on the whole width. */
  zoomTo(part, node, animate = true) {
    part.zoomed = node;
    const offset = offsetOf(part.tree, node);
    this.moveTo(part, { left: offset, right: offset + part.tree.total[node] }, animate);
    this.on.zoom();
  }

  resetZoom() {
    for (const part of this.parts) this.zoomTo(part, 0);
  }

  isZoomed() {
    // Shifting there and back leaves a rounding error behind.
    return this.parts.some(({ view, tree }) => view.right - view.left < tree.total[0] * 0.9999);
  }

  moveTo(part, target, animate) {
    this.stopAnimation();
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (!animate || still) {
      part.view = target;
      this.request();
      return;
    }
    const origin = part.view;
    const begin = performance.now();
    const step = (now) => {
      const t = Math.min(1, Math.max(0, (now - begin) / 160));
      const eased = 1 - (1 - t) ** 3;
      part.view = {
        left: origin.left + (target.left - origin.left) * eased,
        right: origin.right + (target.right - origin.right) * eased,
      };
      if (t === 1) part.view = target;
      this.draw();
      this.animation = t < 1 ? requestAnimationFrame(step) : 0;
    };
    this.animation = requestAnimationFrame(step);
  }

  stopAnimation() {
    if (this.animation) cancelAnimationFrame(this.animation);
    this.animation = 0;
  }

  /** Zooms around a place and pans, both in pixels, within the tree. */
  shift(part, factor, x, pan) {
    const total = part.tree.total[0];
    if (total === 0) return;
    const { left, right } = part.view;
    const size = Math.min(total, Math.max((right - left) * factor, total * 1e-7));
    const anchor = left + ((right - left) * x) / this.width;
    let start = anchor - (size * x) / this.width + (pan * size) / this.width;
    start = Math.max(0, Math.min(start, total - size));
    this.stopAnimation();
    part.view = { left: start, right: start + size };
    this.request();
    this.on.zoom();
  }

  /** The part that a point belongs to, even beside its boxes. */
  partAt(event) {
    if (this.parts.length < 2) return this.parts[0];
    const y = event.clientY - this.content.getBoundingClientRect().top;
    return y < this.parts[0].base ? this.parts[0] : this.parts[1];
  }

  listen() {
    const { canvas } = this;
    let drag = null;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button === 0) drag = { x: event.clientX, y: event.clientY, moved: false, id: event.pointerId };
    });
    canvas.addEventListener("pointermove", (event) => {
      if (drag && drag.id === event.pointerId) {
        const dx = event.clientX - drag.x;
        const dy = event.clientY - drag.y;
        if (!drag.moved && Math.hypot(dx, dy) < 5) return;
        if (!drag.moved) {
          drag.moved = true;
          canvas.setPointerCapture(event.pointerId);
          canvas.classList.add("dragging");
          this.hover(null, event);
        }
        const part = this.partAt(event);
        if (part) this.shift(part, 1, 0, -dx);
        if (event.pointerType === "mouse") this.scroll.scrollTop -= dy;
        drag.x = event.clientX;
        drag.y = event.clientY;
        return;
      }
      if (event.pointerType === "mouse") this.hover(this.hit(event), event);
    });
    const release = () => {
      drag = null;
      canvas.classList.remove("dragging");
    };
    canvas.addEventListener("pointerup", (event) => {
      const clicked = drag && !drag.moved;
      release();
      const box = clicked ? this.hit(event) : null;
      if (!box || box.node < 0) return;
      this.choose(box, false);
      this.zoomTo(box.part, box.node);
    });
    canvas.addEventListener("pointercancel", release);
    canvas.addEventListener("pointerleave", (event) => this.hover(null, event));
    canvas.addEventListener(
      "wheel",
      (event) => {
        const part = this.partAt(event);
        const sideways = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
        const unit = event.deltaMode === 1 ? ROW : 1;
        if (event.ctrlKey || event.metaKey) {
          event.preventDefault();
          const x = event.clientX - this.content.getBoundingClientRect().left;
          this.shift(part, Math.exp(Math.max(-60, Math.min(60, event.deltaY * unit)) / 120), x, 0);
        } else if (Math.abs(sideways) > Math.abs(event.deltaY) || event.shiftKey) {
          event.preventDefault();
          this.shift(part, 1, 0, sideways * unit);
        }
      },
      { passive: false },
    );
  }

  hover(box, event) {
    this.outline(this.hoverBox, box && box.node >= 0 ? box : null);
    this.on.hover(box && box.node >= 0 ? box : null, event);
  }

  /** Moves the choice with the arrow keys: `up`, `down`, `left`, `right`. */
  step(direction) {
    if (this.parts.length === 0) return;
    const current = this.chosen;
    const index = current ? current.part.boxes.indexOf(current.node, current.row) : -1;
    if (index < 0) {
      const part = this.parts[this.parts.length - 1];
      const row = part.tree.depth[part.zoomed];
      const node = part.boxes.indexOf(part.zoomed, row) >= 0 ? part.zoomed : 0;
      this.choose({ part, node, row: part.tree.depth[node] });
      return;
    }
    let { part, row } = current;
    if (direction === "left" || direction === "right") {
      const by = direction === "left" ? -1 : 1;
      let next = index + by;
      while (next >= part.boxes.rows[row] && next < part.boxes.rows[row + 1] && part.boxes.node[next] < 0) next += by;
      if (next < part.boxes.rows[row] || next >= part.boxes.rows[row + 1]) return;
      this.choose({ part, node: part.boxes.node[next], row });
      return;
    }
    // From the shared row of a sandwich, up leads into the callers.
    if (this.parts.length === 2 && row === 0) part = this.parts[direction === "up" ? 0 : 1];
    const outwards = (direction === "up") === part.up;
    if (!outwards) {
      if (row === 0) return;
      this.choose({ part, node: part.tree.parent[current.node], row: row - 1 });
      return;
    }
    const parent = part === current.part ? current.node : 0;
    let best = -1;
    for (let i = part.boxes.rows[row + 1]; i < (part.boxes.rows[row + 2] ?? 0); i += 1) {
      const node = part.boxes.node[i];
      if (node < 0 || part.tree.parent[node] !== parent) continue;
      if (best < 0 || part.tree.total[node] > part.tree.total[best]) best = node;
    }
    if (best >= 0) this.choose({ part, node: best, row: row + 1 });
  }
}
