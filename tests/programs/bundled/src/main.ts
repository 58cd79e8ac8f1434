import { Keeper, type Totals } from "./totals";

const keeper = new Keeper();
for (let index = 0; index < 2000; index++) keeper.keep(index);

const repeatedly = async (times: number): Promise<Totals[]> => {
  const all: Totals[] = [];
  for (let time = 0; time < times; time++) {
    all[time % 16] = keeper.total();
  }
  return all;
};

const end = Date.now() + 1000 * Number(process.argv[2] ?? 10);
async function main(): Promise<void> {
  while (Date.now() < end) await repeatedly(1000);
}
main();

// esbuild 0.28.2 made ../main.js and ../main.mjs of it:
//   esbuild src/main.ts --bundle --platform=node --minify --sourcemap --outfile=main.js
//   esbuild src/main.ts --bundle --platform=node --format=esm --minify --sourcemap=inline --outfile=main.mjs
