import { beforeEach, describe, expect, it } from "vitest";
import { longHead } from "../dev/longheads";
import { binsOf, poolRow } from "../dev/pool";
import { binOf, binStart, encode, type Tile } from "../src/codes";
import type { HeadRef } from "../src/datasource";
import { Layers, sightOf } from "../src/layers";
import { CODE_MAX_U16, PYRAMID_TILE, TILE } from "../src/protocol";
import { levels, type Place, rangesOf, tilesOver } from "../src/pyramid";
import { type TileWant, wantKey } from "../src/wants";
import type { Window } from "../src/window";
import { random } from "./helpers";

const SHAPE = { queries: 1500, keys: 1100 };
const ref: HeadRef = { stack: "self", batch: 0, layer: 1, head: 2 };
const head = longHead(1, 2, SHAPE.queries, SHAPE.keys, true);
/** The whole matrix, so that every picture can be checked weight by weight. */
const weights = Array.from({ length: SHAPE.queries }, (_, q) => head.row(q, 0, SHAPE.keys));

function tile(want: TileWant, rows: number | null = null): Tile {
  const window =
    want.kind === "tile"
      ? rangesOf(want, SHAPE)
      : { queries: [0, SHAPE.queries] as [number, number], keys: [0, SHAPE.keys] as [number, number] };
  const size = want.kind === "tile" ? { level: want.level } : { count: want.kind === "detail" ? TILE : 48 };
  const [down, across] = [binsOf(window.queries, size), binsOf(window.keys, size)];
  const pooled = Array.from({ length: down.count }, (_, y) => [
    ...poolRow(head, down, across, y, rows ?? 1e9),
  ]);
  const codes = Uint16Array.from(pooled.flat(), (w) => encode(w, CODE_MAX_U16));
  return { height: down.count, width: across.count, codes, max: CODE_MAX_U16, rows };
}

/** The largest allowed weight of a block, straight from the matrix. */
function largest([a, b]: [number, number], [c, d]: [number, number]): number {
  let best = Number.NaN;
  for (let q = a; q < b; q++)
    for (let k = c; k < d; k++) if (weights[q]![k]! > best || Number.isNaN(best)) best = weights[q]![k]!;
  return best;
}

function close(value: number, expected: number): void {
  if (Number.isNaN(expected)) expect(value).toBeNaN();
  else expect(Math.abs(value / expected - 1)).toBeLessThan(2e-4);
}

const here = new Map<string, Tile>();
const put = (want: TileWant, rows: number | null = null) => here.set(wantKey(want), tile(want, rows));
const at = (level: number, row: number, column: number): TileWant => ({
  kind: "tile",
  ref,
  level,
  row,
  column,
});
const make = () =>
  new Layers(
    () => SHAPE,
    (want) => here.get(wantKey(want)) ?? null,
  );
const everything = { queries: [0, 1500] as [number, number], keys: [0, 1100] as [number, number] };
const places = (layers: Layers, window = everything, scale = 1) =>
  layers
    .placed(ref, window, scale)
    .map(({ level, queries: [q], keys: [k] }) => `${level ?? "whole"} ${q} ${k}`);

const sight = (layers: Layers, window: Window) => sightOf(layers.placed(ref, window, 1), window, SHAPE);

beforeEach(() => here.clear());

describe("what is drawn", () => {
  it("is the whole head first: the small picture, then the large one", () => {
    const layers = make();
    expect(places(layers)).toEqual([]);
    put({ kind: "thumbnail", ref });
    expect(layers.placed(ref, everything, 1)[0]!.tile.height).toBe(48);
    put({ kind: "detail", ref });
    expect(layers.placed(ref, everything, 1)).toEqual([
      { tile: expect.objectContaining({ height: TILE, width: TILE }), queries: [0, 1500], keys: [0, 1100] },
    ]);
  });

  it("keeps coarse tiles until finer ones have come, and finer ones until coarse ones have", () => {
    const layers = make();
    put({ kind: "detail", ref });
    const window = { queries: [200, 600] as [number, number], keys: [100, 500] as [number, number] };
    put(at(1, 0, 0));
    expect(places(layers, window)).toEqual(["whole 0 0", "1 0 0"]);
    expect(sight(layers, window).level).toBeNull(); // queries from 512 on are the whole head's still
    put(at(1, 1, 0));
    expect(sight(layers, window).level).toBe(1);
    put(at(0, 1, 1));
    expect(places(layers, window)).toEqual(["whole 0 0", "1 0 0", "1 512 0", "0 256 256"]);
    for (const { row, column } of tilesOver(window, SHAPE, 0)) put(at(0, row, column));
    expect(places(layers, window)[0]).toBe("whole 0 0");
    expect(
      places(layers, window)
        .slice(1)
        .every((name) => name.startsWith("0 ")),
    ).toBe(true);
    expect(sight(layers, window).level).toBe(0);
    here.delete(wantKey(at(1, 0, 0)));
    const zoomedOut = ["whole 0 0", "1 512 0", "0 0 0", "0 0 256", "0 256 0", "0 256 256"];
    expect(places(layers, window, 0.5)).toEqual(zoomedOut);
  });

  it("takes of a missing tile only those finer ones that lie over the window", () => {
    const layers = make();
    put({ kind: "detail", ref }, 2);
    const window = { queries: [10, 200] as [number, number], keys: [10, 200] as [number, number] };
    put(at(0, 1, 1)); // a part of the missing tile that is not in sight
    expect(places(layers, window, 0.5)).toEqual(["whole 0 0"]);
    const before = sightOf(layers.placed(ref, window, 0.5), window, SHAPE);
    expect([before.level, before.rows]).toEqual([null, 2]);
    for (const [row, column] of [
      [0, 0],
      [0, 1],
      [1, 0],
    ] as const)
      put(at(0, row, column));
    expect(places(layers, window, 0.5)).toEqual(["whole 0 0", "0 0 0"]);
    expect(sightOf(layers.placed(ref, window, 0.5), window, SHAPE).level).toBe(0);
  });

  it("needs no tile where the whole head is as fine as the pixels", () => {
    put({ kind: "detail", ref });
    put(at(0, 0, 0));
    expect(places(make(), everything, 0.3)).toEqual(["whole 0 0"]);
  });

  it("is the same object while it holds the same tiles", () => {
    const layers = make();
    put({ kind: "detail", ref });
    put(at(0, 0, 0));
    put(at(0, 1, 1));
    const window = { queries: [0, 100] as [number, number], keys: [0, 100] as [number, number] };
    const first = layers.placed(ref, window, 1);
    expect(layers.placed(ref, { ...window, keys: [3, 90] }, 1.2)).toBe(first);
    const other = layers.placed(ref, everything, 1);
    expect(other).not.toBe(first);
    expect(layers.placed(ref, window, 1)).toBe(first);
    put(at(0, 0, 0));
    expect(layers.placed(ref, window, 1)).not.toBe(first);
  });

  it("says how few queries a cell in sight was sampled from, and nothing of those that are covered", () => {
    const layers = make();
    const window = { queries: [0, 100] as [number, number], keys: [0, 100] as [number, number] };
    put({ kind: "detail", ref }, 2);
    expect(sight(layers, window).rows).toBe(2);
    put(at(0, 0, 0));
    expect(sight(layers, window).rows).toBeNull();
    put(at(0, 0, 0), 1);
    expect(sight(layers, window).rows).toBe(1);
  });

  it("holds, wherever a pixel falls, the largest weight under the finest cell that is here", () => {
    const next = random(5);
    const layers = make();
    put({ kind: "detail", ref });
    for (let level = levels(SHAPE) - 1; level >= 0; level--)
      for (const place of tilesOver(everything, SHAPE, level))
        if (next() < 0.5) put({ kind: "tile", ref, ...place });
    for (let i = 0; i < 300; i++) {
      const [query, key] = [Math.floor(next() * 1500), Math.floor(next() * 1100)];
      const found = layers.cell(ref, query, key)!;
      const place = [0, 1]
        .map(
          (level): Place => ({
            level,
            row: Math.floor(query / 256 / 2 ** level),
            column: Math.floor(key / 256 / 2 ** level),
          }),
        )
        .find((p) => here.has(wantKey({ kind: "tile", ref, ...p })));
      const block = (index: number, n: number): [number, number] => {
        if (!place)
          return [binStart(binOf(index, n, TILE), n, TILE), binStart(binOf(index, n, TILE) + 1, n, TILE)];
        const size = 2 ** place.level;
        return [Math.floor(index / size) * size, Math.min(n, Math.floor(index / size + 1) * size)];
      };
      const [down, across] = [block(query, 1500), block(key, 1100)];
      expect(found.cells).toBe((down[1] - down[0]) * (across[1] - across[0]));
      close(found.value, largest(down, across));
      close(layers.line(ref, "queries", query)![key]!, found.value);
      close(layers.line(ref, "keys", key)![query]!, found.value);
    }
  });

  it("is exact to the code where tiles of single tokens are here, to the last token", () => {
    const layers = make();
    put({ kind: "detail", ref });
    for (const place of tilesOver(everything, SHAPE, 0)) put({ kind: "tile", ref, ...place });
    expect(PYRAMID_TILE * 5).toBeLessThan(1500);
    for (const query of [0, 255, 256, 1499]) {
      const line = layers.line(ref, "queries", query)!;
      expect(line).toHaveLength(1100);
      for (let key = 0; key < 1100; key++) close(line[key]!, weights[query]![key]!);
    }
    const down = layers.line(ref, "keys", 1099)!;
    for (let query = 0; query < 1500; query++) close(down[query]!, weights[query]![1099]!);
    expect(layers.cell(ref, 1499, 1099)!.cells).toBe(1);
  });
});

describe("heads made up in the page", () => {
  it("have rows that sum to 1 and keep to the mask", () => {
    for (const causal of [true, false]) {
      const made = longHead(0, 3, 900, 900, causal);
      for (const query of [0, 1, 450, 899]) {
        const row = made.row(query, 0, 900);
        expect(row.reduce((sum, w) => sum + (w || 0), 0)).toBeCloseTo(1, 5);
        expect(row.findIndex((w) => Number.isNaN(w))).toBe(causal && query < 899 ? query + 1 : -1);
        expect(made.row(query, 100, 300)).toEqual(row.subarray(100, 300));
      }
    }
  });
});
