import { describe, expect, it } from "vitest";
import type { HeadShape } from "../src/datasource";
import { PYRAMID_TILE, TILE } from "../src/protocol";
import {
  childrenOf,
  levelFor,
  levels,
  neededLevel,
  neighbours,
  type Place,
  rangesOf,
  spanOf,
  tilesOver,
} from "../src/pyramid";
import type { Window } from "../src/window";
import { random } from "./helpers";

const name = ({ level, row, column }: Place) => `${level} ${row} ${column}`;

/** Made-up heads, windows and scales, the same on every run. */
function* cases(n: number): Generator<{ shape: HeadShape; window: Window; scale: number; level: number }> {
  const next = random(11);
  const between = (a: number, b: number) => a + next() * (b - a);
  const length = () => Math.ceil(2 ** between(0, 15));
  for (let i = 0; i < n; i++) {
    const shape = { queries: length(), keys: i % 3 ? length() : 0 };
    if (!shape.keys) shape.keys = shape.queries;
    const part = (all: number): [number, number] => {
      const start = between(0, all * 0.9);
      return [start, between(start + 0.1, all)];
    };
    const scale = 2 ** between(-8, 5);
    const level = Math.floor(between(0, 7));
    yield { shape, window: { queries: part(shape.queries), keys: part(shape.keys) }, scale, level };
  }
}

describe("the level for a scale", () => {
  it("is the coarsest whose cells are no larger than a pixel", () => {
    for (const { scale } of cases(300)) {
      const level = levelFor(scale);
      if (scale <= 1) expect(2 ** level * scale).toBeLessThanOrEqual(1);
      else expect(level).toBe(0);
      expect(2 ** (level + 1) * scale).toBeGreaterThan(1);
    }
    expect([1, 0.5, 0.49, 1 / 64, 30].map(levelFor)).toEqual([0, 1, 1, 6, 0]);
  });

  it("is none where the whole head's cells are single tokens, or no larger than a pixel", () => {
    for (const { shape, scale } of cases(300)) {
      const cell = Math.max(
        shape.queries / Math.min(shape.queries, TILE),
        shape.keys / Math.min(shape.keys, TILE),
      );
      const level = neededLevel(shape, scale);
      if (level === null) expect(cell === 1 || cell * scale <= 1).toBe(true);
      else {
        expect(2 ** level).toBeLessThan(cell);
        expect(level).toBeLessThan(levels(shape));
      }
    }
    expect(neededLevel({ queries: 512, keys: 512 }, 40)).toBeNull();
    expect(neededLevel({ queries: 32768, keys: 32768 }, 500 / 32768)).toBeNull();
    expect(neededLevel({ queries: 32768, keys: 32768 }, 0.02)).toBe(5);
    expect(neededLevel({ queries: 32768, keys: 32768 }, 8)).toBe(0);
  });
});

describe("tiles", () => {
  it("over a window hold every token of it, touch it all, and lie from its middle out", () => {
    for (const { shape, window, level } of cases(300)) {
      if (spanOf(level) * 40 < Math.max(shape.queries, shape.keys)) continue;
      const ranges = tilesOver(window, shape, level).map((place) => rangesOf(place, shape));
      for (const side of ["queries", "keys"] as const) {
        const all = ranges.map((range) => range[side]);
        expect(Math.min(...all.map(([a]) => a))).toBeLessThanOrEqual(window[side][0]);
        expect(Math.max(...all.map(([, b]) => b))).toBeGreaterThanOrEqual(
          Math.min(window[side][1], shape[side]),
        );
        for (const [a, b] of all) {
          expect(a < window[side][1] && b > window[side][0]).toBe(true);
          expect(a < b && b <= shape[side] && b - a <= spanOf(level)).toBe(true);
        }
      }
      const area = ranges.reduce((sum, { queries: [a, b], keys: [c, d] }) => sum + (b - a) * (d - c), 0);
      const [top, left] = [
        Math.min(...ranges.map((r) => r.queries[0])),
        Math.min(...ranges.map((r) => r.keys[0])),
      ];
      const [bottom, right] = [
        Math.max(...ranges.map((r) => r.queries[1])),
        Math.max(...ranges.map((r) => r.keys[1])),
      ];
      expect(area).toBe((bottom - top) * (right - left));
    }
    const middle = tilesOver({ queries: [0, 1280], keys: [0, 1280] }, { queries: 1280, keys: 1280 }, 0);
    expect(middle).toHaveLength(25);
    expect(middle[0]).toEqual({ level: 0, row: 2, column: 2 });
    expect(middle.slice(-4).map(({ row, column }) => row % 4 === 0 && column % 4 === 0)).toEqual(
      new Array(4).fill(true),
    );
  });

  it("are cut where the head ends", () => {
    const shape = { queries: 1000, keys: 300 };
    expect(rangesOf({ level: 1, row: 1, column: 0 }, shape)).toEqual({
      queries: [512, 1000],
      keys: [0, 300],
    });
    expect(spanOf(0)).toBe(PYRAMID_TILE);
  });

  it("have children that share out their tokens", () => {
    for (const { shape, window, level } of cases(200)) {
      const [place] = tilesOver(window, shape, level);
      const children = childrenOf(place!, shape);
      if (level === 0) {
        expect(children).toEqual([]);
        continue;
      }
      for (const child of children)
        expect({ level: child.level + 1, row: child.row >> 1, column: child.column >> 1 }).toEqual(place);
      const size = ({ queries: [a, b], keys: [c, d] }: Window) => (b - a) * (d - c);
      const sum = children.reduce((total, child) => total + size(rangesOf(child, shape)), 0);
      expect(sum).toBe(size(rangesOf(place!, shape)));
    }
  });

  it("near a window are those over it, a ring around them, and its middle one level up and down", () => {
    for (const { shape, window } of cases(200)) {
      for (let level = 0; level < levels(shape); level++) {
        if (spanOf(level) * 40 < Math.max(shape.queries, shape.keys)) continue;
        const seen = tilesOver(window, shape, level);
        const near = neighbours(window, shape, level);
        const names = near.map(name);
        expect(new Set(names).size).toBe(near.length);
        for (const { row, column } of seen)
          for (const [down, right] of [-1, 0, 1].flatMap((d) => [-1, 0, 1].map((r) => [d, r] as const))) {
            const place = { level, row: row + down, column: column + right };
            const inside =
              Math.min(place.row, place.column) >= 0 &&
              place.row * spanOf(level) < shape.queries &&
              place.column * spanOf(level) < shape.keys;
            expect(names.includes(name(place))).toBe(inside);
          }
        for (const place of near.filter((p) => p.level === level))
          expect(
            seen.some((s) => Math.abs(s.row - place.row) <= 1 && Math.abs(s.column - place.column) <= 1),
          ).toBe(true);
        const others = near.filter((place) => place.level !== level).map((place) => place.level);
        expect(others).toEqual([level - 1, level + 1].filter((l) => l >= 0 && l < levels(shape)));
      }
    }
    const all = neighbours({ queries: [300, 400], keys: [300, 400] }, { queries: 2048, keys: 2048 }, 0);
    expect(all).toHaveLength(9 + 1);
  });
});
