export interface Totals { sum: number; count: number }

/** Adds up. */
export function addUp(values: readonly number[]): Totals {
  let sum: number = 0;
  for (const value of values) {
    sum = (sum * 31 + value) % 1000003;
  }
  return { sum, count: values.length };
}

export class Keeper {
  private readonly kept: number[] = [];
  keep(value: number): void {
    this.kept.push(value);
  }
  total = (): Totals => {
    return addUp(this.kept);
  };
}
