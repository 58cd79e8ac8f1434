// Reading the recording out of the page: the other side of embed.rs.

const LAYOUT = 1;

/** What is known even if the tables cannot be unpacked. */
function readFacts() {
  return JSON.parse(byId("facts").textContent);
}

async function readTables() {
  const block = byId("tables");
  const packed = decodeBase64(block.textContent);
  block.remove();
  if (typeof DecompressionStream === "undefined") {
    throw new Error(
      "This browser cannot unpack the recording: it has no DecompressionStream. " +
        "Chrome and Edge 80, Firefox 113, Safari 16.4 and later have it.",
    );
  }
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return parseTables(new Uint8Array(await new Response(stream).arrayBuffer()));
}

function decodeBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i += 1) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

function parseTables(bytes) {
  let at = 0;

  function integer() {
    let byte = bytes[at++];
    if (byte < 0x80) return byte;
    let value = byte & 0x7f;
    let factor = 128;
    do {
      byte = bytes[at++];
      // Not shifts: they stop at 32 bits, and weights do not.
      value += (byte & 0x7f) * factor;
      factor *= 128;
    } while (byte >= 0x80);
    return value;
  }

  function column(Type) {
    const values = new Type(integer());
    for (let i = 0; i < values.length; i += 1) values[i] = integer();
    return values;
  }

  /** A column whose zero means none. */
  function optional() {
    const values = column(Int32Array);
    for (let i = 0; i < values.length; i += 1) values[i] -= 1;
    return values;
  }

  function texts() {
    const lengths = column(Uint32Array);
    const size = integer();
    const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes.subarray(at, at + size));
    at += size;
    let start = 0;
    return Array.from(lengths, (length) => text.slice(start, (start += length)));
  }

  const layout = integer();
  if (layout !== LAYOUT) throw new Error(`The tables have layout ${layout}; this viewer reads ${LAYOUT}.`);
  const tables = {
    strings: texts(),
    modules: { path: column(Uint32Array), buildId: column(Uint32Array), symbols: column(Uint32Array) },
    functions: {
      name: column(Uint32Array),
      kind: column(Uint8Array),
      module: optional(),
      file: column(Uint32Array),
      line: column(Uint32Array),
    },
    frames: {
      function: column(Uint32Array),
      line: column(Uint32Array),
      column: column(Uint32Array),
      inlined: column(Uint8Array),
    },
    processes: {
      pid: column(Uint32Array),
      name: column(Uint32Array),
      command: column(Uint32Array),
      container: column(Uint32Array),
    },
    threads: { tid: column(Uint32Array), name: column(Uint32Array), process: column(Uint32Array) },
    stacks: { caller: column(Int32Array), frame: column(Uint32Array) },
    samples: {
      source: column(Uint8Array),
      thread: column(Uint32Array),
      stack: optional(),
      weight: column(Float64Array),
      count: column(Float64Array),
    },
  };
  const { caller } = tables.stacks;
  for (let id = 0; id < caller.length; id += 1) caller[id] = caller[id] === 0 ? -1 : id - caller[id];
  if (at !== bytes.length) throw new Error("The tables are damaged: their length is wrong.");
  return tables;
}
