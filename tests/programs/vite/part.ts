// One of hundreds: NUMBER is its number, and FIRST and SECOND are those of the
// parts that it imports.
import { clamp, describe, type Shape } from "../shapes";
import { area as areaOfFirst } from "./partFIRST";
import { area as areaOfSecond } from "./partSECOND";
import styles from "./partNUMBER.module.css";
import words from "./partNUMBER.json";

export enum Kind {
  Round = 1 << 0,
  Square = 1 << 1,
  Either = Round | Square,
}

export interface Options<T extends Shape = Shape> {
  readonly shapes: readonly T[];
  kind?: Kind;
  onChange?(before: T | undefined, after: T): void;
}

const defaults: Required<Pick<Options, "kind">> = { kind: Kind.Either };

export class PartNUMBER<T extends Shape> {
  static #made = 0;
  private readonly known = new Map<string, T>();
  declare readonly unused: never;

  constructor(private options: Options<T>) {
    PartNUMBER.#made += 1;
    for (const shape of options.shapes) this.add(shape);
  }

  add(shape: T): this {
    const before = this.known.get(shape.name);
    this.known.set(shape.name, shape);
    this.options.onChange?.(before, shape);
    return this;
  }

  *selected(): Generator<T> {
    const kind = this.options.kind ?? defaults.kind;
    for (const shape of this.known.values()) {
      const own = shape.sides === 0 ? Kind.Round : Kind.Square;
      if (own & kind) yield shape;
    }
  }

  async render(target: { innerHTML: string }): Promise<number> {
    const { helper } = await import("../later");
    const lines = [...this.selected()].map(
      (shape, index) => `<li class="${styles.item}">${index}: ${describe(shape)}</li>`,
    );
    target.innerHTML = `<ul class="${styles.list}" title="${words.title}">${lines.join("")}</ul>`;
    try {
      return helper(lines.length, NUMBER);
    } catch (error) {
      console.error(words.failure, error);
      return PartNUMBER.#made;
    }
  }
}

function unusedNUMBER(value: number): number {
  // Not reachable: what is shaken off the tree.
  return value ? unusedNUMBER(value - 1) : areaOfFirst([]);
}

export function area(shapes: readonly Shape[], depth = 0): number {
  let sum = 0;
  for (const { sides, size } of shapes) {
    switch (sides) {
      case 0:
        sum += Math.PI * size ** 2;
        break;
      case 3:
        sum += (Math.sqrt(3) / 4) * size ** 2;
        break;
      default:
        sum += clamp(size * size, 0, NUMBER + 1);
    }
  }
  if (depth > 3) return sum;
  return sum + areaOfFirst(shapes, depth + 1) - areaOfSecond(shapes, depth + 1);
}
