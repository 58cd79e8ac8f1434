// Colours of boxes, after the usual palettes of flame graphs, in two themes.

/**
 * Hue, its spread over modules, saturation, and lightness in light and dark.
 * Native code is red and yellow, but never orange: that is the kernel.
 */
const HUES = {
  [KIND.native]: { hue: 356, spread: 62, gap: [376, 407], saturation: 82, light: 71, dark: 52 },
  [KIND.kernel]: { hue: 31, spread: 8, saturation: 92, light: 66, dark: 50 },
  [KIND.python]: { hue: 208, spread: 18, saturation: 68, light: 72, dark: 52 },
  [KIND.javascript]: { hue: 122, spread: 24, saturation: 46, light: 68, dark: 46 },
  [KIND.jit]: { hue: 78, spread: 14, saturation: 52, light: 66, dark: 46 },
  [KIND.synthetic]: { hue: 220, spread: 0, saturation: 4, light: 80, dark: 38 },
  [KIND.inlined]: { hue: 178, spread: 12, saturation: 46, light: 72, dark: 46 },
  [KIND.container]: { hue: 228, spread: 0, saturation: 22, light: 78, dark: 40 },
  [KIND.process]: { hue: 228, spread: 0, saturation: 18, light: 85, dark: 34 },
  [KIND.thread]: { hue: 228, spread: 0, saturation: 14, light: 90, dark: 30 },
  [KIND.root]: { hue: 228, spread: 0, saturation: 10, light: 92, dark: 28 },
};

const LEGEND = [
  [KIND.kernel, "kernel"],
  [KIND.native, "native (by module)"],
  [KIND.inlined, "inlined"],
  [KIND.python, "Python"],
  [KIND.javascript, "JavaScript"],
  [KIND.jit, "JIT"],
  [KIND.synthetic, "made by the profiler"],
];

function hashOf(text) {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

/** `variant` in 0..1 moves the hue within a kind. */
function kindColor(kind, variant, dark) {
  const { hue, spread, gap, saturation, light, dark: deep } = HUES[kind];
  let turned = hue + variant * spread;
  if (gap && turned > gap[0] && turned < gap[1]) turned = variant * 1000 % 2 < 1 ? gap[0] - 20 * variant : gap[1] + 10 * variant;
  const lightness = (dark ? deep : light) + Math.round((variant * 7) % 1 * 6) - 3;
  return `hsl(${Math.round(turned) % 360} ${dark ? Math.round(saturation * 0.72) : saturation}% ${lightness}%)`;
}

/** The colours of one tree's keys, made when first asked for. */
class Palette {
  constructor(keys, dark) {
    this.keys = keys;
    this.dark = dark;
    this.colors = new Array(keys.count);
    this.match = dark ? "hsl(300 62% 52%)" : "hsl(302 78% 68%)";
    this.text = dark ? "#f4f4f6" : "#17181c";
    this.background = dark ? "#17181d" : "#ffffff";
    this.hatching = dark ? "rgba(255,255,255,.14)" : "rgba(0,0,0,.13)";
    this.crumbs = dark ? "rgba(255,255,255,.13)" : "rgba(0,0,0,.12)";
  }

  color(key) {
    return (this.colors[key] ??= this.make(key));
  }

  make(key) {
    const kind = this.keys.kind(key);
    // Frames of one module look alike; functions without one by their file.
    const near = this.keys.modulePath(key) || this.keys.place(key).replace(/:\d+$/, "");
    return kindColor(kind, (hashOf(near) % 97) / 97, this.dark);
  }
}
