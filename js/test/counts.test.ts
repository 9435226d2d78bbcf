import { describe, expect, it } from "vitest";
import { decodeTable, encode, type Tile } from "../src/codes";
import { lookup, positions, weightAt } from "../src/colour";
import { ranksOf } from "../src/counts";
import { numbers } from "./helpers";

/** Weights as they are after a round trip through codes. */
function picture(weights: number[], max: number): { tile: Tile; known: number[] } {
  const codes = weights.map((weight) => encode(weight, max));
  const known = codes.filter((code) => code > 2).map((code) => decodeTable(max)[code]!);
  return { tile: { height: 1, width: codes.length, codes: Uint16Array.from(codes), max }, known };
}

describe.each([255, 65535])("ranks in a picture whose largest code is %d", (max) => {
  const next = numbers(max);
  const made = Array.from({ length: 500 }, () => 2 ** (-next() * 40));
  const { tile, known } = picture([...made, Number.NaN, 0, 0, 0.25, 0.25, 0.25], max);
  const ranks = ranksOf(tile);
  const top = Math.max(...known);
  const below = (weight: number) => known.filter((each) => each < weight).length;

  it("are the share of the weights above zero that are smaller, by counting", () => {
    const place = positions({ scale: "quantile", range: [0, top], ranks: ranks });
    for (const weight of known) expect(place(weight)).toBeCloseTo(below(weight) / below(top), 12);
    expect([place(0), place(Math.min(...known)), place(top), place(1)]).toEqual([0, 0, 1, 1]);
  });

  it.each([
    [0, 1],
    [0.001, 0.3],
  ])("lead back to every weight, exact to its code, over %f to %f", (low, high) => {
    const range: [number, number] = [low, high === 1 ? top : high];
    const place = positions({ scale: "quantile", range: range, ranks: ranks });
    for (const weight of known.filter((each) => each > low && each < range[1]))
      expect(encode(weightAt(place(weight), { scale: "quantile", range, ranks }), max)).toBe(
        encode(weight, max),
      );
    for (let t = 0; t <= 1; t += 0.01)
      expect(known).toContain(weightAt(t, { scale: "quantile", range, ranks }));
  });

  it("colour each code by its rank", () => {
    const lut = lookup(max, { map: "magma", scale: "quantile", range: [0, top], dark: true, ranks }, 7, 8);
    const used = new Set(known.map((weight) => lut[encode(weight, max)]));
    // Every colour stands for the same number of weights: of 256, most are in use.
    expect(used.size).toBeGreaterThan(max === 255 ? 90 : 180);
    expect([lut[0], lut[1]]).toEqual([7, 8]);
  });

  it("are made once for a picture, and tell two pictures apart when written down", () => {
    expect(ranksOf(tile)).toBe(ranks);
    expect(JSON.stringify(ranksOf({ ...tile }))).not.toBe(JSON.stringify(ranks));
  });
});

it("weights that are all equal, or none, have the two ends for places", () => {
  const { tile } = picture([0.5, 0.5], 65535);
  const place = positions({ scale: "quantile", range: [0, 0.5], ranks: ranksOf(tile) });
  expect([place(0.4), place(0.5), place(0.6)]).toEqual([0, 1, 1]);
  const empty = positions({ scale: "quantile", range: [0, 1], ranks: ranksOf(picture([0], 65535).tile) });
  expect([empty(0), empty(0.2), empty(1)]).toEqual([0, 0, 1]);
});
