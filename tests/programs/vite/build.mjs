// build.mjs VITE SECONDS: builds what lies beside it with the Vite in the
// directory VITE, as `vite build` does, again and again.
import path from "node:path";
import { pathToFileURL } from "node:url";

const [directory, seconds] = process.argv.slice(2);
const { build } = await import(pathToFileURL(path.join(directory, "dist/node/index.js")));
const end = Date.now() + 1000 * Number(seconds);
do {
  await build({ root: import.meta.dirname });
} while (Date.now() < end);
