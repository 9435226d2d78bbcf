/** What lands on which pixel, drawn by nearest neighbour as a canvas does it, against what the tiles say of that pair. */
import { describe, expect, it } from "vitest";
import { binOf, paint, type Tile } from "../src/codes";
import type { Placed } from "../src/datasource";
import { type HeatGeometry, heatGeometry, tileExtent, tokenAt } from "../src/heatgeometry";
import { piece, plan } from "../src/heatplan";
import { clampWindow, type Window, whole } from "../src/window";
import { numbers } from "./helpers";

const SAME = Uint32Array.from({ length: 65536 }, (_, i) => i);
const random = numbers(11);
const integer = (low: number, high: number) => low + Math.floor(random() * (high - low + 1));

/** Codes from 3 on: 0 to 2 are no weights. */
const noise = Uint16Array.from({ length: 512 * 512 }, () => integer(3, 65535));
const tileOf = (height: number, width: number): Tile => {
  const start = integer(0, noise.length - height * width);
  return { height, width, codes: noise.slice(start, start + height * width), max: 65535 };
};

/** The codes of the plot's pixels, row-major; -1 where nothing is drawn. */
function drawn(
  g: HeatGeometry,
  placed: readonly Placed[],
): { codes: Int32Array; width: number; height: number } {
  const [width, height] = [Math.round(g.width * g.ratio), Math.round(g.height * g.ratio)];
  const codes = new Int32Array(width * height).fill(-1);
  for (const patch of plan(g, placed)) {
    const { down, across } = patch;
    const pixels = new Uint32Array(across.pixels * down.pixels);
    paint(piece(patch), SAME, across.pixels, down.pixels, pixels);
    const source = ({ to, from }: typeof down, at: number) =>
      Math.floor(from[0] + ((at + 0.5 - to[0]) * (from[1] - from[0])) / (to[1] - to[0]));
    for (let y = down.to[0]; y < down.to[1]; y++)
      for (let x = across.to[0]; x < across.to[1]; x++) {
        const [row, column] = [source(down, y), source(across, x)];
        if (row < 0 || row >= down.pixels || column < 0 || column >= across.pixels)
          throw new Error(`pixel ${x}, ${y} is read from ${column}, ${row}, which the piece does not have`);
        codes[y * width + x] = pixels[row * across.pixels + column]!;
      }
  }
  return { codes, width, height };
}

/** The code a tile has for a pair, or null where it says nothing of it. */
function codeOf({ tile, queries, keys, level }: Placed, query: number, key: number): number | null {
  const bin = (at: number, [start, stop]: readonly [number, number], n: number) => {
    if (at < start || at >= stop) return null;
    return level === undefined ? binOf(at - start, stop - start, n) : Math.floor((at - start) / 2 ** level);
  };
  const [row, column] = [bin(query, queries, tile.height), bin(key, keys, tile.width)];
  return row === null || column === null ? null : tile.codes[row * tile.width + column]!;
}

function windowOf(n: number, least: number, most: number): Window {
  const side = integer(least, Math.min(n, most)) + (random() < 0.5 ? 0 : random());
  const other = random() < 0.7 ? side : side * (0.3 + random());
  const range = (length: number): [number, number] => {
    const start = random() < 0.5 ? integer(0, n) : random() * n;
    return [start, start + length];
  };
  return clampWindow({ queries: range(side), keys: range(other) }, { queries: n, keys: n });
}

const room = { width: 170, height: 150, left: 20, top: 20, right: 10, bottom: 4 };

/** Every pixel shows what the finest tile over its token says, and the pointer over it finds that token. */
function agrees(g: HeatGeometry, placed: readonly Placed[]): void {
  const { codes, width, height } = drawn(g, placed);
  for (let y = 0; y < height; y += 1 + (y % 3))
    for (let x = 0; x < width; x += 1 + (x % 2)) {
      const query = tokenAt(g, "queries", g.top + (y + random()) / g.ratio)!;
      const key = tokenAt(g, "keys", g.left + (x + random()) / g.ratio)!;
      const known = placed.map((one) => codeOf(one, query, key)).filter((code) => code !== null);
      if (codes[y * width + x] !== (known.at(-1) ?? -1))
        throw new Error(
          `pixel ${x}, ${y} of ${width} x ${height} shows ${codes[y * width + x]}, pair ${query}, ${key} has ${known}` +
            ` in the window ${g.visible.queries} x ${g.visible.keys}`,
        );
    }
}

describe("the pixels of the plot", () => {
  it("show the cells of the tiles of a pyramid, over a coarse tile of the whole head", () => {
    const n = 3000;
    const base: Placed = { tile: tileOf(512, 512), queries: [0, n], keys: [0, n] };
    for (let i = 0; i < 40; i++) {
      const visible = windowOf(n, 4, 120);
      const g = heatGeometry({ queries: n, keys: n }, room, [1, 1.25, 2][i % 3]!, visible);
      const placed = [base];
      for (const level of [2, 0]) {
        const side = 256 * 2 ** level;
        for (let q = 0; q < n; q += side)
          for (let k = 0; k < n; k += side) {
            const [queries, keys]: [[number, number], [number, number]] = [
              [q, Math.min(n, q + side)],
              [k, Math.min(n, k + side)],
            ];
            const near = q < visible.queries[1] && q + side > visible.queries[0] && k < visible.keys[1];
            if (!near || k + side <= visible.keys[0] || random() < 0.3) continue;
            const cells = ([a, b]: [number, number]) => Math.ceil((b - a) / 2 ** level);
            placed.push({ tile: tileOf(cells(queries), cells(keys)), queries, keys, level });
          }
      }
      agrees(g, placed);
    }
  });

  it("show the bins of one tile, even or not, at every zoom where a token has a pixel", () => {
    for (const [n, side] of [
      [5, 5],
      [60, 60],
      [100, 64],
      [700, 512],
      [1500, 512],
      [1024, 512],
    ] as const)
      for (let i = 0; i < 12; i++) {
        const shape = { queries: n, keys: n };
        const visible = i ? windowOf(n, 1, 125) : whole(shape);
        const g = heatGeometry(shape, room, 1 + (i % 2), visible);
        if (g.cellX * g.ratio < 1 || g.cellY * g.ratio < 1) continue;
        agrees(g, [{ tile: tileOf(side, side), queries: [0, n], keys: [0, n] }]);
      }
  });

  it("drop no cell where many share a pixel: the largest is seen within a pixel of its place", () => {
    for (let i = 0; i < 60; i++) {
      const n = 4096;
      const level = 2;
      const visible = windowOf(n, 700, 1100);
      const g = heatGeometry({ queries: n, keys: n }, room, 1, visible);
      const tile: Tile = { height: 256, width: 256, codes: new Uint16Array(65536).fill(3), max: 65535 };
      const [row, column] = [integer(0, 255), integer(0, 255)];
      tile.codes[row * 256 + column] = 60000;
      const at = 4 * integer(0, 3);
      const placed: Placed = { tile, queries: [at, at + 1024], keys: [0, 1024], level };
      const { codes, width, height } = drawn(g, [placed]);
      const middle = [
        ((at + 4 * (row + 0.5) - visible.queries[0]) * height) / (visible.queries[1] - visible.queries[0]),
        ((4 * (column + 0.5) - visible.keys[0]) * width) / (visible.keys[1] - visible.keys[0]),
      ] as const;
      if (middle[0] < 2 || middle[1] < 2 || middle[0] > height - 2 || middle[1] > width - 2) continue;
      let seen = 0;
      codes.forEach((code, pixel) => {
        if (code !== 60000) return;
        seen++;
        expect(Math.abs(Math.floor(pixel / width) + 0.5 - middle[0])).toBeLessThan(2.5);
        expect(Math.abs((pixel % width) + 0.5 - middle[1])).toBeLessThan(2.5);
      });
      expect(seen).toBeGreaterThan(0);
    }
  });

  it("of a whole head are pooled to the pixels there are, as evenly as can be", () => {
    const shape = { queries: 600, keys: 600 };
    const g = heatGeometry(shape, room, 1);
    const tile = tileOf(512, 512);
    const { codes, width, height } = drawn(g, [{ tile, ...whole(shape) }]);
    const expected = new Uint32Array(width * height);
    paint(tile, SAME, width, height, expected);
    expect(Array.from(codes)).toEqual(Array.from(expected));
  });

  it("stay empty where no tile is", () => {
    const g = heatGeometry({ queries: 100, keys: 100 }, room, 1, { queries: [0, 20], keys: [0, 20] });
    expect(new Set(drawn(g, []).codes)).toEqual(new Set([-1]));
  });
});

describe("the resolution tiles are asked for", () => {
  const large = { ...room, width: 400, height: 400 };

  it("is that of the screen, and less where a long strip would take more tiles than one looks at", () => {
    const near: Window = { queries: [0, 50], keys: [0, 50] };
    const g = heatGeometry({ queries: 5000, keys: 5000 }, large, 2, near);
    expect(tileExtent(g)).toBe(2 * g.width);
    const tall: Window = { queries: [0, 100], keys: [0, 50] };
    const stretched = heatGeometry({ queries: 5000, keys: 5000 }, large, 2, tall);
    expect(tileExtent(stretched) / 100).toBe(2 * stretched.cellX);
    const long = tileExtent(heatGeometry({ queries: 1, keys: 32768 }, large, 2));
    expect(long).toBe(64 * 256);
  });
});
