import { describe, expect, it } from "vitest";
import { keeps, massCut } from "../src/mass";
import { numbers } from "./helpers";

/** The definition, word by word: sorted stably by weight, added up until the mass is there. */
function reference(values: Float32Array, mass: number): number[] {
  const order = Array.from(values, (weight, place) => ({ weight, place }))
    .filter(({ weight }) => weight > 0)
    .sort((a, b) => b.weight - a.weight || a.place - b.place);
  const sums = order.map((_, i) => order.slice(0, i + 1).reduce((sum, { weight }) => sum + weight, 0));
  const reached = sums.findIndex((sum) => sum >= mass);
  return order
    .slice(0, reached < 0 ? order.length : reached + 1)
    .map(({ place }) => place)
    .sort((a, b) => a - b);
}

const kept = (values: Float32Array, mass: number) => {
  const cut = massCut(values, mass);
  return [...values.keys()].filter((place) => keeps(cut, values[place]!, place));
};
const row = (...values: number[]) => Float32Array.from(values);

describe("the strongest keys up to a mass", () => {
  it("are the fewest that reach it, on random rows with ties, masked, unknown and zero weights", () => {
    const next = numbers(5);
    let ties = 0;
    for (let trial = 0; trial < 500; trial++) {
      const n = 1 + Math.floor(next() * 40);
      const steps = next() < 0.5 ? 8 : 1e6;
      const raw = Array.from({ length: n }, () => Math.floor(next() ** 3 * steps));
      const sum = raw.reduce((a, b) => a + b, 0) || 1;
      // In 2^-20ths, so that sums are exact in whatever order they are made.
      const values = Float32Array.from(raw, (w) => Math.round((w / sum) * 2 ** 20) / 2 ** 20);
      for (let i = 0; i < n; i++) if (next() < 0.15) values[i] = next() < 0.7 ? Number.NaN : -1;
      const mass = trial % 10 === 0 ? trial % 20 && 1 : Math.round(next() * 64) / 64;
      const expected = reference(values, mass);
      expect(kept(values, mass), `${[...values]} up to ${mass}`).toEqual(expected);
      const least = Math.min(...expected.map((i) => values[i]!));
      if (values.filter((w) => w === least).length > expected.filter((i) => values[i] === least).length)
        ties++;
    }
    expect(ties).toBeGreaterThan(30);
  });

  it("are of equal weights the first, and at least one", () => {
    expect(kept(row(0.25, 0.25, 0.25, 0.25), 0.5)).toEqual([0, 1]);
    expect(kept(row(0.25, 0.25, 0.5), 0.75)).toEqual([0, 2]);
    expect(kept(row(0.1, 0.6, 0.3), 0)).toEqual([1]);
  });

  it("are all above 0 where they never reach it, and none where the mask allows none", () => {
    expect(kept(row(0.1, 0, 0.3, Number.NaN, -1), 1)).toEqual([0, 2]);
    expect(kept(row(Number.NaN, Number.NaN), 0.5)).toEqual([]);
    expect(kept(row(0, 0), 0.5)).toEqual([]);
  });
});
