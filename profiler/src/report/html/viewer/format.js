// Numbers as people read them.

const NUMBER = new Intl.NumberFormat("en-US");

function formatCount(value) {
  return NUMBER.format(value);
}

/** Three significant digits, without trailing zeros that mean nothing. */
function short(value) {
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return value >= 1000 ? NUMBER.format(Math.round(value)) : String(Number(value.toFixed(digits)));
}

function formatTime(nanoseconds) {
  const size = Math.abs(nanoseconds);
  if (size === 0) return "0 s";
  if (size < 1e3) return `${short(nanoseconds)} ns`;
  if (size < 1e6) return `${short(nanoseconds / 1e3)} µs`;
  if (size < 1e9) return `${short(nanoseconds / 1e6)} ms`;
  if (size < 120e9) return `${short(nanoseconds / 1e9)} s`;
  const seconds = Math.round(nanoseconds / 1e9);
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

function formatBytes(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) {
    bytes /= 1024;
    unit += 1;
  }
  return `${short(bytes)} ${units[unit]}`;
}

/** A weight in its source's unit. */
function formatWeight(weight, unit) {
  if (unit === "nanoseconds") return formatTime(weight);
  if (unit === "bytes") return formatBytes(weight);
  return `${formatCount(weight)} ${unit}`;
}

/** A share of one whole; small is not the same as nothing. */
function formatShare(share) {
  if (!Number.isFinite(share) || share === 0) return "0 %";
  const percent = share * 100;
  if (percent < 0.01) return "<0.01 %";
  if (percent >= 99.995) return "100 %";
  return percent < 10 ? `${percent.toFixed(2)} %` : `${percent.toFixed(1)} %`;
}

/**
 * Tenths of a percent for a table, so that the ones shown add up to 100 %:
 * each is rounded down, and the tenths that are left go to those that lost
 * most by it.
 */
function tableShares(weights) {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  if (total === 0) return weights.map(() => 0);
  const exact = weights.map((weight) => (weight / total) * 1000);
  const tenths = exact.map(Math.floor);
  let left = 1000 - tenths.reduce((sum, value) => sum + value, 0);
  const byLoss = exact.map((_, index) => index);
  byLoss.sort((a, b) => exact[b] - tenths[b] - (exact[a] - tenths[a]) || a - b);
  for (const index of byLoss) {
    if (left <= 0) break;
    tenths[index] += 1;
    left -= 1;
  }
  return tenths;
}

function formatTenths(tenths, weight) {
  if (tenths === 0) return weight > 0 ? "<0.1 %" : "0 %";
  return `${(tenths / 10).toFixed(1)} %`;
}

function formatDate(unixMilliseconds) {
  const date = new Date(unixMilliseconds);
  if (!unixMilliseconds || Number.isNaN(date.getTime())) return "";
  return `${date.toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

/**
 * A name, fit to be seen: control characters and the ones that reorder text
 * are spelled out, so that a name cannot pass for another.
 */
function visible(text) {
  return text.replace(
    /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g,
    (character) => `⟨U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`,
  );
}

/** For places with little room; the whole name is in the details. */
function clipped(text, length = 240) {
  return text.length > length ? `${text.slice(0, length)}… (${formatCount(text.length)} characters)` : text;
}

function plural(count, noun) {
  return `${formatCount(count)} ${noun}${count === 1 ? "" : noun.endsWith("s") ? "es" : "s"}`;
}
