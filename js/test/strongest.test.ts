import { describe, expect, it } from "vitest";
import { encode, type Tile } from "../src/codes";
import type { Placed } from "../src/datasource";
import { singleCelled, strongestEdges } from "../src/edges";
import { strongest } from "../src/strongest";
import { random } from "./helpers";

describe("the strongest of a row", () => {
  it("are those a sort would find: ties by place, masked, unknown and zero left out", () => {
    const next = random(11);
    for (let round = 0; round < 200; round++) {
      const n = Math.floor(next() * 300);
      const values = Float32Array.from({ length: n }, () => {
        const r = next();
        return r < 0.1 ? Number.NaN : r < 0.2 ? -1 : r < 0.3 ? 0 : Math.floor(next() * 20) / 20;
      });
      const [limit, floor] = [1 + Math.floor(next() * 12), next() < 0.5 ? 0 : 0.3];
      const expected = [...values.keys()]
        .filter((i) => values[i]! > 0 && values[i]! >= floor)
        .sort((a, b) => values[b]! - values[a]! || a - b)
        .slice(0, limit);
      expect(strongest(values, limit, floor)).toEqual(expected);
    }
  });
});

describe("the edges of a window", () => {
  const weight = (q: number, k: number) => ((q * 31 + k * 17) % 101) / 101;
  const placed = (q0: number, q1: number, k0: number, k1: number, cell = 1): Placed => {
    const [height, width] = [Math.ceil((q1 - q0) / cell), Math.ceil((k1 - k0) / cell)];
    const codes = new Uint16Array(height * width);
    for (let q = 0; q < height; q++)
      for (let k = 0; k < width; k++)
        codes[q * width + k] = encode(weight(q0 + q * cell, k0 + k * cell), 65535);
    return { tile: { height, width, codes, max: 65535 }, queries: [q0, q1], keys: [k0, k1] };
  };
  const pairs = (a: number, b: number, c: number, d: number, floor: number) => {
    const all: [number, number][] = [];
    for (let q = a; q < b; q++) for (let k = c; k < d; k++) if (weight(q, k) >= floor) all.push([q, k]);
    return all;
  };
  const window = { queries: [120.5, 140] as [number, number], keys: [200, 269.5] as [number, number] };

  it("come from all tiles that show single pairs, cut to the window", () => {
    const tiles = [placed(0, 512, 0, 512, 4), placed(0, 256, 0, 256), placed(0, 256, 256, 512)];
    const edges = strongestEdges(tiles, window, 0.5, 10_000)!;
    const expected = pairs(120, 140, 200, 270, 0.5);
    expect(edges.whole).toBe(true);
    expect(edges.total).toBe(expected.length);
    const found = [...edges.queries].map((q, i) => `${q} ${edges.keys[i]}`);
    expect(found.sort()).toEqual(expected.map((pair) => pair.join(" ")).sort());
    expect([...edges.weights]).toEqual([...edges.weights].sort((a, b) => a - b));
  });

  it("say that a part of the window is not here", () => {
    const edges = strongestEdges([placed(0, 256, 0, 256)], window, 0.5, 10_000)!;
    expect(edges.whole).toBe(false);
    expect(edges.total).toBe(pairs(120, 140, 200, 256, 0.5).length);
  });

  it("are unknown where all cells are pooled, or no tile reaches the window", () => {
    expect(strongestEdges([placed(0, 512, 0, 512, 2)], window, 0.5, 10)).toBeNull();
    expect(strongestEdges([placed(0, 64, 0, 64)], window, 0.5, 10)).toBeNull();
    expect(strongestEdges([], window, 0.5, 10)).toBeNull();
  });

  it("are counted once where one tile covers what others cover too", () => {
    const edges = strongestEdges([placed(0, 512, 0, 512), placed(0, 256, 0, 256)], window, 0.5, 10_000)!;
    expect(edges.total).toBe(pairs(120, 140, 200, 270, 0.5).length);
  });

  it("need a cell for every pair of the head", () => {
    const tile: Tile = { height: 4, width: 4, codes: new Uint16Array(16), max: 65535 };
    expect([singleCelled(tile, 4, 4), singleCelled(tile, 4, 5), singleCelled(null, 4, 4)]).toEqual([
      true,
      false,
      false,
    ]);
  });
});
