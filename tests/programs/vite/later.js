import tables from "./tables.cjs";

export function helper(lines, number) {
  return tables.lookUp(lines % tables.length) ^ number;
}
