import { describe, expect, it } from "vitest";
import { binOf, binStart, decodeTable, encode, MISSING, paint, type Tile } from "../src/codes";
import { headRange } from "../src/domain";
import { type Edges, strongestEdges, strongestOfHeads } from "../src/edges";
import type { Window } from "../src/window";
import { random } from "./helpers";

const tileOf = (weights: number[], height: number, width: number, max = 65535): Tile => ({
  height,
  width,
  max,
  codes: Uint16Array.from(weights, (w) => encode(w, max)),
});

describe("codes", () => {
  it.each([
    [255, 0.045],
    [65535, 0.0002],
  ])("round trip through %i codes is right to %d", (max, tolerance) => {
    const next = random(1);
    const table = decodeTable(max);
    for (let i = 0; i < 2000; i++) {
      const weight = 2 ** (-32 * next());
      expect(Math.abs(table[encode(weight, max)]! / weight - 1)).toBeLessThan(tolerance);
    }
  });

  it("keep masked, missing, zero and one apart", () => {
    const table = decodeTable(255);
    expect(encode(Number.NaN, 255)).toBe(0);
    expect(encode(0, 255)).toBe(2);
    expect(encode(2 ** -33, 255)).toBe(2);
    expect(encode(2 ** -32, 255)).toBe(3);
    expect(encode(1, 255)).toBe(255);
    expect([table[0], table[1], table[2], table[255]]).toEqual([Number.NaN, MISSING, 0, 1]);
  });

  it("follow the formula of the protocol", () => {
    for (const w of [0.9, 0.5, 0.31, 1e-3, 1e-6])
      expect(encode(w, 65535)).toBe(3 + Math.round(((Math.log2(w) + 32) * (65535 - 3)) / 32));
  });

  it("find the bin of an item as the protocol cuts them", () => {
    for (const [n, bins] of [
      [512, 48],
      [13, 13],
      [100, 7],
      [49, 48],
    ] as const)
      for (let r = 0; r < bins; r++)
        for (let i = binStart(r, n, bins); i < binStart(r + 1, n, bins); i++)
          expect(binOf(i, n, bins)).toBe(r);
  });

  it("paint smaller by the largest weight under a pixel, larger by repeating", () => {
    const tile = tileOf([0.1, 0.9, Number.NaN, Number.NaN], 2, 2);
    const same = Uint32Array.from({ length: 65536 }, (_, i) => i);
    const one = new Uint32Array(1);
    paint(tile, same, 1, 1, one);
    expect(one[0]).toBe(encode(0.9, 65535));
    const row = new Uint32Array(2);
    paint(tile, same, 1, 2, row);
    expect([...row]).toEqual([encode(0.9, 65535), 0]);
    const big = new Uint32Array(16);
    paint(tile, same, 4, 4, big);
    const [a, b] = [encode(0.1, 65535), encode(0.9, 65535)];
    expect([...big]).toEqual([a, a, b, b, a, a, b, b, 0, 0, 0, 0, 0, 0, 0, 0]);
  });

  it("recolour 512 x 512 well within a frame", () => {
    const next = random(3);
    const tile = tileOf(Array.from({ length: 512 * 512 }, next), 512, 512);
    const out = new Uint32Array(512 * 512);
    paint(tile, new Uint32Array(65536), 512, 512, out);
    const start = performance.now();
    paint(tile, new Uint32Array(65536), 512, 512, out);
    expect(performance.now() - start).toBeLessThan(16);
  });
});

describe("the range of a head", () => {
  it("reaches the strongest weights of nearly all queries", () => {
    const n = 50;
    const diagonal = Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 0.4 : 0.01));
    expect(headRange(tileOf(diagonal, n, n)).range).toEqual([0, expect.closeTo(0.4, 3)]);
  });

  it("leaves a sink out, but never falls under an eighth of it", () => {
    const n = 20;
    const with_ = (rest: number) => Array.from({ length: n * n }, (_, i) => (i % n === 0 ? 0.8 : rest));
    const strong = headRange(tileOf(with_(0.2), n, n));
    expect(strong.range[1]).toBeCloseTo(0.2, 3);
    expect(strong.max).toBeCloseTo(0.8, 3);
    expect(headRange(tileOf(with_(0.001), n, n)).range[1]).toBeCloseTo(0.1, 3);
  });

  it("works on one token, on zeros and on masks", () => {
    expect(headRange(tileOf([1], 1, 1)).range).toEqual([0, 1]);
    expect(headRange(tileOf([0, 0, 0, 0], 2, 2)).range).toEqual([0, 1]);
  });
});

/** The edges of a tile over a whole head. */
const edgesOf = (tile: Tile, threshold: number, limit: number): Edges => {
  const window: Window = { queries: [0, tile.height], keys: [0, tile.width] };
  return strongestEdges([{ tile, ...window }], window, threshold, limit)!;
};

describe("the strongest edges", () => {
  it("are those a sort would find", () => {
    const next = random(5);
    const weights = Array.from({ length: 900 }, () => (next() < 0.1 ? Number.NaN : next() ** 4));
    const tile = tileOf(weights, 30, 30);
    const expected = weights.filter((w) => w >= 0.2).sort((a, b) => b - a);
    const all = edgesOf(tile, 0.2, 10_000);
    expect(all.total).toBe(expected.length);
    const few = edgesOf(tile, 0.2, 40);
    expect(few.total).toBe(expected.length);
    expect([...few.weights].reverse()).toEqual(expected.slice(0, 40).map((w) => expect.closeTo(w, 3)));
    few.weights.forEach((w, i) => {
      expect(weights[few.queries[i]! * 30 + few.keys[i]!]).toBeCloseTo(w, 3);
    });
  });

  it("fill the limit exactly when many are equal", () => {
    const edges = edgesOf(tileOf(new Array(100).fill(0.5), 10, 10), 0.1, 7);
    expect([edges.total, edges.weights.length]).toEqual([100, 7]);
  });

  it("keep weights equal to the threshold, and find none above 1", () => {
    expect(edgesOf(tileOf([0.05, 0.04], 1, 2), 0.05, 10).total).toBe(1);
    expect(edgesOf(tileOf([0.9], 1, 1), 1, 10).total).toBe(0);
  });
});

describe("the strongest pairs of several heads", () => {
  const edges = (...weights: number[]): Edges => ({
    queries: Uint32Array.from(weights, (_, i) => i),
    keys: Uint32Array.from(weights, (_, i) => i + 10),
    weights: Float32Array.from(weights),
    heads: new Uint16Array(weights.length),
    total: weights.length + 5,
    whole: true,
  });

  it("are those of all of them together, each with the place of its head", () => {
    const all = strongestOfHeads([edges(0.25, 0.5), null, edges(0.125, 0.375, 0.75)], 3)!;
    expect([...all.weights]).toEqual([0.375, 0.5, 0.75]);
    expect([...all.heads]).toEqual([2, 0, 2]);
    expect([[...all.queries], [...all.keys]]).toEqual([
      [1, 1, 2],
      [11, 11, 12],
    ]);
    expect([all.total, all.whole]).toEqual([15, false]);
    expect(strongestOfHeads([null, null], 3)).toBeNull();
  });
});
