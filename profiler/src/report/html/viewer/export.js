// The current view as a picture.

function download(blob, name) {
  const link = el("a", { download: name, href: URL.createObjectURL(blob) });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function savePng(flame, name) {
  flame.canvas.toBlob((blob) => {
    if (blob) download(blob, `${name}.png`);
    else announce("The browser could not make the picture");
  }, "image/png");
}

function escapeXml(text) {
  // What XML 1.0 cannot hold even as a reference is left out.
  return visible(text)
    .replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]|[\ufffe\uffff]/g, "\ufffd")
    .replace(/&/g, "&amp;")
    .replace(/</g, "&lt;")
    .replace(/>/g, "&gt;")
    .replace(/"/g, "&quot;");
}

/** All rows, also those scrolled out of sight; titles carry the full names. */
function toSvg(flame, view, caption) {
  const { width, palette, matches } = flame;
  const height = flame.place();
  const head = 44;
  const out = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height + head}" viewBox="0 0 ${width} ${height + head}" font-family="ui-monospace,Menlo,Consolas,monospace" font-size="12">`,
    `<rect width="100%" height="100%" fill="${palette.background}"/>`,
    `<text x="6" y="17" fill="${palette.text}">${escapeXml(clipped(caption, 200))}</text>`,
    `<text x="6" y="34" fill="${palette.text}" opacity=".7">${escapeXml(byId("axis").textContent)}</text>`,
  ];
  flame.parts.forEach((part, index) => {
    const { boxes, tree } = part;
    for (let row = index === 0 && flame.parts.length === 2 ? 1 : 0; row < boxes.rowCount; row += 1) {
      const y = flame.y(part, row) + head;
      for (let i = boxes.rows[row]; i < boxes.rows[row + 1]; i += 1) {
        const node = boxes.node[i];
        if (node < 0) continue;
        const x = Math.max(0, boxes.x[i]);
        const size = Math.min(width, boxes.x[i] + boxes.width[i]) - x;
        const key = tree.key[node];
        const name = palette.keys.shown(key);
        const color = matches !== null && matches[key] ? palette.match : palette.color(key);
        const room = Math.floor((size - 6) / flame.characterWidth);
        const text = name.length <= room ? name : `${name.slice(0, Math.max(0, room - 1))}…`;
        const share = formatShare(tree.total[node] / view.selection.total);
        const title = `${clipped(name, 1000)}\n${formatWeight(tree.total[node], view.unit)}, ${share}`;
        out.push(
          `<g><title>${escapeXml(title).replace(/⟨U\+000A⟩/g, "\n")}</title>` +
            `<rect x="${x.toFixed(2)}" y="${y}" width="${Math.max(size - (size > 2.5 ? 1 : 0), 0.1).toFixed(2)}" height="${ROW - 1}" rx="1" fill="${color}"/>` +
            (room >= 3 ? `<text x="${(x + 3).toFixed(2)}" y="${y + 13}" fill="${palette.text}">${escapeXml(text)}</text>` : "") +
            `</g>`,
        );
      }
    }
  });
  out.push("</svg>");
  return out.join("\n");
}

function saveSvg(flame, view, caption, name) {
  download(new Blob([toSvg(flame, view, caption)], { type: "image/svg+xml" }), `${name}.svg`);
}
