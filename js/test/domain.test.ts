import { describe, expect, it } from "vitest";
import { encode, type Tile } from "../src/codes";
import { rangeInSight } from "../src/domain";
import type { Sight } from "../src/layers";
import { CODE_MAX_U16 } from "../src/protocol";

function tile(height: number, width: number, weight: (row: number, column: number) => number): Tile {
  const codes = Uint16Array.from({ length: height * width }, (_, i) =>
    encode(weight(Math.floor(i / width), i % width), CODE_MAX_U16),
  );
  return { height, width, codes, max: CODE_MAX_U16 };
}

describe("the range of what is in sight", () => {
  // A whole head of 1,024 tokens in 8 x 8 cells, and over it one tile of level 0 that shows tokens 0 to 255 of both.
  const whole = tile(8, 8, () => 0.9);
  const fine = tile(256, 256, (row, column) => (row < 128 ? 0.01 : 0.2) * (column < 128 ? 1 : 0.5));
  const sight: Sight = {
    placed: [
      { tile: whole, queries: [0, 1024], keys: [0, 1024] },
      { tile: fine, queries: [0, 256], keys: [0, 256], level: 0 },
    ],
    level: 0,
    rows: null,
  };

  it("is read from the finest pictures, and from the window alone", () => {
    const of = (queries: [number, number], keys: [number, number]) =>
      rangeInSight(sight, { queries, keys })?.range;
    expect(of([0, 100], [0, 100])).toEqual([0, expect.closeTo(0.01, 4)]);
    expect(of([0, 100], [128, 256])).toEqual([0, expect.closeTo(0.005, 4)]);
    expect(of([130.5, 200], [0, 20])).toEqual([0, expect.closeTo(0.2, 3)]);
    expect(
      rangeInSight(
        { ...sight, placed: sight.placed.slice(0, 1), level: null },
        { queries: [0, 9], keys: [0, 9] },
      )?.range,
    ).toEqual([0, expect.closeTo(0.9, 3)]);
  });

  it("does not take one corner that has come for all that is in sight", () => {
    const corner = tile(256, 256, () => 1e-5);
    const coming: Sight = {
      placed: [sight.placed[0]!, { tile: corner, queries: [256, 512], keys: [0, 256], level: 0 }],
      level: null,
      rows: null,
    };
    expect(rangeInSight(coming, { queries: [200, 400], keys: [0, 200] })?.range).toEqual([
      0,
      expect.closeTo(0.9, 3),
    ]);
  });

  it("is unknown where nothing has come", () => {
    expect(
      rangeInSight({ placed: [], level: null, rows: null }, { queries: [0, 9], keys: [0, 9] }),
    ).toBeNull();
    expect(rangeInSight(sight, { queries: [600, 700], keys: [0, 9] })).toBeNull();
  });
});
