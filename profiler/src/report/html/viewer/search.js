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
function matchedWeight(tables, keys, selection, matches, group) {
  const { samples, stacks } = tables;
  const reached = new Uint8Array(stacks.caller.length);
  for (let stack = 0; stack < reached.length; stack += 1) {
    // Callers come first, so theirs is known.
    const caller = stacks.caller[stack];
    reached[stack] = matches[keys.ofFrame[stacks.frame[stack]]] | (caller < 0 ? 0 : reached[caller]);
  }
  const levels = GROUPS[group];
  let weight = 0;
  for (const row of selection.rows) {
    const stack = samples.stack[row];
    let matched = stack < 0 ? matches[keys.noStack] : reached[stack];
    for (const level of levels) {
      matched |= matches[groupKey(tables, keys, samples.thread[row], level)];
    }
    if (matched) weight += samples.weight[row];
  }
  return weight;
}
