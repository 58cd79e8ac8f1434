// Search: which keys match, and which share of the weight they hold.

/**
 * `text`, `/regex/` or `/regex/i`; `module:` and `file:` look there instead.
 * Text in lower case ignores case. Returns null for nothing to search.
 */
function parseQuery(text) {
  let query = text.trim();
  if (query === "") return null;
  let where = "label";
  const prefix = /^(module|file):\s*/.exec(query);
  if (prefix) {
    where = prefix[1];
    query = query.slice(prefix[0].length);
    if (query === "") return null;
  }
  const regex = /^\/(.+)\/(i?)$/s.exec(query);
  if (regex) {
    try {
      const pattern = new RegExp(regex[1], regex[2]);
      return { where, test: (name) => pattern.test(name) };
    } catch (error) {
      return { error: error.message };
    }
  }
  if (query === query.toLowerCase()) return { where, test: (name) => name.toLowerCase().includes(query) };
  return { where, test: (name) => name.includes(query) };
}

/** One byte a key. */
function matchingKeys(keys, query) {
  const text = {
    label: (key) => keys.label(key),
    module: (key) => keys.modulePath(key),
    file: (key) => keys.place(key),
  }[query.where];
  const matches = new Uint8Array(keys.count);
  for (let key = 0; key < keys.root; key += 1) matches[key] = query.test(text(key)) ? 1 : 0;
  return matches;
}

/**
 * The weight of the samples with at least one match in what the graph shows
 * of them: their frames and the rows of their groups. Each counts once.
 */
function matchedWeight(tables, keys, paths, matches, group) {
  const { samples } = tables;
  const levels = GROUPS[group];
  let weight = 0;
  for (let n = 0; n < paths.rows.length; n += 1) {
    const row = paths.rows[n];
    let matched = levels.some((level) => matches[groupKey(tables, keys, samples.thread[row], level)]);
    for (let at = paths.start[n]; !matched && at < paths.start[n + 1]; at += 1) {
      matched = matches[paths.keys[at]] === 1;
    }
    if (matched) weight += samples.weight[row];
  }
  return weight;
}
