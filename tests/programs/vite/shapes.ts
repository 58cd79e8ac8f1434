export interface Shape {
  name: string;
  sides: number;
  size: number;
}

export const clamp = (value: number, low: number, high: number) =>
  Math.min(high, Math.max(low, value));

export function describe({ name, sides, size }: Shape): string {
  return sides === 0 ? `${name}: a circle of ${size}` : `${name}: ${sides} sides of ${size}`;
}
